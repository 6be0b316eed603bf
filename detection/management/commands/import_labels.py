"""`manage.py import_labels`: labels made elsewhere, as reviews by one person."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.errors import Refused
from detection.services.reviews import labels

MAX_SHOWN = 100


class Command(BaseCommand):
    help = (
        "Record the labels of FILE (columns video_id or sha256, label, optionally comment) as reviews. Run again after"
        " an interruption: what is recorded already is skipped."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="CSV or JSON lines, as export_labels writes them; - is stdin")
        parser.add_argument("--reviewer", required=True, metavar="USER", help="whose reviews they become")
        parser.add_argument("--format", choices=labels.FORMATS, help="by default FILE's suffix decides, else csv")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done")

    def handle(self, *args: Any, file: str, **options: Any) -> None:
        suffix = Path(file).suffix.lower()
        format = options["format"] or ("jsonl" if suffix in (".jsonl", ".ndjson", ".json") else "csv")
        dry_run: bool = options["dry_run"]
        try:
            reviewer = labels.find_reviewer(username=options["reviewer"])
            with _opened(file, format) as handle:
                report = labels.import_labels(file=handle, reviewer=reviewer, format=format, dry_run=dry_run)
        except Refused as refusal:
            raise CommandError(refusal.detail) from refusal
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
        for line, sentence in report.bad[:MAX_SHOWN]:
            self.stderr.write(f"line {line}: {sentence}")
        if len(report.bad) > MAX_SHOWN:
            self.stderr.write(f"and {len(report.bad) - MAX_SHOWN} more lines")
        self.stdout.write(
            f"rows: {report.rows}, {'would be recorded' if dry_run else 'recorded'}: {report.recorded},"
            f" labelled so already: {report.unchanged}, overruled by a later row: {report.replaced},"
            f" taken back or not counted: {report.left_out}, bad: {len(report.bad)}"
        )
        if report.bad:
            raise CommandError(f"{len(report.bad)} rows could not be used; see above.")


def _opened(name: str, format: str) -> IO[str]:
    """Open as UTF-8, with or without a byte order mark; invalid bytes spoil their own row only."""
    # CSV's own line ends are for the csv module; a JSON line ends at \n and nowhere else.
    newline = "" if format == "csv" else "\n"
    if name == "-":
        return io.TextIOWrapper(sys.stdin.buffer, "utf-8-sig", errors="surrogateescape", newline=newline)
    return Path(name).open(encoding="utf-8-sig", errors="surrogateescape", newline=newline)
