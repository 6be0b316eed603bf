"""What the server answers, as frozen dataclasses, and what a call raises.

Fields that a newer server adds are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import requests

FINAL_STATES = frozenset({"succeeded", "no_face", "failed"})


# --- errors ----------------------------------------------------------------------------------------------------------


class ClientError(Exception):
    """Base of all that a call raises."""


class Refused(ClientError):
    """The server refused; `code` is stable for programs, `detail` a sentence, `problem` the whole RFC 9457 body."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status, self.problem = status, problem
        self.code = str(problem.get("code", ""))
        self.detail = str(problem.get("detail", ""))
        super().__init__(f"{status} {self.code}: {self.detail}")


class Unreachable(ClientError):
    """The server did not answer, or not as this API does."""


class UploadInterrupted(Unreachable):
    """An upload in pieces stopped after `offset` bytes; `Client.resume(upload_url, path)` goes on, for a day."""

    def __init__(self, upload_url: str, offset: int, reason: str) -> None:
        self.upload_url, self.offset = upload_url, offset
        super().__init__(f"The upload stopped after {offset} bytes ({reason}); resume it at {upload_url}.")


class WaitTimeout(ClientError):
    """The task has not ended in time; `task` is how it stands."""

    def __init__(self, task: Task) -> None:
        self.task = task
        super().__init__(f"Task {task.id} is still {task.state} ({task.progress} %).")


class ReportTimeout(ClientError):
    """The signed report was not made in time; ask again later."""


def checked(answer: requests.Response) -> requests.Response:
    """Return the answer.  Raises `Refused` where it is a refusal."""
    if answer.status_code < 400:
        return answer
    problem = _object(answer)
    if problem is None:
        problem = {"code": "", "detail": f"{answer.request.method} {answer.url} was not answered in JSON."}
    raise Refused(answer.status_code, problem)


def body_of(answer: requests.Response) -> dict[str, Any]:
    """Return the JSON object that was answered.  Raises `Unreachable` where it is none, as from a login page."""
    body = _object(answer)
    if body is None:
        raise Unreachable(f"{answer.request.method} {answer.url} was not answered in JSON: is it this API's address?")
    return body


def _object(answer: requests.Response) -> dict[str, Any] | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


# --- what the server answers -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TaskError:
    """Why a task failed: `code` is stable, `detail` a sentence."""

    code: str
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What a model version says: `fake_probability` is calibrated, and from `threshold` on the label is "fake".

    `assessment` says in words how far the model can be told: likely_real, unclear, suspicious, likely_fake, or empty.
    """

    label: str
    fake_probability: float
    threshold: float
    assessment: str
    track: int | None
    """The person whose score it is; None where the model looks at whole frames."""
    needs_review: bool
    review_reasons: tuple[str, ...]
    model: str
    created_at: datetime
    raw: Mapping[str, Any]
    """As the server sent it, with the scores of persons and frames."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Read a verdict from its JSON."""
        return cls(
            label=data["label"],
            fake_probability=data["fake_probability"],
            threshold=data["threshold"],
            assessment=data.get("assessment", ""),
            track=data["track"],
            needs_review=data["needs_review"],
            review_reasons=tuple(data["review_reasons"]),
            model=data["model_version"]["name"],
            created_at=datetime.fromisoformat(data["created_at"]),
            raw=data,
        )


@dataclass(frozen=True)
class Task:
    """One analysis of one video; `progress` is 0 to 100.

    `verdict` is None also for the task within a `Video`, which has the verdict itself.
    """

    id: UUID
    video: UUID
    state: str
    stage: str
    progress: int
    attempts: int
    error: TaskError | None
    verdict: Verdict | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether the state is final."""
        return self.state in FINAL_STATES

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Read a task from its JSON."""
        error, verdict = data["error"], data.get("verdict")
        return cls(
            id=UUID(data["id"]),
            video=UUID(data["video"]),
            state=data["state"],
            stage=data["stage"],
            progress=data["progress"],
            attempts=data["attempts"],
            error=TaskError(error["code"], error["detail"]) if error else None,
            verdict=Verdict.of(verdict) if verdict else None,
            created_at=datetime.fromisoformat(data["created_at"]),
            finished_at=_moment(data["finished_at"]),
        )


@dataclass(frozen=True)
class Video:
    """An uploaded video; `label` is what reviewers say (None: nothing yet)."""

    id: UUID
    external_id: str
    metadata: Mapping[str, Any]
    original_name: str
    sha256: str
    size_bytes: int
    duration_s: float | None
    status: str
    task: Task | None
    verdict: Verdict | None
    needs_review: bool
    label: str | None
    media: Mapping[str, str | None]
    created_at: datetime
    raw: Mapping[str, Any]
    """As the server sent it."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Read a video from its JSON."""
        return cls(
            id=UUID(data["id"]),
            external_id=data["external_id"],
            metadata=data["metadata"],
            original_name=data["original_name"],
            sha256=data["sha256"],
            size_bytes=data["size_bytes"],
            duration_s=data["duration_s"],
            status=data["status"],
            task=Task.of(data["task"]) if data["task"] else None,
            verdict=Verdict.of(data["verdict"]) if data["verdict"] else None,
            needs_review=data["needs_review"],
            label=data["label"],
            media=data["media"],
            created_at=datetime.fromisoformat(data["created_at"]),
            raw=data,
        )


@dataclass(frozen=True)
class Face:
    """One face in one frame: `box` is (x1, y1, x2, y2) in pixels, `timestamp_s` seconds from the start."""

    id: UUID
    track: int
    frame_number: int
    timestamp_s: float
    box: tuple[float, float, float, float]
    fake_probability: float | None
    image: str

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Read a face from its JSON."""
        box = data["box"]
        return cls(
            id=UUID(data["id"]),
            track=data["track"],
            frame_number=data["frame_number"],
            timestamp_s=data["timestamp"],
            box=(box["x1"], box["y1"], box["x2"], box["y2"]),
            fake_probability=data["fake_probability"],
            image=data["image"],
        )


@dataclass(frozen=True)
class Report:
    """What is known of a video: its verdict and the faces that it rests on.  `str()` is a few lines for people."""

    video: Video
    faces: tuple[Face, ...]

    @property
    def verdict(self) -> Verdict | None:
        """The verdict that stands."""
        return self.video.verdict

    def __str__(self) -> str:
        video, verdict, task = self.video, self.verdict, self.video.task
        lines = [f"{video.original_name} ({video.id})", f"sha256 {video.sha256}"]
        if verdict is not None:
            score = f"{verdict.fake_probability:.3f}, fake from {verdict.threshold:.3f} on"
            lines.append(f"verdict: {verdict.label} ({score}; model {verdict.model})")
            people = len({face.track for face in self.faces})
            lines.append(f"seen: {len(self.faces)} faces of {people} {'person' if people == 1 else 'people'}")
            if verdict.needs_review:
                lines.append(f"a person is to look at it: {', '.join(verdict.review_reasons)}")
        elif task is not None and task.error is not None:
            lines.append(f"no verdict: {task.error.code}. {task.error.detail}")
        else:
            lines.append(f"no verdict: {video.status}")
        if video.label is not None:
            lines.append(f"people say: {video.label}")
        return "\n".join(lines)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
