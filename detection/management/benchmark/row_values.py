"""Values of the rows that `detection.management.benchmark.rows` writes, one video at a time.

Ids are 32 hex digits and times are text in UTC: SQLite stores both so, and Postgres reads them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

VIDEO = (
    "id", "owner_id", "external_id", "original_name", "sha256", "size_bytes", "file", "clip", "thumbnail", "container",
    "codec", "width", "height", "fps", "duration_s", "frames_decoded", "tracks", "fingerprint", "extracted_at",
    "status", "current_analysis_id", "current_verdict_id", "verdict_label", "fake_probability", "needs_review",
    "label", "margin", "review_next", "audit_rank", "created_at", "updated_at",
)  # fmt: skip
ANALYSIS = (
    "id", "video_id", "state", "stage", "progress", "attempts", "token", "lease_until", "worker", "error_code",
    "error_detail", "last_error", "verdict_id", "created_at", "started_at", "finished_at", "replaced",
)  # fmt: skip
VERDICT = (
    "id", "video_id", "model_version_id", "label", "fake_probability", "threshold", "track", "people", "needs_review",
    "review_reasons", "created_at",
)  # fmt: skip
REVIEW = (
    "id", "video_id", "reviewer_id", "label", "verdict_id", "model_version_id", "model_probability", "score_shown",
    "seconds", "queue", "role", "batch_id", "undoes_id", "created_at",
)  # fmt: skip
FACE = (
    "id", "video_id", "track", "position", "frame_number", "timestamp_s", "x1", "y1", "x2", "y2", "probability", "crop",
)  # fmt: skip
SAMPLED = ("id", "video_id", "position", "frame_number", "timestamp_s", "boxes", "image")
PRINT = ("video_id", "kind", "track", "bits", "band0", "band1", "band2", "band3")
DATASET = ("video_id", "dataset", "path", "label", "identity", "donor", "method", "official_split")
GOLD = ("video_id", "label", "reason", "set_by_id", "created_at")

# One of each: what lists tell apart.  The rest is drawn.
KINDS = (
    "waiting", "labelled", "second", "no_face", "no_face_labelled", "failed", "dead", "queued", "running", "dataset",
)  # fmt: skip
_SHARES = (
    ("quiet", 0.764), ("waiting", 0.01), ("labelled", 0.06), ("second", 0.006), ("undone", 0.005),
    ("adjudicate", 0.0005), ("no_face", 0.01), ("no_face_labelled", 0.02), ("failed", 0.012), ("dead", 0.0025),
    ("dataset", 0.11),
)  # fmt: skip
_NAMES = (
    "interview_{n}.mp4", "IMG_{n}.MOV", "VID-2026-WA{n}.mp4", "Zoom call {n}.webm", "statement minister {n}.mp4",
    "video.mp4", "{n}.mp4", "clip-{h}.mp4", "Reporter_on_site_{n}.mkv",
)  # fmt: skip
_SETS = (("dfdc", 0.82), ("ff++", 0.12), ("celeb-df-v2", 0.06))
_SURE = 0.05  # closer to the threshold than this, a verdict needs review
IDENTITIES = 2000
THRESHOLD = 0.5


@dataclass(frozen=True)
class Who:
    """Keys that rows refer to; `batches` are (id, reviewer, time)."""

    owners: tuple[tuple[int, float], ...]
    reviewers: tuple[int, ...]
    model: str
    earlier: str
    batches: tuple[tuple[Any, int, datetime], ...]


def digest(rng: random.Random) -> str:
    """Return 64 random hex digits."""
    return f"{rng.getrandbits(256):064x}"


def draw_kind(rng: random.Random, age: float) -> str:
    """Draw the kind of a video; `age` runs from 0 (a year ago) to 1 (now), and only recent ones are open."""
    if age > 0.992:
        return "running" if rng.random() < 0.01 else "queued"
    return _drawn(rng, _SHARES)


def has_faces(rng: random.Random, kind: str, age: float, share: float) -> bool:
    """Return whether a video gets faces: half of those that lists show first, and a share of the rest."""
    return rng.random() < max(share, 0.5 if kind == "waiting" or age > 0.99 else 0.0)


def hour(rng: random.Random, model: str) -> dict[str, Any]:
    """Return the statistics of one hour."""
    ended = rng.randrange(60, 180)
    fake = ended // 4
    return {
        "states": {"succeeded": ended, "no_face": ended // 20, "failed": ended // 50},
        "labels": {"real": ended - fake, "fake": fake},
        "needs_review": ended // 25,
        "answers": ended // 10,
        "scores": {model: [rng.randrange(ended // 5) for _ in range(20)]},
    }


def add_video(
    into: Mapping[str, list[Any]],
    *,
    rng: random.Random,
    who: Who,
    kind: str,
    created: datetime,
    now: datetime,
    faces: bool,
) -> None:
    """Append one video and all its rows to `into`, by table."""
    _Video(into, rng, who, kind, created, now).add(faces)


class _Video:
    def __init__(
        self, into: Mapping[str, list[Any]], rng: random.Random, who: Who, kind: str, created: datetime, now: datetime
    ) -> None:
        self.into, self.rng, self.who, self.kind, self.created = into, rng, who, kind, created
        # Nothing happens after now.
        self.done = min(created + timedelta(seconds=40), now)
        self.later = min(created + timedelta(hours=rng.randrange(1, 72)), now)
        self.id = _uid(rng)
        self.analysis = _uid(rng)
        self.verdict: str | None = None
        self.score: float | None = None

    def add(self, faces: bool) -> None:
        rng, kind = self.rng, self.kind
        status = {
            "no_face_labelled": "no_face", "no_face": "no_face", "failed": "failed", "dead": "dead", "queued": "queued",
            "running": "running",
        }.get(kind, "succeeded")  # fmt: skip
        judged = status == "succeeded" and kind != "dataset"
        seen = status in ("succeeded", "no_face")
        label = verdict_label = ""
        needs_review = False
        if judged:
            verdict_label, needs_review = self._judge(faces)
        if kind == "dataset":
            label = self._dataset()
        if kind in ("labelled", "second", "adjudicate", "undone", "no_face_labelled"):
            label = self._reviews(verdict_label)
        if status == "no_face":
            self._sampled()
        if seen:
            self._print()
        self._analyses(status)
        number = rng.randrange(1_000_000)
        owner = _drawn(rng, self.who.owners)
        folder = f"videos/{self.id}"
        self.into["video"].append((
            self.id, owner, f"ext-{number:06d}" if rng.random() < 0.5 else "",
            rng.choice(_NAMES).format(n=f"{number:06d}", h=self.id[:8]), digest(rng),
            rng.randrange(200_000, 90_000_000), f"{folder}/original.mp4", f"{folder}/clip.mp4" if seen else "",
            f"{folder}/thumb.jpg" if seen else "",
            "mov,mp4,m4a" if seen else "", "h264" if seen else "", 1280 if seen else None, 720 if seen else None,
            29.97 if seen else None, 12.4 if seen else None, 150 if seen else None,
            (0 if status == "no_face" else 1) if seen else None, digest(rng) if seen else "",
            _at(self.done) if seen else None, status, self.analysis, self.verdict, verdict_label, self.score,
            int(needs_review), label,
            None if self.score is None else abs(self.score - THRESHOLD),
            {"second": "second", "adjudicate": "adjudicate"}.get(kind, ""), rng.randrange(10_000), _at(self.created),
            _at(self.done),
        ))  # fmt: skip

    def _judge(self, faces: bool) -> tuple[str, bool]:
        rng = self.rng
        self.verdict = _uid(rng)
        near = self.kind == "waiting" or (self.kind in ("labelled", "second", "undone") and rng.random() < 0.4)
        # Mostly sure of itself, one way or the other.
        far = rng.random() * _SURE if near else 0.5 - rng.random() ** 3 * (0.5 - _SURE)
        self.score = THRESHOLD + far if rng.random() < 0.3 else THRESHOLD - far - 1e-6
        self.score = min(1.0, max(0.0, self.score))
        label = "fake" if self.score >= THRESHOLD else "real"
        scores = [self.score, self.score / 2] if faces and rng.random() < 0.1 else [self.score]
        people = [
            {"track": track, "fake_probability": score, "frames": self._faces(track) if faces else []}
            for track, score in enumerate(scores)
        ]
        reasons = ["near_threshold"] if near else []
        self.into["verdict"].append((
            self.verdict, self.id, self.who.model, label, self.score, THRESHOLD, 0, json.dumps(people), int(near),
            json.dumps(reasons), _at(self.done),
        ))  # fmt: skip
        if rng.random() < 0.1:  # what the model before said of it
            score = rng.random()
            self.into["verdict"].append((
                _uid(rng), self.id, self.who.earlier, "fake" if score >= THRESHOLD else "real", score, THRESHOLD, 0,
                "[]", 0, "[]", _at(self.created),
            ))  # fmt: skip
        return label, near

    def _faces(self, track: int) -> list[dict[str, Any]]:
        frames = []
        for position in range(10):
            face, frame = _uid(self.rng), position * 15
            self.into["face"].append((
                face, self.id, track, position, frame, frame / 30, 100.0, 80.0, 324.0, 304.0, 0.99,
                f"videos/{self.id}/faces/{track}-{position}.png",
            ))  # fmt: skip
            frames.append({
                "face": f"{face[:8]}-{face[8:12]}-{face[12:16]}-{face[16:20]}-{face[20:]}", "frame_number": frame,
                "timestamp_s": frame / 30, "fake_probability": round(self.rng.random(), 4),
            })  # fmt: skip
        return frames

    def _sampled(self) -> None:
        box = {"x1": 64, "y1": 36, "x2": 128, "y2": 108, "probability": 0.61, "reason": "low_probability"}
        for position in range(4):
            self.into["sampled"].append((
                _uid(self.rng), self.id, position, position * 40, position * 1.3, json.dumps([box] * (position % 3)),
                f"videos/{self.id}/frames/{position}.jpg",
            ))  # fmt: skip

    def _print(self) -> None:
        bits = self.rng.getrandbits(256)
        bands = ((bits >> 64 * k) & 0xFFF for k in range(4))
        self.into["print"].append((self.id, "picture", 0, f"{bits:064x}", *bands))

    def _dataset(self) -> str:
        rng = self.rng
        name, label = _drawn(rng, _SETS), "fake" if rng.random() < 0.7 else "real"
        self.into["dataset"].append((
            self.id, name, f"part_{rng.randrange(50):02d}/{self.id[:12]}.mp4", label,
            f"id{rng.randrange(IDENTITIES):04d}", f"id{rng.randrange(IDENTITIES):04d}" if label == "fake" else "",
            "swap" if label == "fake" else "",
            rng.choice(("train", "train", "train", "test")),
        ))  # fmt: skip
        return label

    def _reviews(self, verdict_label: str) -> str:
        """Append the reviews of a video and return its label; one reviewer gives half of all of them."""
        rng, readers = self.rng, self.who.reviewers
        first = readers[0] if rng.random() < 0.5 else rng.choice(readers)
        other = next(reader for reader in readers if reader != first)
        label = "no_face" if self.kind == "no_face_labelled" else verdict_label
        queue = "no_face" if self.kind == "no_face_labelled" else "uncertain"
        role, batch = "first", None
        if self.kind == "labelled" and self.who.batches and rng.random() < 0.04:
            batch, first, _ = rng.choice(self.who.batches)
            role = "sheet"
        given = self._review(first, label, role, queue, batch.hex if batch else None)
        if self.kind == "undone":
            self._review(first, "", "undo", queue, None, undoes=given)
            return ""
        if self.kind == "adjudicate":
            self._review(other, "real" if label == "fake" else "fake", "second", "disagreement", None)
        elif role == "first" and self.kind == "labelled" and rng.random() < 0.1:
            self._review(other, label, "second", "disagreement", None)
        if self.kind == "labelled" and rng.random() < 0.003:
            self.into["gold"].append((self.id, label, "Filmed by ourselves.", readers[0], _at(self.later)))
        return label

    def _review(
        self, reader: int, label: str, role: str, queue: str, batch: str | None, undoes: str | None = None
    ) -> str:
        review = _uid(self.rng)
        at = self.later + timedelta(seconds=10 if role in ("second", "undo") else 0)
        self.into["review"].append((
            review, self.id, reader, label, self.verdict, self.who.model if self.verdict else None, self.score, 0,
            None if role == "undo" else round(2 + self.rng.random() * 20, 1), queue, role, batch, undoes, _at(at),
        ))  # fmt: skip
        return review

    def _analyses(self, status: str) -> None:
        created, done = self.created, self.done
        failure = {
            "failed": ("corrupt_video", "No frame of it can be decoded."),
            "dead": ("gave_up", "It died thrice."),
        }
        code, detail = failure.get(status, ("", ""))
        is_open, runs = status in ("queued", "running"), status == "running"
        self.into["analysis"].append((
            self.analysis, self.id, status, "extract" if is_open else "done", 0 if is_open else 100,
            0 if status == "queued" else 1, _uid(self.rng) if runs else None,
            _at(done + timedelta(seconds=60)) if runs else None,
            "" if status == "queued" else "worker0@bench", code, detail,
            "Traceback: packet 0 is invalid" if code else "", self.verdict, _at(created),
            None if status == "queued" else _at(created), None if is_open else _at(done),
            0,
        ))  # fmt: skip
        if not is_open and self.rng.random() < 0.03:  # an earlier one, which failed
            before = _at(created - timedelta(minutes=5))
            self.into["analysis"].append((
                _uid(self.rng), self.id, "failed", "done", 40, 3, None, None, "worker1@bench", "storage_error",
                "Its file could not be read.", "OSError: timed out", None, before, before, before, 1,
            ))  # fmt: skip


def _drawn(rng: random.Random, shares: tuple[tuple[Any, float], ...]) -> Any:
    left = rng.random()
    for value, share in shares:
        left -= share
        if left < 0:
            return value
    return shares[-1][0]


def _uid(rng: random.Random) -> str:
    return f"{rng.getrandbits(128):032x}"


def _at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
