"""Write rows in bulk, as a year of use leaves them, for benchmarks and tests; never into a database in use.

The first ten videos of a call are one of each kind, so that few rows show what many show.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import connection, models, transaction
from django.utils import timezone

from detection.management.benchmark import row_values as values
from detection.management.benchmark.row_values import Who
from detection.models import (
    Analysis,
    DatasetVideo,
    FaceFrame,
    GoldVideo,
    HourFigures,
    IdentitySide,
    ModelVersion,
    Print,
    Promotion,
    Review,
    ReviewBatch,
    SampledFrame,
    Snapshot,
    TrainingRun,
    Verdict,
    Video,
    WorkerBeat,
)

CHUNK = 10_000
YEAR = timedelta(days=365)
HOURS = 365 * 24
OWNERS = (("mobile-app", 0.62), ("newsroom", 0.25), ("archive", 0.1), ("archive-north", 0.0298), ("trial", 0.0002))
REVIEWERS = 8


@dataclass
class Table:
    """Collects rows of one model (values of `columns`) and writes them at once."""

    model: type[models.Model]
    columns: tuple[str, ...]
    rows: list[Sequence[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        named = {f.attname for f in self.model._meta.concrete_fields}
        assert set(self.columns) <= named, set(self.columns) - named
        # Columns that are not named, also those of later migrations, get their field's default.
        rest = [
            f
            for f in self.model._meta.concrete_fields
            if f.attname not in self.columns and not isinstance(f, models.AutoField) and not f.generated
        ]
        by_name = {f.attname: str(f.column) for f in self.model._meta.concrete_fields}
        self._names = [*(by_name[name] for name in self.columns), *(str(f.column) for f in rest)]
        self._rest = tuple(_plain(f.get_db_prep_save(f.get_default(), connection)) for f in rest)

    def write(self) -> None:
        """Write the collected rows; values are text and numbers that every database reads."""
        quote = connection.ops.quote_name
        names = ", ".join(quote(name) for name in self._names)
        table = quote(self.model._meta.db_table)
        complete = [(*row, *self._rest) for row in self.rows]
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                    for row in complete:
                        copy.write_row(row)
            else:
                places = ", ".join(["%s"] * len(self._names))
                cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", complete)  # nosec # our own names
        self.rows.clear()


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else str(getattr(value, "obj", value))


@dataclass(frozen=True)
class Made:
    """The users that exist now."""

    root: User
    owners: tuple[User, ...]
    reviewers: tuple[User, ...]


def make_rows(
    *,
    videos: int,
    seed: int = 0,
    faces_share: float = 0.01,
    progress: Callable[[int], object] = lambda done: None,
) -> Made:
    """Write `videos` videos with all their rows, spread over the year that ends now.

    Half of the videos that lists show first have faces, and `faces_share` of the rest: with all, faces would be most of
    the database.  `progress` is called with the number of further videos written.  May be called again for more.
    """
    made = _people()
    now = timezone.now().astimezone(UTC)
    rng = random.Random(seed + Video.objects.count())  # nosec B311 # made-up rows
    with transaction.atomic():
        active, earlier = _models(made, now, rng)
    who = Who(
        owners=tuple((user.pk, share) for user, (_, share) in zip(made.owners, OWNERS, strict=True)),
        reviewers=tuple(user.pk for user in made.reviewers),
        model=active.pk.hex,
        earlier=earlier.pk.hex,
        batches=tuple(ReviewBatch.objects.values_list("pk", "reviewer", "created_at")),
    )
    tables = {name: Table(model, columns) for name, (model, columns) in _TABLES.items()}
    for first in range(0, videos, CHUNK):
        count = min(CHUNK, videos - first)
        for number in range(first, first + count):
            created = now - YEAR * (1 - (number + rng.random()) / videos)
            kind = values.KINDS[number] if number < len(values.KINDS) else values.draw_kind(rng, number / videos)
            faces = number < len(values.KINDS) or values.has_faces(rng, kind, number / videos, faces_share)
            values.add_video(
                {name: table.rows for name, table in tables.items()},
                rng=rng, who=who, kind=kind, created=created, now=now, faces=faces,
            )  # fmt: skip
        with transaction.atomic():
            for table in tables.values():
                table.write()
        progress(count)
    return made


def catch_up(*, left: int = 3) -> None:
    """Answer all that waits, but for `left` videos of each queue, the hardest to find."""
    waiting = Video.objects.filter(label="")
    queues: Iterable[tuple[models.QuerySet[Video], str, dict[str, Any]]] = (
        (waiting.filter(needs_review=True), "-margin", {"label": "real"}),
        (waiting.filter(status="no_face"), "-created_at", {"label": "no_face"}),
        (waiting.filter(status__in=("failed", "dead")), "-created_at", {"label": "unsure"}),
        (waiting.filter(status="succeeded", audit_rank__lt=1000), "-audit_rank", {"label": "real"}),
        (Video.objects.filter(review_next="second"), "-created_at", {"review_next": ""}),
        (Video.objects.filter(review_next="adjudicate"), "-created_at", {"review_next": ""}),
    )
    for rows, order, changes in queues:
        kept = list(rows.order_by(order).values_list("pk", flat=True)[:left])
        rows.exclude(pk__in=kept).update(**changes)


def _people() -> Made:
    """Return users without passwords; whoever measures has a session."""

    def user(name: str, group: str = "", **rights: bool) -> User:
        found, created = User.objects.get_or_create(username=name, defaults=rights)
        if created and group:
            found.groups.set(Group.objects.filter(name=group))
        return found

    return Made(
        root=user("bench-root", is_staff=True, is_superuser=True),
        owners=tuple(user(name, "uploader") for name, _ in OWNERS),
        reviewers=tuple(
            user(f"reader-{k}", "senior_reviewer" if k == 0 else "reviewer", is_staff=True) for k in range(REVIEWERS)
        ),
    )


def _models(made: Made, now: datetime, rng: random.Random) -> tuple[ModelVersion, ModelVersion]:
    """Return the active model and its predecessor; the first call also writes runs, hours and workers."""
    active = ModelVersion.objects.filter(active=True).first()
    if active is not None:
        return active, ModelVersion.objects.filter(active=False).latest("created_at")
    figures = {"summary": {"auc": {"value": 0.81, "low": 0.77, "high": 0.85}}}
    versions = [
        ModelVersion.objects.create(
            name=f"candidate {k}", sha256=values.digest(rng), file=f"models/{k}.safetensors", threshold=0.5,
            metrics=figures, created_at=now - YEAR + k * timedelta(days=60), active=k == 4,
        )
        for k in range(5)
    ]  # fmt: skip
    for before, model in zip([None, *versions], versions, strict=False):
        snapshot = Snapshot.objects.create(sha256=values.digest(rng), manifest="snapshots/x.jsonl")
        TrainingRun.objects.create(
            state="succeeded", snapshot=snapshot, candidate=model, parent=before, metrics=figures,
            history=[{"epoch": epoch, "loss": 0.5} for epoch in range(20)], progress=100,
            created_at=model.created_at, finished_at=model.created_at, message="The candidate won.",
        )  # fmt: skip
        Promotion.objects.create(
            model_version=model, previous=before, kind="gate" if before else "first", created_at=model.created_at
        )
    hours = timezone.now().replace(minute=0, second=0, microsecond=0)
    HourFigures.objects.bulk_create(
        HourFigures(hour=hours - timedelta(hours=k), figures=values.hour(rng, str(versions[-1].pk)))
        for k in range(1, HOURS)
    )
    for k in range(4):
        WorkerBeat.objects.create(name=f"worker{k}@bench", queues="extract,classify", processes=4)
    for k in range(60):
        ReviewBatch.objects.create(
            reviewer=made.reviewers[k % 3], label=("real", "fake")[k % 2], size=40,
            created_at=now - timedelta(days=5 * k + 1),
        )  # fmt: skip
    IdentitySide.objects.bulk_create(
        IdentitySide(name=f"id{k:04d}", side=("train", "train", "train", "val", "holdout")[k % 5])
        for k in range(values.IDENTITIES)
    )
    return versions[4], versions[3]


_TABLES: dict[str, tuple[type[models.Model], tuple[str, ...]]] = {
    "video": (Video, values.VIDEO),
    "analysis": (Analysis, values.ANALYSIS),
    "verdict": (Verdict, values.VERDICT),
    "review": (Review, values.REVIEW),
    "face": (FaceFrame, values.FACE),
    "sampled": (SampledFrame, values.SAMPLED),
    "print": (Print, values.PRINT),
    "dataset": (DatasetVideo, values.DATASET),
    "gold": (GoldVideo, values.GOLD),
}
