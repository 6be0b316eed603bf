"""Bring a data set in: its videos, what the set says of each, and their faces."""

from __future__ import annotations

import fcntl
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError

from detection.errors import Refused
from detection.management.storage import storage_answers
from detection.models import TOLD_AS_FAILED, State
from detection.services.jobs.analyses import GAVE_UP
from detection.services.learning import datasets
from ml.config import Label
from ml.data.catalog.files import shown
from ml.data.catalog.scan import FORMATS, DatasetError, DatasetItem, DatasetScan, scan
from ml.progress import ProgressBar
from worker.process import work_files
from worker.process.extraction_child import quiet_logging
from worker.process.extraction_pool import ExtractionError, extract_all

NAMES_SHOWN = 10
LINE_EVERY_S = 10.0
STOPPED = 130
"""The exit code of what Ctrl-C has ended, by the shells' custom."""


class Command(BaseCommand):
    help = (
        "Import a data set (Celeb-DF, FaceForensics++, DFDC, folders real/ and fake/, or a CSV path,label): copy and"
        " label its videos, and extract their faces.  Running it again goes on where it was stopped."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, metavar="PATH", help="the data set's folder, or a CSV file")
        parser.add_argument("--format", choices=FORMATS, help="how it is laid out, where that cannot be guessed")
        parser.add_argument("--name", help="what it is to be called here, instead of its usual name")
        parser.add_argument(
            "--workers", type=int, default=settings.CELERY_WORKER_CONCURRENCY, metavar="N",
            help="processes that extract (DFD_CONCURRENCY); 0 extracts in this very process",
        )  # fmt: skip
        parser.add_argument("--limit", type=int, metavar="N", help="only N videos, spread over labels and methods")
        parser.add_argument("--dry-run", action="store_true", help="say what is there, and write nothing")
        parser.add_argument("--json", action="store_true", help="one JSON object at the end instead of sentences")

    def handle(self, *args: Any, path: Path, **options: Any) -> None:
        if options["workers"] < 0 or (options["limit"] is not None and options["limit"] < 1):
            raise CommandError("--workers is 0 or more, and --limit at least 1.")
        try:
            found = scan(path, options["format"], name=options["name"])
        except DatasetError as error:
            raise CommandError(str(error)) from error
        report = _Report(found=found, path=path)
        if not options["json"]:
            self.stdout.write("\n".join(report.findings()))
        if not found.items:
            raise CommandError(
                "There is no labelled video to import. Check the path, or name the layout with --format."
            )
        if options["dry_run"]:
            if options["json"]:
                self.stdout.write(json.dumps(report.as_json()))
            return
        items = _spread(found.items, options["limit"])
        quiet_logging()
        try:
            with _alone(), storage_answers():
                datasets.remove_unfinished()
                work_files.remove_leftovers()
                self._register(items, report)
                self._extract(options["workers"], report)
        except KeyboardInterrupt:
            raise CommandError(
                "Stopped; what was at work has been given back. Run the same command again to go on.",
                returncode=STOPPED,
            ) from None
        except ExtractionError as error:
            raise CommandError(str(error)) from error
        except (OperationalError, ProgrammingError) as error:
            raise CommandError(
                f"The database failed ({error}). Run `manage.py migrate` if it is new, or `manage.py doctor` to see"
                f" what is wrong; then the same command again goes on from here."
            ) from error
        self.stdout.write(json.dumps(report.as_json()) if options["json"] else "\n".join(report.results()))
        if report.conflicts:
            raise CommandError(
                f"{_videos(len(report.conflicts))} refused: the labels contradict each other, see above."
            )

    def _register(self, items: Sequence[DatasetItem], report: _Report) -> None:
        owner = datasets.dataset_owner()
        with _bar("registered", len(items)) as progress:
            for item in items:
                try:
                    done = datasets.register_item(
                        owner=owner,
                        file=item.path,
                        name=item.relative,
                        dataset=item.dataset,
                        relative=item.relative,
                        label=item.label.name.lower(),
                        identity=item.identity,
                        donor=item.donor,
                        method=item.method,
                        compression=item.compression,
                        official_split=item.official_split,
                    )
                except Refused as refusal:
                    if refusal.status >= 500:  # no room: the next one would find none either
                        raise CommandError(_not_stored(item, refusal.detail)) from refusal
                    report.refuse(item, refusal.code, refusal.detail)
                except OSError as error:
                    if error.filename != str(item.path):
                        raise CommandError(_not_stored(item, f"{error.strerror or error}.")) from error
                    report.refuse(item, "unreadable", f"{error.strerror}.")
                else:
                    report.counts[done.outcome] += 1
                    if done.outcome != "duplicate":
                        report.videos.add(done.video.pk)
                progress.step()

    def _extract(self, workers: int, report: _Report) -> None:
        name = report.found.name
        ids = [pk for pk, video in datasets.open_extractions(dataset=name) if video in report.videos]
        with _bar("extracted", len(ids)) as progress:

            def ended() -> None:
                progress.step()
                work_files.tidy_now_and_then()  # it may take days

            extract_all(ids=ids, workers=workers, ended=ended, waiting=lambda n: progress.wait(_waiting(n)))
        report.statuses = [row for row in datasets.import_statuses(dataset=name) if row.video_id in report.videos]


