"""A month of traffic as rows: uploads with verdicts, and what people said of the random audit.  No video is decoded."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid5

import numpy as np
from django.contrib.auth.models import User
from django.utils import timezone

from detection.models import (
    AUDIT_RANKS,
    Analysis,
    ModelVersion,
    Print,
    PrintKind,
    Review,
    ReviewRole,
    State,
    Verdict,
    Video,
)
from detection.selectors.near_duplicates import bands_of
from ml.model.decision import combine

NAMESPACE = UUID(int=21)
DAYS = 30


@dataclass(frozen=True)
class Upload:
    """What was made up of one video."""

    id: UUID
    fake: bool
    group: int
    """Whose face it is."""
    log_odds: tuple[float, ...]
    """By segment, as the champion's calibration has them."""
    rank: int
    judged_at: datetime

    @property
    def score(self) -> float:
        """The champion's fake probability."""
        return combine([1 / (1 + math.exp(-x)) for x in self.log_odds])


def month(
    model: ModelVersion,
    *,
    videos: int = 600,
    fakes: float = 0.3,
    seed: int = 0,
    audit: float = 0.5,
    labelled: bool = True,
) -> list[Upload]:
    """Store the month; of the share `audit` of the ranks every video is answered, blindly and rightly.

    The model's log-odds are three times too large and off by one, and a tenth of the videos has three segments.
    """
    rng = np.random.default_rng(seed)
    start = timezone.now() - timedelta(days=DAYS)
    uploads = []
    for k in range(videos):
        fake = bool(rng.random() < fakes)
        segments = 3 if rng.random() < 0.1 else 1
        right = rng.normal(1.3 if fake else -1.3, 1.1, segments)
        uploads.append(
            Upload(
                id=uuid5(NAMESPACE, f"{seed} {k}"),
                fake=fake,
                group=int(rng.integers(videos // 2)),
                log_odds=tuple(float(3 * x + 1) for x in right),
                rank=int(rng.integers(AUDIT_RANKS)),
                judged_at=start + timedelta(seconds=float(rng.random()) * DAYS * 86400),
            )
        )
    owner, _ = User.objects.get_or_create(username="newsroom")
    reader, _ = User.objects.get_or_create(username="reader")
    _store(uploads, model, owner)
    if labelled:
        answer([upload for upload in uploads if upload.rank < audit * AUDIT_RANKS], reader)
    return uploads


def answer(uploads: list[Upload], reader: User, *, shown: bool = False) -> None:
    """Label these videos as a reviewer in the workspace does."""
    for fake in (False, True):
        ids = [upload.id for upload in uploads if upload.fake == fake]
        Video.objects.filter(id__in=ids).update(label="fake" if fake else "real")
    Review.objects.bulk_create(
        Review(
            video_id=upload.id, reviewer=reader, label="fake" if upload.fake else "real", score_shown=shown,
            queue="audit", role=ReviewRole.FIRST, created_at=upload.judged_at,
        )
        for upload in uploads
    )  # fmt: skip


def _store(uploads: list[Upload], model: ModelVersion, owner: User) -> None:
    rows = []
    for upload in uploads:
        row = Video(
            id=upload.id, owner=owner, original_name=f"{upload.id}.mp4", size_bytes=1, status=State.SUCCEEDED,
            sha256=hashlib.sha256(upload.id.bytes).hexdigest(), audit_rank=upload.rank, created_at=upload.judged_at,
            extracted_at=upload.judged_at,
        )  # fmt: skip
        row.file.name = f"{row.folder}/original.mp4"
        rows.append(row)
    Video.objects.bulk_create(rows)
    verdicts = Verdict.objects.bulk_create(_verdict(upload, model) for upload in uploads)
    analyses = Analysis.objects.bulk_create(
        Analysis(
            video_id=upload.id, state=State.SUCCEEDED, stage="done", verdict=verdict, created_at=upload.judged_at,
            finished_at=upload.judged_at, timings={"classify": 0.25},
        )
        for upload, verdict in zip(uploads, verdicts, strict=True)
    )  # fmt: skip
    for row, verdict, analysis in zip(rows, verdicts, analyses, strict=True):
        row.current_verdict, row.current_analysis, row.verdict_model = verdict, analysis, model
        row.verdict_label, row.fake_probability = verdict.label, verdict.fake_probability
        row.margin = abs(verdict.fake_probability - verdict.threshold)
    mirrors = ("current_verdict", "current_analysis", "verdict_model", "verdict_label", "fake_probability", "margin")
    Video.objects.bulk_update(rows, mirrors, batch_size=300)
    Print.objects.bulk_create(
        Print(video_id=upload.id, kind=PrintKind.FACE, track=0, bits=bits, **bands_of(bits))
        for upload in uploads
        for bits in [hashlib.sha256(b"%d" % upload.group).hexdigest()]
    )


def _verdict(upload: Upload, model: ModelVersion) -> Verdict:
    parts = [1 / (1 + math.exp(-x)) for x in upload.log_odds]
    segments = [{"segment": k, "fake_probability": p, "people": []} for k, p in enumerate(parts)]
    return Verdict(
        video_id=upload.id, model_version=model, label="fake" if upload.score >= model.threshold else "real",
        fake_probability=upload.score, threshold=model.threshold, track=0, created_at=upload.judged_at,
        segments=segments if len(segments) > 1 else None,
    )  # fmt: skip
