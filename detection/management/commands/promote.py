"""Make a registered model the active one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.errors import Refused
from detection.services import registry


class Command(BaseCommand):
    help = "Make MODEL the active one: verdicts are its own from now on, and tasks that wait for a model go on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", metavar="MODEL", help="id, name, or the beginning of the file's sha256")

    def handle(self, *args: Any, model: str, **options: Any) -> None:
        try:
            active = registry.activate_model(model=registry.find_model(reference=model))
        except Refused as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"{active} is active.")
