"""Rows as workers and clients would have left them, made without either."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone

from detection.models import Analysis, FaceFrame, ModelVersion, SampledFrame, State, Verdict, Video

PASSWORD = "a long enough pass phrase"
# The smallest picture there is: a test that looks at pages does not look at pixels.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef"
    "0000000049454e44ae426082"
)


@pytest.fixture(autouse=True)
def nobody_has_tried_to_log_in(settings: Any, tmp_path: Path) -> None:
    """Attempts are counted for this test alone: browsers log in more often, all told, than one address may."""
    counts = {"BACKEND": "detection.api.counts.MachineCounts", "LOCATION": str(tmp_path / "requests.counts")}
    settings.CACHES = settings.CACHES | {"requests": counts}


@dataclass
class Rows:
    """Makes users, model versions and videos in every state."""

    owner: User
    _numbers: Any = field(default_factory=itertools.count)

    def user(self, name: str, *groups: str, staff: bool = False, superuser: bool = False) -> User:
        user = User.objects.create_user(name, password=PASSWORD, is_staff=staff or superuser, is_superuser=superuser)
        user.groups.set(Group.objects.filter(name__in=groups))
        return user

    def reader(self, name: str) -> User:
        """A reviewer by rights of their own: a test with real transactions empties the groups for those after it."""
        user = self.user(name, staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=("view_video", "add_review", "view_review")))
        return user

    def model(self, name: str = "baseline", *, active: bool = True, experimental: bool = True) -> ModelVersion:
        return ModelVersion.objects.create(
            name=name,
            sha256=self._digest(),
            file=f"models/{name}.safetensors",
            threshold=0.5,
            active=active,
            experimental=experimental,
            metrics={"summary": {"auc": {"value": 0.71, "low": 0.62, "high": 0.8}}},
        )

    def video(self, name: str = "clip.mp4", *, state: str = State.QUEUED, **fields: Any) -> Video:
        """A video with one analysis in `state`; the terminal ones come with the fields that the table asks for."""
        fields = {"width": 640, "height": 360, "duration_s": 5.0, "fps": 30.0, "codec": "h264"} | fields
        video = Video.objects.create(
            owner=self.owner, original_name=name, sha256=self._digest(), size_bytes=1234, status=state, **fields
        )
        video.file.name = f"{video.folder}/original.mp4"
        now = timezone.now()
        terminal = state not in (State.QUEUED, State.RUNNING)
        failed = state in (State.FAILED, State.DEAD)
        video.current_analysis = Analysis.objects.create(
            video=video,
            state=state,
            stage="done" if terminal else "extract",
            attempts=1,
            token=self.owner_token() if state == State.RUNNING else None,
            lease_until=now + timedelta(seconds=60) if state == State.RUNNING else None,
            started_at=None if state == State.QUEUED else now - timedelta(seconds=3),
            finished_at=now if terminal else None,
            error_code="corrupt_video" if failed else "cancelled" if state == State.CANCELLED else "",
            error_detail="No frame of it can be decoded." if failed else "",
            last_error="Traceback: packet 0 is invalid" if failed else "",
        )
        video.save()
        return video

    def with_verdict(
        self, name: str = "clip.mp4", *, model: ModelVersion, score: float = 0.55, people: int = 1, **fields: Any
    ) -> Video:
        """A video that went all the way: ten faces a person, a verdict, and the need for review that it says."""
        video = self.video(name, state=State.SUCCEEDED, tracks=people, **fields)
        entries = []
        for track in range(people):
            faces = FaceFrame.objects.bulk_create(
                FaceFrame(
                    video=video,
                    track=track,
                    position=position,
                    frame_number=position * 15,
                    timestamp_s=position * 0.5,
                    x1=10,
                    y1=10,
                    x2=110,
                    y2=110,
                    probability=0.99,
                    crop=self.picture(f"{video.folder}/faces/{track}-{position}.png"),
                )
                for position in range(10)
            )
            own = score if track == 0 else score / 2
            entries.append(
                {
                    "track": track,
                    "fake_probability": own,
                    "frames": [
                        {
                            "face": str(face.pk),
                            "frame_number": face.frame_number,
                            "timestamp_s": face.timestamp_s,
                            "fake_probability": min(1.0, max(0.0, own + (face.position - 5) / 50)),
                        }
                        for face in faces
                    ],
                }
            )
        label = "fake" if score >= model.threshold else "real"
        verdict = Verdict.objects.create(
            video=video,
            model_version=model,
            label=label,
            fake_probability=score,
            threshold=model.threshold,
            track=0,
            people=entries,
            needs_review=True,
            review_reasons=["near_threshold", "experimental_model"],
        )
        video.current_verdict, video.verdict_model = verdict, model
        video.verdict_label, video.fake_probability = label, score
        video.margin, video.needs_review = abs(score - model.threshold), True
        video.save()
        return video

    def no_face(self, name: str = "empty.mp4", *, boxes: Any = None, frames: int = 3, **fields: Any) -> Video:
        """A video in which nobody was found, with its sampled frames."""
        video = self.video(name, state=State.NO_FACE, tracks=0, **fields)
        if boxes is None:
            boxes = [{"x1": 64, "y1": 36, "x2": 128, "y2": 108, "probability": 0.61, "reason": "low_probability"}]
        SampledFrame.objects.bulk_create(
            SampledFrame(
                video=video,
                position=position,
                frame_number=position * 50,
                timestamp_s=position * 1.5,
                boxes=boxes,
                image=self.picture(f"{video.folder}/frames/{position}.png"),
            )
            for position in range(frames)
        )
        return video

    def picture(self, name: str) -> str:
        return name if default_storage.exists(name) else default_storage.save(name, ContentFile(PIXEL))

    def owner_token(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._numbers):012d}"

    def _digest(self) -> str:
        return hashlib.sha256(str(next(self._numbers)).encode()).hexdigest()


@pytest.fixture
def rows(db: None) -> Rows:
    return Rows(owner=User.objects.create_user("client", password=PASSWORD))


@pytest.fixture
def reviewer(rows: Rows) -> User:
    return rows.user("reviewer", "reviewer", staff=True)


@pytest.fixture
def as_user() -> Callable[[User], Client]:
    """A browser in which somebody is logged in."""

    def login(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return login


@pytest.fixture
def review_client(reviewer: User, as_user: Callable[[User], Client]) -> Client:
    return as_user(reviewer)


@pytest.fixture
def root_client(rows: Rows, as_user: Callable[[User], Client]) -> Client:
    return as_user(rows.user("root", superuser=True))
