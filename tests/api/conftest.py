"""A client program's view of the product; no worker runs, so what a worker would write is made by `Factory`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from detection import dispatch
from detection.models import (
    Analysis,
    EvidenceJob,
    EvidenceKind,
    FaceFrame,
    ModelVersion,
    SampledFrame,
    Stage,
    State,
    Verdict,
    Video,
    VideoProvenance,
)

MP4_START = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41"
JPEG = b"\xff\xd8\xffjpeg"
PNG = b"\x89PNG\r\n\x1a\n" + b"face" * 20
UUID_PATTERN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_numbers = itertools.count(1)


def mp4(*, size: int = 200, seed: int | None = None) -> bytes:
    """Bytes that begin as an MP4 does; different at each call unless `seed` is given."""
    filling = f"content {next(_numbers) if seed is None else seed} ".encode() * (size // 8 + 1)
    return (MP4_START + filling)[:size]


class Caller:
    """One client program: who it is, and requests with its token."""

    def __init__(self, user: User | None) -> None:
        self._user = user
        self.client = Client(raise_request_exception=True)
        self.headers: dict[str, str] = {}
        if user is not None:
            _, token = AuthToken.objects.create(user=user)
            self.token: str = token
            self.headers = {"Authorization": f"Token {token}"}

    @property
    def user(self) -> User:
        assert self._user is not None
        return self._user

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, **kwargs: Any) -> Any:
        call = getattr(self.client, method.lower())
        return call(path, headers=self.headers | (headers or {}), **kwargs)

    def get(self, path: str, **kwargs: Any) -> Any:
        return self.request("get", path, **kwargs)

    def post_json(self, path: str, body: Any = None, **kwargs: Any) -> Any:
        return self.request("post", path, data={} if body is None else body, content_type="application/json", **kwargs)

    def upload(
        self, content: bytes | None = None, *, name: str = "clip.mp4", key: str | None = None, **fields: Any
    ) -> Any:
        file = SimpleUploadedFile(name, mp4() if content is None else content, content_type="video/mp4")
        headers = {"Idempotency-Key": key} if key is not None else {}
        return self.request("post", "/api/v1/videos/", data={"file": file, **fields}, headers=headers)


class Factory:
    """Rows and files as a worker leaves them."""

    def model(self, *, active: bool = True, **changes: Any) -> ModelVersion:
        number = next(_numbers)
        facts: dict[str, Any] = {
            "name": f"model {number}", "sha256": f"{number:064x}", "file": f"models/{number}.safetensors",
            "threshold": 0.5, "metrics": {"auc": 0.91}, "active": active,
        }  # fmt: skip
        return ModelVersion.objects.create(**facts | changes)

    def video(self, owner: User, **changes: Any) -> Video:
        """A video whose analysis is queued."""
        number = next(_numbers)
        video = Video(
            owner=owner, original_name=f"clip {number}.mp4", sha256=f"{number:064x}", size_bytes=200, **changes
        )
        video.file = default_storage.save(f"{video.folder}/original.mp4", ContentFile(mp4(size=200)))
        video.save()
        video.current_analysis = Analysis.objects.create(video=video)
        video.save()
        return video

    def judged(
        self, owner: User, *, model: ModelVersion | None = None, score: float = 0.9, people: int = 1, **changes: Any
    ) -> Video:
        """A video with faces, a clip, a thumbnail and a verdict."""
        video = self.video(owner, tracks=people, width=640, height=360, **({"frames_decoded": 150} | changes))
        model = model or ModelVersion.objects.filter(active=True).first() or self.model()
        video.clip = default_storage.save(f"{video.folder}/a/clip.mp4", ContentFile(mp4(size=1000)))
        video.thumbnail = default_storage.save(f"{video.folder}/a/thumbnail.jpg", ContentFile(b"\xff\xd8\xffjpeg"))
        told: list[dict[str, Any]] = []
        for track in range(people):
            frames = []
            for position in range(10):
                crop = default_storage.save(f"{video.folder}/a/faces/{track}-{position}.png", ContentFile(PNG))
                face = FaceFrame.objects.create(
                    video=video, track=track, position=position, frame_number=position * 15,
                    timestamp_s=position * 0.5, x1=10, y1=20, x2=110, y2=140, probability=0.99, crop=crop,
                )  # fmt: skip
                frames.append(
                    {
                        "face": str(face.pk),
                        "frame_number": face.frame_number,
                        "timestamp_s": face.timestamp_s,
                        "fake_probability": score,
                    }
                )
            told.append({"track": track, "fake_probability": score, "frames": frames})
        label = "fake" if score >= model.threshold else "real"
        verdict = Verdict.objects.create(
            video=video, model_version=model, label=label, fake_probability=score, threshold=model.threshold, track=0,
            people=told, needs_review=True, review_reasons=["experimental_model"], assessment="likely_fake",
        )  # fmt: skip
        video.current_verdict, video.verdict_label, video.fake_probability = verdict, label, score
        video.needs_review = True
        self._end(video, State.SUCCEEDED, verdict=verdict)
        return video

    def heatmaps(self, video: Video) -> EvidenceJob:
        """As a worker has made them for a judged video."""
        assert video.current_verdict is not None
        names = {
            str(face.pk): default_storage.save(f"{video.folder}/heatmaps/a/{face.pk}.jpg", ContentFile(JPEG))
            for face in video.faces.all()
        }
        return EvidenceJob.objects.create(
            video=video, kind=EvidenceKind.HEATMAPS, state=State.SUCCEEDED, finished_at=timezone.now(),
            result={"model": video.current_verdict.model_version.sha256, "faces": names},
        )  # fmt: skip

    def provenance(self, video: Video) -> VideoProvenance:
        claims = {
            "container": "QuickTime / MOV", "encoders": ["Lavf61"], "software": [], "camera": [], "created_at": "",
            "names_a_place": False, "second_encoding": [],
        }  # fmt: skip
        return VideoProvenance.objects.create(video=video, claims=claims)

    def without_face(self, owner: User) -> Video:
        video = self.video(owner)
        name = default_storage.save(f"{video.folder}/a/frames/00.jpg", ContentFile(b"\xff\xd8\xffjpeg"))
        SampledFrame.objects.create(video=video, position=0, frame_number=0, timestamp_s=0, image=name)
        self._end(video, State.NO_FACE)
        return video

    def failed(self, owner: User, *, state: State = State.FAILED, code: str = "corrupt_video") -> Video:
        video = self.video(owner)
        self._end(video, state, error_code=code, error_detail="It cannot be read.", last_error="Traceback: secret")
        return video

    def _end(self, video: Video, state: State, **changes: Any) -> None:
        facts = {"state": state, "stage": Stage.DONE, "progress": 100, "finished_at": timezone.now(), **changes}
        Analysis.objects.filter(video=video).update(**facts)
        video.status = state
        video.save()
        video.refresh_from_db()


@pytest.fixture(autouse=True)
def _own_storage(tmp_path: Path, settings: Any) -> None:
    """Each test has its own storage, where a file too many is seen."""
    settings.MEDIA_ROOT = str(tmp_path / "media")
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "incoming")
    (tmp_path / "media").mkdir()
    (tmp_path / "incoming").mkdir()


@pytest.fixture(autouse=True)
def bells(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The analyses that workers were told of; no broker is asked."""
    rung: list[str] = []
    monkeypatch.setattr(dispatch, "wake", lambda *, analysis_id, stage: rung.append(str(analysis_id)))
    return rung


