"""`manage.py create_token`: a token for a client program, and its user if missing."""

from __future__ import annotations

import secrets
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.errors import Refused
from detection.services.ops import accounts

MOST_DAYS = 36_500


class Command(BaseCommand):
    help = "Print a new API token for USER, who is made if need be. Only a hash of the token is stored."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER")
        parser.add_argument("--role", choices=accounts.ROLES, help="added to the user; a new user is an uploader")
        parser.add_argument("--days", type=int, help="days until the token expires; without it, it does not")
        password = parser.add_mutually_exclusive_group()
        password.add_argument("--password-stdin", action="store_true", help="set the password from standard input")
        password.add_argument("--random-password", action="store_true", help="set one and print it on standard error")

    def handle(self, *args: Any, **options: Any) -> None:
        password: str | None = None
        if options["password_stdin"]:
            password = sys.stdin.readline().rstrip("\n")
        elif options["random_password"]:
            password = secrets.token_urlsafe(12)
        if options["days"] is not None and not 1 <= options["days"] <= MOST_DAYS:
            raise CommandError(f"--days must be at least 1 and at most {MOST_DAYS}.")
        try:
            new = accounts.create_token(
                username=options["user"], role=options["role"], days=options["days"], password=password
            )
        except Refused as error:
            raise CommandError(error.detail) from error
        if options["random_password"]:
            self.stderr.write(f"password of {options['user']}: {password}")
        self.stdout.write(new.token)
