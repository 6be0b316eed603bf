"""The client against the real application, in this process: no network, no waiting, and a worker in the pauses."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from knox.models import AuthToken
from requests.adapters import BaseAdapter

from deepfake_desk_client import Client
from detection.api import waiting
from detection.models import Analysis, ModelVersion, Stage, State
from detection.services.jobs import analyses
from tests.api.conftest import Factory, _own_storage, bells
from tests.detection.conftest import claimed, extraction, verdict

__all__ = ["_own_storage", "bells"]

URL = "http://testserver"
Fault = Callable[[requests.PreparedRequest], requests.Response | None]


class InProcess(BaseAdapter):
    """Hands a request to the WSGI application.  `faults` are asked first, each once: they may answer, or raise."""

    def __init__(self) -> None:
        super().__init__()
        self.application = get_wsgi_application()
        self.faults: list[Fault] = []
        self.sent: list[tuple[str, str]] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        url = urlsplit(str(request.url))
        self.sent.append((str(request.method), f"{url.path}?{url.query}" if url.query else url.path))
        answer = self.faults.pop(0)(request) if self.faults else None
        return answer if answer is not None else self._answered(request)

    def close(self) -> None:
        pass

    def _answered(self, request: requests.PreparedRequest) -> requests.Response:
        url, body = urlsplit(str(request.url)), request.body or b""
        if isinstance(body, str):
            body = body.encode()
        assert isinstance(body, bytes)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(url.path),
            "QUERY_STRING": url.query,
            "SERVER_NAME": "testserver",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()},
        }
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], object]:
            started.extend((int(status.split()[0]), dict(headers)))
            return started.append

        chunks: Any = self.application(environ, start)
        content = b"".join(chunks)
        chunks.close()
        return answered(request, started[0], content, started[1])


def answered(
    request: requests.PreparedRequest, status: int, content: bytes = b"", headers: dict[str, str] | None = None
) -> requests.Response:
    response = requests.Response()
    response.status_code, response.request, response.url = status, request, str(request.url)
    response.headers.update(headers or {})
    response.raw = io.BytesIO(content)
    return response


class Time:
    """Both sides' time: a pause moves it, and is when the worker gets to do something."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.work: list[Callable[[], object]] = []

    def pause(self, seconds: float) -> bool:
        self.now += seconds
        if self.work:
            self.work.pop(0)()
        return False

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pause(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    stopped = SimpleNamespace(monotonic=lambda: clock.now, sleep=clock.sleep)
    monkeypatch.setattr(waiting, "pause", clock.pause)
    monkeypatch.setattr(waiting, "time", stopped)
    monkeypatch.setattr("deepfake_desk_client.time", stopped)
    return clock


@pytest.fixture
def _connection_stays() -> Iterator[None]:
    """Bare WSGI closes the connection after a request, and with it the test's transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, settings: Any, _connection_stays: None) -> InProcess:
    """Every session of requests reaches it under http://."""
    settings.ALLOWED_HOSTS = ["testserver"]
    adapter = InProcess()
    real = requests.Session.__init__

    def init(self: requests.Session) -> None:
        real(self)
        self.mount("http://", adapter)

    monkeypatch.setattr(requests.Session, "__init__", init)
    return adapter


@pytest.fixture
def token(owner: User) -> str:
    return str(AuthToken.objects.create(user=owner)[1])


@pytest.fixture
def desk(server: InProcess, token: str, clock: Time) -> Client:
    return Client(URL, token)


@pytest.fixture
def factory(db: None) -> Factory:
    return Factory()


@pytest.fixture
def worker(clock: Time, tmp_path: Path, db: None) -> Callable[[], None]:
    """In the next pauses: the faces of the oldest task that waits, then its verdict."""
    model = ModelVersion.objects.create(
        name="m", sha256="a" * 64, file="models/m.safetensors", threshold=0.5, active=True
    )
    numbers = itertools.count()

    def step(stage: str) -> None:
        task = Analysis.objects.filter(state=State.QUEUED).earliest("created_at")
        claim = claimed(task, stage)
        folder = tmp_path / f"work {next(numbers)}"
        folder.mkdir()
        if stage == Stage.EXTRACT:
            analyses.finish_extraction(claim=claim, result=extraction(folder))
        else:
            analyses.finish_classification(claim=claim, result=verdict(model))

    def work() -> None:
        clock.work += [lambda: step(Stage.EXTRACT), lambda: step(Stage.CLASSIFY)]

    return work