@dataclass
class _Report:
    """What was found and what became of it, for people and for programs."""

    found: DatasetScan
    path: Path
    counts: Counter[str] = field(default_factory=Counter)
    videos: set[UUID] = field(default_factory=set)
    refused: list[dict[str, str]] = field(default_factory=list)
    conflicts: list[dict[str, str]] = field(default_factory=list)
    statuses: list[datasets.ImportStatus] = field(default_factory=list)

    def refuse(self, item: DatasetItem, code: str, detail: str) -> None:
        kept = self.conflicts if code == datasets.LABEL_CONFLICT else self.refused
        kept.append({"path": item.relative, "code": code, "detail": detail})

    @property
    def without_face(self) -> list[str]:
        return [row.path for row in self.statuses if _is_faceless(row)]

    @property
    def failed(self) -> list[dict[str, str]]:
        rows = [row for row in self.statuses if row.status in TOLD_AS_FAILED]
        return self.refused + [{"path": r.path, "code": r.error_code, "detail": r.error_detail} for r in rows]

    @property
    def with_faces(self) -> int:
        return sum(row.status not in TOLD_AS_FAILED and not _is_faceless(row) for row in self.statuses)

    def findings(self) -> Iterator[str]:
        found = self.found
        videos = _videos(len(found.items))
        yield f"{shown(str(self.path))}: {videos} in the layout {found.format}, called {found.name} here."
        groups = Counter((item.label, item.method, item.official_split) for item in found.items)
        for label, method in sorted({key[:2] for key in groups}):
            splits = {
                key[2] or "no split": count for key, count in sorted(groups.items()) if key[:2] == (label, method)
            }
            parts = ", ".join(f"{split} {count}" for split, count in splits.items())
            yield f"  {label.name.lower():<5} {method:<20} {sum(splits.values()):>7}  ({parts})"
        yield from found.notes
        if found.missing:
            yield f"{_videos(len(found.missing))} named by the set's lists, not here: {_some(found.missing)}"

    def results(self) -> Iterator[str]:
        for name, count in (
            ("imported", self.counts["new"]),
            ("known already", self.counts["known"]),
            ("duplicates", self.counts["duplicate"]),
            ("with faces", self.with_faces),
            ("without a face", len(self.without_face)),
            ("failed", len(self.failed)),
            ("missing", len(self.found.missing)),
            ("label conflicts", len(self.conflicts)),
        ):
            yield f"{name:<16} {count:>7}"
        if self.without_face:
            yield f"Without a face: {_some(self.without_face)}"
        for row in (self.failed + self.conflicts)[:NAMES_SHOWN]:
            yield f"{row['code']}: {row['path']}: {row['detail']}"
        left = len(self.failed) + len(self.conflicts) - NAMES_SHOWN
        if left > 0:
            yield f"... and {left} more; --json lists all."
        if any(row["code"] == GAVE_UP for row in self.failed):
            yield "What gave up is not tried again by itself: requeue it in the admin (Analyses), then import again."

    def as_json(self) -> dict[str, Any]:
        found = self.found
        labels = Counter(item.label for item in found.items)
        return {
            "path": shown(str(self.path)),
            "format": found.format,
            "dataset": found.name,
            "found": len(found.items),
            "real": labels[Label.REAL],
            "fake": labels[Label.FAKE],
            "imported": self.counts["new"],
            "known": self.counts["known"],
            "duplicates": self.counts["duplicate"],
            "with_faces": self.with_faces,
            "without_face": self.without_face,
            "failed": self.failed,
            "missing": list(found.missing),
            "conflicts": self.conflicts,
            "notes": list(found.notes),
        }


@contextmanager
def _alone() -> Iterator[None]:
    """One import at a time here: two would share the cores, and tidy up after each other."""
    with (settings.VAR_DIR / "import.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"Another import runs on {settings.VAR_DIR}. Wait for its end, then try again."
            ) from None
        yield


def _not_stored(item: DatasetItem, why: str) -> str:
    return f"{item.relative} could not be stored: {why} Put that right; then the same command again goes on from here."


def _is_faceless(row: datasets.ImportStatus) -> bool:
    """Whether no face was found; a model of whole frames may have judged it, or be about to."""
    return row.status == State.NO_FACE or (row.tracks == 0 and row.status not in TOLD_AS_FAILED)


def _bar(what: str, total: int) -> ProgressBar:
    return ProgressBar(total, what, unit="video", log_interval_s=LINE_EVERY_S)


def _waiting(count: int) -> str:
    """Why nothing can be done at present."""
    return f"waiting for {_videos(count)}: another process holds them, or held them when it died, or they failed once"


def _spread(items: Sequence[DatasetItem], limit: int | None) -> list[DatasetItem]:
    """The first `limit` in an order that takes labels in turn, and methods in turn; always the same for a folder."""
    if limit is None or limit >= len(items):
        return list(items)
    by_label = []
    for label in Label:
        methods: dict[str, list[DatasetItem]] = {}
        for item in items:
            if item.label == label:
                methods.setdefault(item.method, []).append(item)
        by_label.append(_in_turn([methods[name] for name in sorted(methods)]))
    return _in_turn(by_label)[:limit]


def _in_turn(lists: Sequence[Sequence[DatasetItem]]) -> list[DatasetItem]:
    return [item for row in zip_longest(*lists) for item in row if item is not None]


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f", and {more} more" if more > 0 else "")


def _videos(count: int) -> str:
    return "1 video" if count == 1 else f"{count} videos"
