"""`manage.py verify_report`: check an evidence report."""

from __future__ import annotations

import hashlib
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.evidence_report import signing
from detection.evidence_report.signing import PublicKey
from detection.evidence_report.verification import check

MAX_BYTES = 1024**3


def public_key(text: str) -> PublicKey:
    """Parse a public key in base64.  Raises ArgumentTypeError."""
    try:
        return PublicKey.from_text(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no public key: 32 bytes in base64") from error


class Command(BaseCommand):
    help = (
        "Check an evidence report: signature, every file in it, the audit entries. Ends with 1 and says what is wrong."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, help="the bundle (zip)")
        parser.add_argument(
            "--key", type=public_key, action="append", metavar="BASE64",
            help="a public key to trust, instead of this installation's own (DFD_SIGNING_OLD_KEYS lists former ones);"
            " may be given several times",
        )  # fmt: skip
        parser.add_argument("--original", type=Path, metavar="VIDEO", help="the video that the report is said to be of")
        parser.add_argument("--keys", action="store_true", help="print this installation's public keys, and end")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["keys"]:
            for key in signing.known_keys():
                self.stdout.write(f"{key.text}  fingerprint {key.fingerprint}")
            return
        if options["file"] is None:
            raise CommandError("Name the file to be checked.")
        data = self._read(options["file"])
        original = self._sha256(options["original"]) if options["original"] else None
        checked = check(data, known=options["key"] or signing.known_keys(), original_sha256=original)
        if checked.problems:
            raise CommandError("\n".join(("This report is not to be trusted.", *checked.problems)))
        video = checked.facts["video"]
        self.stdout.write(
            f"OK: as it was signed with the key {checked.fingerprint}, on {checked.facts['made_at']},"
            f" about the video {video['id']} (SHA-256 {video['sha256']})."
        )

    def _read(self, path: Path) -> bytes:
        try:
            if path.stat().st_size > MAX_BYTES:
                raise CommandError(f"{path} is larger than any report.")
            return path.read_bytes()
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error

    def _sha256(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
