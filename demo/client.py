"""The REST API as a client program uses it, with nothing but the standard library."""

from __future__ import annotations

import contextlib
import http.client
import json
import mimetypes
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHUNK = 256 * 1024


class ClientError(Exception):
    """The server refused or did not answer; the message says what it said.

    `problem` is the problem JSON (RFC 9457) of a refusal, empty when there was no such answer.
    """

    def __init__(self, message: str, problem: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.problem = problem or {}


class Client:
    """Talks to http://127.0.0.1:`port` with a token."""

    def __init__(self, *, port: int, token: str, timeout_s: float = 120) -> None:
        self.port, self.timeout_s = port, timeout_s
        self.headers = {"Authorization": f"Token {token}", "Accept": "application/json"}

    def is_up(self) -> bool:
        """Whether /healthz answers 200."""
        try:
            return self._call("GET", "/healthz")[0] == 200
        except ClientError:
            return False

    def get(self, path: str) -> Any:
        return self._call("GET", path)[1]

    def post(self, path: str, body: Any) -> Any:
        data = json.dumps(body).encode()
        return self._call("POST", path, data, {"Content-Type": "application/json"})[1]

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)[1]

    def upload(self, path: Path) -> tuple[int, Any]:
        """POST a file as multipart/form-data, read in pieces.  Answers status (202: new, 200: known) and body."""
        boundary = secrets.token_hex(16)
        name = path.name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")  # as browsers do
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            f"Content-Type: {kind}\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()

        def body() -> Iterator[bytes]:
            yield head
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
            yield tail

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + path.stat().st_size + len(tail)),
        }
        return self._call("POST", "/api/v1/videos/", body(), headers)

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
        try:
            # A server that refuses an upload by its head need not read the rest: its answer is there all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body=body, headers={**self.headers, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ClientError(f"{method} {path}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        try:
            data = json.loads(text or b"null")
        except ValueError as error:
            raise ClientError(f"{method} {path} answered {answer.status}, and not in JSON.") from error
        if answer.status >= 400:
            message = f"{method} {path} answered {answer.status}: {data.get('code')}. {data.get('detail')}"
            raise ClientError(message, data)
        return answer.status, data
