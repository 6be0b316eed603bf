"""Export labels and import labels made elsewhere, as CSV or JSON lines.

Exports stream one video after another, so memory stays constant.  In an import each row becomes a review by one person;
a row that repeats that person's last label is skipped, so importing a file again doubles nothing.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import IO, Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Prefetch, Q, QuerySet

from detection.errors import Refused
from detection.models import AuditAction, DatasetVideo, Review, ReviewLabel, ReviewRole, Video
from detection.selectors.people import places_of
from detection.services.jobs.left_out import models_own
from detection.services.ops.audit import record
from detection.services.reviews import people_text
from detection.services.reviews.consensus import Answer, settle
from detection.services.reviews.people import PeopleAnswer, checked
from detection.services.reviews.reviews import record_review

FORMATS = ("csv", "jsonl")
VIDEO_COLUMNS = (
    "video_id", "sha256", "original_name", "external_id", "label", "label_source", "reviewers", "disputed", "n_reviews",
    "dataset", "identity", "donor", "method", "model_label", "model_probability", "model_sha256", "labelled_at",
    "people",
)  # fmt: skip
REVIEW_COLUMNS = (
    "review_id", "video_id", "sha256", "original_name", "external_id", "label", "counts", "reviewer", "comment", "role",
    "queue", "seconds", "score_shown", "batch", "undoes", "dataset", "identity", "donor", "method", "model_label",
    "model_probability", "model_sha256", "labelled_at", "people", "people_hold",
)  # fmt: skip

CHUNK = 500
"""Rows fetched at once."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001  (some spreadsheets take the wide ones)
"""A cell that begins like this is run as a formula by spreadsheets."""
_BEGINS = rf"\"*[{re.escape(''.join(FORMULA))}']"
_RISKY = re.compile(rf"(\A|[;,|\t\r\n])(?={_BEGINS})")
_DEFUSED = re.compile(rf"(\A|[;,|\t\r\n])'(?={_BEGINS})")
WRITTEN = {"0": ReviewLabel.REAL, "1": ReviewLabel.FAKE} | {label.value: label for label in ReviewLabel}


# --- out -------------------------------------------------------------------------------------------------------------


def write_labels(
    *, write: Callable[[str], object], format: str = "csv", all_reviews: bool = False, since: datetime | None = None
) -> int:
    """Write one row per labelled video (or per review, with `all_reviews`), oldest first; return how many."""
    facts = {"rows": "reviews" if all_reviews else "videos", "since": since.isoformat() if since else None}
    record(AuditAction.EXPORTED, subject="labels", facts=facts)
    rows = review_rows(since=since) if all_reviews else video_rows(since=since)
    columns = REVIEW_COLUMNS if all_reviews else VIDEO_COLUMNS
    if format == "csv":
        write(_csv_line(columns))
    count = 0
    for row in rows:
        count += 1
        if format == "csv":
            write(_csv_line(defused(row[column]) for column in columns))
        else:
            write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def video_rows(*, since: datetime | None = None) -> Iterator[dict[str, Any]]:
    """Yield every labelled video with its label, the label's source, and the model's verdict."""
    videos = Video.objects.exclude(label="").order_by("created_at", "id")
    if since:
        reviews = Review.objects.effective().filter(video=OuterRef("pk"))
        of_set = DatasetVideo.objects.filter(video=OuterRef("pk"), created_at__gte=since)
        newer = Exists(reviews.filter(created_at__gte=since))
        videos = videos.filter(newer | (~Exists(reviews) & Exists(of_set)))
    said = Review.objects.effective().select_related("reviewer").order_by("created_at", "id")
    videos = (
        videos.select_related("dataset_video", "current_verdict__model_version")
        .prefetch_related(Prefetch("reviews", queryset=said))
        .defer("metadata", "current_verdict__people", "current_verdict__model_version__metrics")
        .defer("current_verdict__model_version__trained_on", "current_verdict__model_version__config")
    )
    for video, places in _with_places(videos.iterator(chunk_size=CHUNK), "person_labels", "pk"):
        reviews_of = list(video.reviews.all())
        of_dataset: DatasetVideo | None = getattr(video, "dataset_video", None)
        consensus = settle(
            (
                Answer(review.reviewer.get_username(), review.label, review.role, review.people_of(video))
                for review in reviews_of
            ),
            dataset_label=of_dataset.label if of_dataset else "",
        )
        last = reviews_of[-1].created_at if reviews_of else of_dataset.created_at if of_dataset else video.updated_at
        source = "review" if reviews_of or of_dataset is None else f"dataset:{of_dataset.dataset}"
        yield {
            **_of_video(video),
            "label": video.label,
            "label_source": source,
            "reviewers": ",".join(sorted(str(answer.reviewer) for answer in consensus.answers)),
            "disputed": "yes" if consensus.disputed else "no",
            "n_reviews": len(reviews_of),
            **_of_dataset(of_dataset),
            **_of_verdict(video.current_verdict),
            "labelled_at": last.isoformat(),
            "people": people_text.written(video.person_labels, places),
        }


