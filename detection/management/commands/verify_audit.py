"""`manage.py verify_audit`: check the audit log's chain."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.management.storage import storage_answers
from detection.services.ops import audit


def noted(text: str) -> tuple[int, str]:
    """Parse NUMBER:HASH.  Raises ArgumentTypeError."""
    number, _, digest = text.partition(":")
    if not number.isdecimal() or len(digest) != 64:
        raise ArgumentTypeError(f"{text!r} is not NUMBER:HASH, as an earlier run of this command has printed it")
    return int(number), digest


class Command(BaseCommand):
    help = "Walk the audit log's chain of hashes. Ends with 1 and names every entry that is not as it was written."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--expect", type=noted, metavar="NUMBER:HASH", help="an entry as it was noted elsewhere")

    @storage_answers()
    def handle(self, *args: Any, **options: Any) -> None:
        checked = audit.verify(expect=options["expect"])
        if checked.broken:
            raise CommandError("\n".join(checked.broken) + f"\nThe last entry is {checked.entries}:{checked.head}")
        self.stdout.write(f"OK: {checked.entries:,} entries. Note it elsewhere: {checked.entries}:{checked.head}")
