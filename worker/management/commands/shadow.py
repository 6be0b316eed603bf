"""A version scores new uploads silently: on, off, and how it compares so far."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.errors import Refused
from detection.models import ModelVersion
from detection.selectors.live_traffic import live_traffic, newest_trial
from detection.selectors.videos import active_model
from detection.services.learning import registry, shadow


class Command(BaseCommand):
    help = (
        "Put MODEL into shadow: workers score each new video with it, too, after the client has its verdict. What it"
        " says is told nobody; the model's page in the admin compares it with the active model."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", metavar="MODEL", help="id, name, or the beginning of the file's sha256")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--off", action="store_true", help="end it; what was scored is kept")
        what.add_argument("--forget", action="store_true", help="end it, and remove what was scored")
        what.add_argument("--show", action="store_true", help="only tell how it compares")

    def handle(self, *args: Any, model: str, off: bool, forget: bool, show: bool, **options: Any) -> None:
        try:
            version = registry.find_model(reference=model)
            if forget:
                self.stdout.write(f"{shadow.forget(model=version)} scores of {version} were removed.")
            elif off:
                shadow.stop(model=version)
                self.stdout.write(f"{version} is not in shadow any more; what it said is kept until --forget.")
            elif not show:
                shadow.start(model=version)
                self.stdout.write(f"{version} is in shadow: it scores what is analysed from now on.")
        except Refused as error:
            raise CommandError(error.detail) from error
        if show:
            self._show(version)

    def _show(self, version: ModelVersion) -> None:
        trial, active = newest_trial(model=version), active_model()
        if trial is None or active is None:
            self.stdout.write(f"{version} has never been in shadow." if trial is None else "No model is active.")
            return
        found = live_traffic(model=version, champion=active)
        state = "in shadow" if trial.open else trial.ended_because
        self.stdout.write(f"{version}: {state} Since {trial.created_at:%Y-%m-%d %H:%M}.")
        agreement = "-" if found.agreement is None else f"{found.agreement:.1%}"
        self.stdout.write(
            f"{found.n} videos scored, {found.failed} failed; agrees with {active} on {agreement}"
            f" ({found.to_fake} it calls fake that are called real, {found.to_real} the other way)."
        )
