"""`manage.py export_labels`: labels as a table."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentTypeError
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from detection.services.reviews import labels


def moment(text: str) -> datetime:
    """Parse a day (its beginning) or a time; without a zone it is this installation's."""
    try:
        day = parse_date(text)
        found = datetime(day.year, day.month, day.day) if day else parse_datetime(text)  # noqa: DTZ001
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no date; write 2026-01-31 or 2026-01-31T12:00")
    return timezone.make_aware(found) if timezone.is_naive(found) else found


class Command(BaseCommand):
    help = "Write every labelled video (or every review) as CSV or JSON lines. `import_labels` reads it back."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--out", type=Path, metavar="FILE", help="instead of standard output")
        parser.add_argument("--format", choices=labels.FORMATS, help="by default FILE's suffix decides, else csv")
        parser.add_argument("--all-reviews", action="store_true", help="one row a review instead of one a video")
        parser.add_argument("--since", type=moment, metavar="DATE", help="only what was labelled from then on")

    def handle(self, *args: Any, **options: Any) -> None:
        out: Path | None = options["out"]
        chosen = {
            "format": options["format"] or ("jsonl" if out and out.suffix in (".jsonl", ".ndjson") else "csv"),
            "all_reviews": options["all_reviews"],
            "since": options["since"],
        }
        if out is None:
            try:
                labels.write_labels(write=self.stdout.write, **chosen)
                self.stdout.flush()
            except BrokenPipeError:  # whoever read it, `head` say, has enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that nothing fails at exit either
            return
        partial = out.with_name(f"{out.name}.partial")  # half a file must not look like a whole one
        try:
            with partial.open("w", encoding="utf-8", newline="") as file:
                count = labels.write_labels(write=file.write, **chosen)
            partial.replace(out)
        except OSError as error:
            raise CommandError(f"{out} cannot be written: {error.strerror}.") from error
        finally:
            partial.unlink(missing_ok=True)
        self.stdout.write(f"{count} {'reviews' if options['all_reviews'] else 'videos'} in {out}.")