@pytest.fixture
def stored_files(tmp_path: Path) -> Callable[[], list[str]]:
    """The files in storage and the temporary ones of uploads, by path."""

    def files() -> list[str]:
        return sorted(
            str(path.relative_to(tmp_path))
            for folder in ("media", "incoming")
            for path in (tmp_path / folder).rglob("*")
            if path.is_file()
        )

    return files


@pytest.fixture
def factory(db: None) -> Factory:
    return Factory()


@pytest.fixture
def owner(db: None) -> Caller:
    return Caller(User.objects.create_user("owner"))


@pytest.fixture
def other(db: None) -> Caller:
    """Somebody else, with videos of its own."""
    return Caller(User.objects.create_user("other"))


@pytest.fixture
def reviewer(db: None) -> Caller:
    user = User.objects.create_user("reviewer")
    user.groups.add(Group.objects.get(name="reviewer"))
    return Caller(user)


@pytest.fixture
def admin(db: None) -> Caller:
    return Caller(User.objects.create_superuser("root"))


@pytest.fixture
def nobody(db: None) -> Caller:
    return Caller(None)


@pytest.fixture
def problem() -> Callable[..., dict[str, Any]]:
    """Check that a response is RFC 9457 problem JSON of this status and code; returns its body."""

    def check(response: Any, status: int, code: str) -> dict[str, Any]:
        assert response.status_code == status, response.content
        assert response["Content-Type"] == "application/problem+json"
        body: dict[str, Any] = response.json()
        assert body["status"] == status
        assert body["code"] == code
        assert {"type", "title", "detail", "instance"} <= body.keys()
        assert all(isinstance(body[key], str) and body[key] for key in ("type", "title", "detail", "instance"))
        return body

    return check
