"""Client of the Deepfake desk REST API: upload, resume, wait, read the verdict and its evidence.

    desk = Client("http://127.0.0.1:8000", token="...")
    task = desk.wait(desk.upload("clip.mp4").task)
    print(desk.report(task))

All calls are synchronous.  A `Client` keeps one HTTP session and is not to be shared between threads.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urljoin
from uuid import UUID

import requests

from deepfake_desk_client.answers import (
    ClientError,
    Face,
    Refused,
    Report,
    ReportTimeout,
    Task,
    TaskError,
    Unreachable,
    UploadInterrupted,
    Verdict,
    Video,
    WaitTimeout,
    body_of,
    checked,
)

__all__ = [
    "Client",
    "ClientError",
    "Face",
    "Refused",
    "Report",
    "ReportTimeout",
    "Task",
    "TaskError",
    "Unreachable",
    "UploadInterrupted",
    "Verdict",
    "Video",
    "WaitTimeout",
]

PIECE_BYTES = 8 * 1024 * 1024
IN_PIECES_FROM_BYTES = 32 * 1024 * 1024
"""A larger file is sent in pieces unless the caller says otherwise."""
LONG_POLL_S = 30
POLL_PAUSE_S = 1.0
"""After an answer that came before the long poll was over: the server lets only so many wait."""
RETRIES = 5
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
PATIENCE_S = 300.0
"""What the server puts off for longer is an error: a limit of a day, say."""
PUT_OFF = (429, 503)
AWAY = (502, 504)
"""What a proxy says whose server is being restarted."""
TUS = {"Tus-Resumable": "1.0.0"}
CHECKSUM_MISMATCH = 460
"""The tus protocol's status for a piece that arrived damaged."""

Id = str | UUID


# --- the client ------------------------------------------------------------------------------------------------------