def review_rows(*, since: datetime | None = None) -> Iterator[dict[str, Any]]:
    """Yield every review; the model's verdict is the one of that time.

    `counts` is no for undone answers, rows that undo, checks against known answers, and owners' opinions;
    `people_hold` is no where the video's people have been found anew since.
    """
    reviews: QuerySet[Any] = Review.objects.annotate(undone=F("undone_by")).order_by("created_at", "id")
    if since:
        reviews = reviews.filter(created_at__gte=since)
    reviews = reviews.select_related("video__dataset_video", "reviewer", "model_version").defer(
        "video__metadata", "model_version__metrics", "model_version__trained_on",
        "model_version__config",
    )  # fmt: skip
    for review, places in _with_places(reviews.iterator(chunk_size=CHUNK), "people", "video_id"):
        people = review.people_of(review.video)
        counts = review.undone is None and not review.undoes_id
        counts = counts and review.role not in (ReviewRole.GOLD, ReviewRole.OPINION)
        yield {
            "review_id": str(review.pk),
            **_of_video(review.video),
            "label": review.label,
            "counts": "yes" if counts else "no",
            "reviewer": review.reviewer.get_username(),
            "comment": review.comment,
            "role": review.role,
            "queue": review.queue,
            "seconds": review.seconds,
            "score_shown": "yes" if review.score_shown else "no",
            "batch": str(review.batch_id or ""),
            "undoes": str(review.undoes_id or ""),
            **_of_dataset(getattr(review.video, "dataset_video", None)),
            "model_label": review.model_label,
            "model_probability": review.model_probability,
            "model_sha256": review.model_version.sha256 if review.model_version else "",
            "labelled_at": review.created_at.isoformat(),
            "people": people_text.written(review.people, places if people else {}),
            "people_hold": "" if not review.people else "yes" if people else "no",
        }


