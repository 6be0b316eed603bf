"""Back to the model before."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.errors import Refused
from detection.services.learning import registry


class Command(BaseCommand):
    help = (
        "Make the model active again that was active before the present one; running workers take it up by themselves."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", default="", help="kept with the decision")

    def handle(self, *args: Any, reason: str, **options: Any) -> None:
        try:
            model = registry.rollback(reason=reason)
        except Refused as error:
            raise CommandError(error.detail) from error
        self.stdout.write(
            f"{model} is active again. Old verdicts keep the model that made them; `rescore` renews them."
        )