class Client:
    """Calls of one server with one token.

    Args:
        url: Of the server, e.g. `https://desk.example.org`.
        token: As `manage.py create_token` prints it.
        timeout_s: Seconds that the server may be silent; a long poll has its own time on top.
        session: A prepared `requests.Session`, e.g. with a proxy or a certificate.

    Every call raises `Refused` or `Unreachable`.
    """

    def __init__(
        self, url: str, token: str, *, timeout_s: float = 60.0, session: requests.Session | None = None
    ) -> None:
        self.url = url.rstrip("/") + "/"
        self.timeout_s = timeout_s
        self._session = session or requests.Session()
        self._session.headers["Authorization"] = f"Token {token}"
        self._session.headers["User-Agent"] = "deepfake-desk-client/0.1"
        self._sleep: Callable[[float], object] = time.sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    # --- send --------------------------------------------------------------------------------------------------------

    def upload(
        self,
        path: str | os.PathLike[str],
        *,
        external_id: str = "",
        metadata: Mapping[str, Any] | None = None,
        in_pieces: bool | None = None,
    ) -> Video:
        """Send a file for analysis, and return its video; the same content again is the video that is there.

        `in_pieces` None decides by the file's size.  Raises OSError where the file cannot be read, and
        `UploadInterrupted` where an upload in pieces cannot be taken up again for now.
        """
        path = Path(path)
        size = path.stat().st_size
        if in_pieces if in_pieces is not None else size > IN_PIECES_FROM_BYTES:
            return self.resume(self._begin(path, size, external_id, metadata), path)
        fields = {"external_id": external_id} | ({"metadata": json.dumps(dict(metadata))} if metadata else {})

        def send() -> requests.Response:
            with path.open("rb") as file:
                parts = {"file": (_name(path), file, "application/octet-stream")}
                return self._session.post(self._at("videos/"), data=fields, files=parts, timeout=self.timeout_s)

        return Video.of(body_of(self._repeated(send)))

    def resume(self, upload_url: str, path: str | os.PathLike[str]) -> Video:
        """Send what is missing of an upload in pieces.  Raises as `upload`; `Refused` 404 or 410 once it is gone."""
        with Path(path).open("rb") as file:
            offset, failures = 0, 0
            while True:
                try:
                    state = self._tus("HEAD", upload_url)
                    offset, length = int(state.headers["Upload-Offset"]), int(state.headers["Upload-Length"])
                    while offset < length:
                        offset = self._send_piece(upload_url, file, offset)
                        failures = 0
                    upload = self._get(upload_url)
                    if upload["video"] is None:  # the last step was put off, or is still at work: an empty piece asks
                        self._send_piece(upload_url, file, offset, last=True)
                        upload = self._get(upload_url)
                    if upload["video"] is not None:
                        return self.video(upload["video"])
                    raise _TryAgain("it has become no video yet")
                except (requests.RequestException, _TryAgain) as error:
                    failures, wait_s = failures + 1, getattr(error, "wait_s", None)
                    if failures > RETRIES or (wait_s or 0) > PATIENCE_S:
                        raise UploadInterrupted(upload_url, offset, str(error) or type(error).__name__) from error
                    self._sleep(_pause(failures) if wait_s is None else wait_s)

    def analyze(self, video: Video | Id, *, reuse_faces: bool = True) -> Task:
        """Have a video analysed again, e.g. under a newer model; while a task of it is open, that one is returned."""
        body = {"reuse_faces": reuse_faces}
        return Task.of(body_of(self._call("POST", f"videos/{_id(video)}/analyze/", json=body)))

    def review(
        self, video: Video | Id, label: str = "", comment: str = "", *, people: Mapping[int, str] | None = None
    ) -> None:
        """Say what a video is: "real", "fake", "no_face" or "unsure".

        `people` says it of people by themselves, by the `track` of their faces: "real", "fake", "not_a_person" or
        "unsure"; with all of them the label follows and may be left out.  Of a `Video` whose people were found anew
        since it was read it is refused (`people_changed`).
        """
        body: dict[str, object] = {"comment": comment}
        if label:
            body["label"] = label
        if people is not None:
            body["people"] = [{"track": track, "label": said} for track, said in people.items()]
            if isinstance(video, Video) and "people_version" in video.raw:
                body["people_version"] = video.raw["people_version"]
        # Not again where its fate is in doubt: each is a review of its own.
        self._call("POST", f"videos/{_id(video)}/reviews/", json=body, may_come_twice=False)

    def cancel(self, task: Task | Id) -> Task:
        """Cancel a task that is queued or running; it ends as failed, with the error code `cancelled`."""
        return Task.of(body_of(self._call("DELETE", f"tasks/{_id(task)}/")))

    def delete(self, video: Video | Id) -> None:
        """Remove a video with all that belongs to it."""
        self._call("DELETE", f"videos/{_id(video)}/")

    # --- read --------------------------------------------------------------------------------------------------------

    def task(self, task: Task | Id) -> Task:
        """Read how a task stands."""
        return Task.of(self._get(f"tasks/{_id(task)}/"))

    def wait(self, task: Task | Id | None, *, timeout_s: float | None = None) -> Task:
        """Return the task once it has ended.  Raises `WaitTimeout` after `timeout_s` (None: never)."""
        if task is None:
            raise ValueError("The video has no task to wait for.")
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = LONG_POLL_S if until is None else max(0.0, until - time.monotonic())
            seconds, asked_at = min(LONG_POLL_S, int(left)), time.monotonic()
            answer = self._call("GET", f"tasks/{_id(task)}/", params={"wait": seconds}, extra_s=seconds)
            current = Task.of(body_of(answer))
            if current.has_ended:
                return current
            now = time.monotonic()
            if until is not None and now >= until:
                raise WaitTimeout(current)
            if now - asked_at < seconds or seconds == 0:
                self._sleep(POLL_PAUSE_S if until is None else min(POLL_PAUSE_S, max(0.0, until - now)))

    def watch(self, task: Task | Id) -> Iterator[Task]:
        """Yield the task now and each time that it moves, to its end.  A stream that breaks is opened again."""
        last: Task | None = None
        while last is None or not last.has_ended:
            try:
                # The server says something every ten seconds.
                with self._call("GET", f"tasks/{_id(task)}/events/", stream=True) as answer:
                    for current in _events(answer):
                        if current != last:
                            yield current
                        last = current
            except requests.RequestException:
                pass
            if last is None or not last.has_ended:
                self._sleep(POLL_PAUSE_S)

    def video(self, video: Video | Id) -> Video:
        """Read a video."""
        return Video.of(self._get(f"videos/{_id(video)}/"))

    def videos(self, **filters: Any) -> Iterator[Video]:
        """Yield your videos, newest first.

        Filters: `status`, `verdict`, `label`, `needs_review`, `external_id`, `created_after`, `created_before`.
        """
        return map(Video.of, self._pages("videos/", filters))

    def faces(self, video: Video | Id) -> Iterator[Face]:
        """Yield the faces that were found, by person, then in time order."""
        return map(Face.of, self._pages(f"videos/{_id(video)}/faces/", {}))

    def report(self, subject: Task | Video | Id) -> Report:
        """Read a video (of this task, this video, or with this id), its verdict and its faces."""
        video = self.video(subject.video if isinstance(subject, Task) else subject)
        return Report(video=video, faces=tuple(self.faces(video)))

    def evidence_report(
        self, subject: Task | Video | Id, *, kind: str = "bundle", timeout_s: float | None = None
    ) -> bytes:
        """Return the signed report once it is made, as a zip archive or (`kind="pdf"`) the PDF in it.

        Raises `ReportTimeout` after `timeout_s`.
        """
        video = subject.video if isinstance(subject, Task) else _id(subject)
        until = None if timeout_s is None else time.monotonic() + timeout_s
        for rounds in itertools.count(1):
            answer = self._call("GET", f"videos/{video}/report/", params={"kind": kind})
            if answer.status_code != requests.codes.accepted:
                return answer.content
            left = LONGEST_PAUSE_S if until is None else until - time.monotonic()
            if left <= 0:
                raise ReportTimeout(f"The report of the video {video} is not made yet.")
            self._sleep(min(_retry_after(answer, rounds), left))
        raise AssertionError("not reached")

    def download(self, url: str) -> bytes:
        """Read a file whose address the server gave: a face's image, a clip, a thumbnail, the upload itself."""
        if not url.startswith(self.url):  # the token is for nobody else
            raise ValueError(f"{url} is not an address of {self.url}.")
        return self._call("GET", url).content

    # --- inside ------------------------------------------------------------------------------------------------------

    def _at(self, path: str) -> str:
        return urljoin(self.url + "api/v1/", path)

    def _call(
        self, method: str, path: str, *, extra_s: float = 0.0, may_come_twice: bool = True, **options: Any
    ) -> requests.Response:
        timeout = self.timeout_s + extra_s
        return self._repeated(
            lambda: self._session.request(method, self._at(path), timeout=timeout, **options), may_come_twice
        )

    def _get(self, path: str, **options: Any) -> dict[str, Any]:
        return body_of(self._call("GET", path, **options))

    def _pages(self, path: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        page = self._get(path, params={name: _parameter(value) for name, value in params.items()})
        while True:
            yield from page["results"]
            if not page["next"]:
                return
            page = self._get(page["next"])

    def _repeated(self, send: Callable[[], requests.Response], may_come_twice: bool = True) -> requests.Response:
        """Send, and again where the server puts it off, or is away or a connection breaks and it may come twice."""
        for failures in range(1, RETRIES + 2):
            try:
                answer = send()
            except requests.RequestException as error:
                if failures > RETRIES or not may_come_twice:
                    raise Unreachable(f"{self.url}: {error or type(error).__name__}") from error
                self._sleep(_pause(failures))
                continue
            wait_s = _retry_after(answer, failures)
            again = answer.status_code in PUT_OFF or (may_come_twice and answer.status_code in AWAY)
            if not again or failures > RETRIES or wait_s > PATIENCE_S:
                return checked(answer)
            self._sleep(wait_s)
        raise AssertionError("not reached")

    def _begin(self, path: Path, size: int, external_id: str, metadata: Mapping[str, Any] | None) -> str:
        facts = {"filename": _name(path), "external_id": external_id}
        facts |= {"metadata": json.dumps(dict(metadata))} if metadata else {}
        encoded = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in facts.items())
        headers = TUS | {"Upload-Length": str(size), "Upload-Metadata": encoded}
        answer = self._call("POST", "uploads/", headers=headers)
        if "Location" not in answer.headers:
            raise Unreachable(f"{answer.url} did not say where to send the file: is it this API's address?")
        return str(answer.headers["Location"])

    def _tus(self, method: str, url: str, **options: Any) -> requests.Response:
        headers = TUS | options.pop("headers", {})
        answer = self._session.request(method, url, headers=headers, timeout=self.timeout_s, **options)
        # 409 and 423: what was sent before a connection broke is still arriving.
        if answer.status_code in (*PUT_OFF, 409, 423, CHECKSUM_MISMATCH) or answer.status_code >= 500:
            raise _TryAgain(f"status {answer.status_code}", _asked_s(answer))
        return checked(answer)

    def _send_piece(self, url: str, file: IO[bytes], offset: int, *, last: bool = False) -> int:
        file.seek(offset)
        piece = b"" if last else file.read(PIECE_BYTES)
        if not piece and not last:
            raise ValueError(f"The file is shorter than the upload at {url}: it is another one.")
        headers = {
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(offset),
            "Upload-Checksum": f"sha256 {base64.b64encode(hashlib.sha256(piece).digest()).decode()}",
        }
        return int(self._tus("PATCH", url, data=piece, headers=headers).headers["Upload-Offset"])


class _TryAgain(Exception):
    """The server could not take it now; `wait_s` is what it asked for."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def _name(path: Path) -> str:
    """Return the file's name as text, also where its bytes are no UTF-8."""
    return os.fsencode(path.name).decode(errors="replace")


def _events(answer: requests.Response) -> Iterator[Task]:
    """The tasks in a stream of server-sent events."""
    for line in answer.iter_lines(chunk_size=1):
        if line.startswith(b"data: "):
            yield Task.of(json.loads(line.removeprefix(b"data: ")))


def _pause(failures: int) -> float:
    """Seconds before the next try: doubled each time."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (failures - 1))


def _retry_after(answer: requests.Response, failures: int) -> float:
    asked_s = _asked_s(answer)
    return _pause(failures) if asked_s is None else asked_s


def _asked_s(answer: requests.Response) -> float | None:
    asked = answer.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else None


def _parameter(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _id(subject: Task | Video | Id) -> str:
    return str(subject.id if isinstance(subject, Task | Video) else UUID(str(subject)))