def _with_places(rows: Iterable[Any], people: str, video: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield each row with where the people of its video are; one query for a chunk of rows.

    `people` names the column that says something of people, `video` the one with the video's id.
    """
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK)):
        wanted = {getattr(row, video) for row in chunk if getattr(row, people)}
        found = places_of(wanted) if wanted else {}
        for row in chunk:
            yield row, found.get(getattr(row, video), {})


def _of_video(video: Video) -> dict[str, Any]:
    return {
        "video_id": str(video.pk),
        "sha256": video.sha256,
        "original_name": video.original_name,
        "external_id": video.external_id,
    }


def _of_dataset(row: DatasetVideo | None) -> dict[str, Any]:
    return {name: getattr(row, name) if row else "" for name in ("dataset", "identity", "donor", "method")}


def _of_verdict(verdict: Any) -> dict[str, Any]:
    """What the model says of everybody; `people` tells whom reviewers leave out."""
    own = models_own(verdict) if verdict else {}
    return {
        "model_label": own.get("label", ""),
        "model_probability": own.get("fake_probability"),
        "model_sha256": verdict.model_version.sha256 if verdict else "",
    }


def defused(value: Any) -> str:
    """Escape a cell so that no spreadsheet runs it as a formula; `restored` inverts it.

    Escapes every place where a spreadsheet that splits at another separator, such as `;`, would see a cell begin;
    quotes in between do not count, as it strips them.
    """
    return _RISKY.sub(r"\1'", "" if value is None else str(value))


def restored(cell: str) -> str:
    """Return the text that `defused` escaped."""
    return _DEFUSED.sub(r"\1", cell)


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    # A lone carriage return would end the row for its reader; the writer quotes it only where lines end with one.
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


# --- in --------------------------------------------------------------------------------------------------------------


@dataclass
class ImportReport:
    """Outcome of an import; `bad` are (line, sentence) of rows that could not be used."""

    rows: int = 0
    recorded: int = 0
    unchanged: int = 0
    replaced: int = 0
    """Rows that a later row of the same file overrules."""
    left_out: int = 0
    """Rows of an export of all reviews that do not count (taken back, say)."""
    bad: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    line: int
    video_id: UUID | None
    sha256: str
    label: str
    comment: str
    people: tuple[people_text.Said, ...] = ()


class _BadRow(Exception):
    """A row cannot be used; the message says why."""


def find_reviewer(*, username: str) -> User:
    """Return the user of that name.  Raises Refused unless they may review."""
    user = User.objects.filter(username=username).first()
    if user is None:
        raise Refused("unknown_user", f"There is no user {username!r}.", status=404)
    if not user.has_perm("detection.add_review"):
        raise Refused("permission_denied", f"{username} may not review: the role `reviewer` is missing.", status=403)
    return user


def import_labels(*, file: IO[str], reviewer: User, format: str = "csv", dry_run: bool = False) -> ImportReport:
    """Record each row as a review by `reviewer`, of the video with its id, else of all videos with its sha256.

    Of several rows for one video the last one counts, so that importing a file again records nothing new.  Open `file`
    with newline="" for CSV.  Raises Refused if required columns are missing.
    """
    report = ImportReport()
    wanted: dict[UUID, _Row] = {}
    rows = _rows(file, format, report)
    while chunk := list(islice(rows, CHUNK)):
        for row, videos in _matched(chunk):
            if not videos:
                report.bad.append((row.line, "There is no such video here."))
            for video_id in videos:
                overruled = wanted.pop(video_id, None)
                report.replaced += overruled is not None
                wanted[video_id] = row
    for video_id, row in wanted.items():
        try:
            if _record(video_id, row, reviewer, dry_run):
                report.recorded += 1
            else:
                report.unchanged += 1
        except Refused as refusal:
            report.bad.append((row.line, refusal.detail))
    report.bad.sort()
    return report


def _record(video_id: UUID, row: _Row, reviewer: User, dry_run: bool) -> bool:
    """Record one label; return False if this reviewer's last answer is the same, of people too."""
    with transaction.atomic():
        # Locked before looking: of two imports at once, the second one sees what the first has recorded.
        video = Video.objects.select_for_update().filter(pk=video_id).first()
        if video is None:
            raise Refused("not_found", "The video was deleted meanwhile.", status=404)
        mine = Review.objects.effective().filter(video=video, reviewer=reviewer).order_by("-created_at", "-id")
        last = mine.only("label", "people", "people_version").first()
        answer = PeopleAnswer(people_text.resolved(video_id, row.people)) if row.people else None
        label, said = checked(video, row.label, answer) if answer else (row.label, None)
        if last is not None and last.label == label and (answer is None or last.people_of(video) == said):
            return False
        if not dry_run:
            record_review(video=video, reviewer=reviewer, label=label, comment=row.comment, people=answer)
    return True


def _matched(rows: list[_Row]) -> Iterator[tuple[_Row, list[UUID]]]:
    """Yield each row with the ids of its videos, in two queries for all rows."""
    ids = {row.video_id for row in rows if row.video_id}
    hashes = {row.sha256 for row in rows if row.sha256}
    known: set[UUID] = set()
    copies: dict[str, list[UUID]] = {}
    found = Video.objects.filter(Q(pk__in=ids) | Q(sha256__in=hashes)).order_by("created_at", "id")
    for pk, sha256 in found.values_list("pk", "sha256"):
        known.add(pk)
        copies.setdefault(sha256, []).append(pk)
    for row in rows:
        yield row, [row.video_id] if row.video_id in known else copies.get(row.sha256, [])


def _rows(file: IO[str], format: str, report: ImportReport) -> Iterator[_Row]:
    """Yield the valid rows, and add the others to the report."""
    for line, cells in (_csv_rows if format == "csv" else _json_rows)(file):
        report.rows += 1
        try:
            if isinstance(cells, str):
                raise _BadRow(cells)
            if cells.get("counts", "").strip().lower() == "no":
                report.left_out += 1
                continue
            yield _understood(line, cells)
        except _BadRow as error:
            report.bad.append((line, str(error)))


def _csv_rows(file: IO[str]) -> Iterator[tuple[int, Mapping[str, str] | str]]:
    """Yield (first line, cells by column), or (first line, sentence) for a malformed row."""
    first = file.readline()
    separator = ";" if first.count(";") > first.count(",") else ","  # as spreadsheets of half of Europe write it
    header = [name.strip().lower() for name in next(csv.reader([first], delimiter=separator), [])]
    if "label" not in header or not {"video_id", "sha256"} & set(header):
        raise Refused("no_columns", "The first line must name the columns: `label`, and `video_id` or `sha256`.")
    reader = csv.reader(file, delimiter=separator)
    while True:
        line = reader.line_num + 2
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield line, f"The line is not CSV: {error}."
            continue
        if cells is None:
            return
        if not any(cells):
            continue
        if len(cells) > len(header):
            yield line, f"It has {len(cells)} cells; the first line names {len(header)} columns."
            continue
        yield line, {name: restored(cell) for name, cell in zip(header, cells, strict=False)}


def _json_rows(file: IO[str]) -> Iterator[tuple[int, Mapping[str, str] | str]]:
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        body = None
        with suppress(ValueError, RecursionError):
            body = json.loads(text)
        if isinstance(body, dict):
            yield line, {name: "" if body.get(name) is None else str(body[name]) for name in body}
        else:
            yield line, "The line is not a JSON object."


def _understood(line: int, cells: Mapping[str, str]) -> _Row:
    written = cells.get("label", "").strip()
    label = WRITTEN.get(written.lower().replace(" ", "_").replace("-", "_"))
    try:
        holds = cells.get("people_hold", "").strip().lower() != "no"
        people = people_text.read(cells.get("people", "")) if holds else ()
    except ValueError as error:
        raise _BadRow(str(error)) from error
    if label is None and (written or not people):
        said = f"not {written[:40]!r}" if written else "and it is empty"
        raise _BadRow(f"The label must be real, fake, no_face or unsure (or 0 for real, 1 for fake), {said}.")
    video_id = None
    with suppress(ValueError):
        video_id = UUID(cells.get("video_id", "").strip())
    sha256 = cells.get("sha256", "").strip().lower()
    if video_id is None and not sha256:
        raise _BadRow("It names no video: `video_id` is no id, and `sha256` is empty.")
    if not all(char in "0123456789abcdef" for char in sha256):
        sha256 = ""  # no hash, so it fits no video; and no database is asked what it cannot store
    comment = cells.get("comment", "").strip()
    return _Row(line, video_id, sha256[:64], label.value if label else "", comment, people)
