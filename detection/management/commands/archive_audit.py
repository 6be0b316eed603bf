"""Move old entries of the audit log out of the database now; the sweep does it by itself, ten thousand at a time."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.management.storage import storage_answers
from detection.services.ops import audit_archive


def days(text: str) -> timedelta:
    """Parse a number of days.  Raises ArgumentTypeError."""
    if not text.isdecimal() or not 1 <= int(text) <= 36_500:
        raise ArgumentTypeError(f"{text!r} is not a number of days, 1 or more")
    return timedelta(days=int(text))


class Command(BaseCommand):
    help = (
        "Move entries of the audit log that are older than so many days from the database into files of the storage."
        " `verify_audit` walks through both."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        default = settings.DFD_AUDIT_DAYS or 365
        parser.add_argument(
            "--older-than", type=days, default=timedelta(days=default), metavar="DAYS", help=f"default: {default}"
        )

    @storage_answers()
    def handle(self, *args: Any, **options: Any) -> None:
        moved = 0
        try:
            while made := audit_archive.archive(older_than=options["older_than"]):
                moved += made.last - made.first + 1
                self.stdout.write(f"entries {made}: {made.file.name}")
        except audit_archive.BrokenChainError as error:
            raise CommandError(
                f"{error} It and those after it stay where they are; see manage.py verify_audit."
            ) from None
        self.stdout.write(f"{moved:,} entries moved.")
