"""What a fake probability means here: a new calibration from the random audit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.errors import Refused
from detection.models import ModelVersion, RunState
from detection.selectors.videos import active_model
from detection.services.jobs import training_runs
from detection.services.learning import registry
from worker.management.arguments import share
from worker.training import console
from worker.training.recalibration import RecalibrateOptions
from worker.training.run import INTERRUPTED, run


class Command(BaseCommand):
    help = (
        "Fit shift and temperature of MODEL (by default the active one) on the settled labels of the random audit, and"
        " register them with the same weights as a version of its own, which the gate judges. Nothing is promoted."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("model", nargs="?", default="", metavar="MODEL", help="id, name, or the beginning of the file's sha256")
        add("--name", default="", help="of the new version")
        threshold = parser.add_mutually_exclusive_group()
        threshold.add_argument(
            "--false-alarms",
            type=share,
            help="choose the threshold by the share of reals that may be called fake; else it stays in its place",
        )
        threshold.add_argument("--fake-recall", type=share, help="instead: share of the fakes to catch")
        add("--queue", action="store_true", help="let a worker of the queue `train` do it")

    def handle(self, *args: Any, model: str, **options: Any) -> None:
        try:
            version = registry.find_model(reference=model) if model else active_model()
            if version is None:
                raise CommandError("No model is active. Register one (manage.py register_model --activate).")
            chosen = RecalibrateOptions(
                recalibrate=str(version.id),
                name=options["name"],
                false_alarms=options["false_alarms"],
                fake_recall=options["fake_recall"],
                foreground=not options["queue"],
            )
            row = training_runs.request_run(options=asdict(chosen), publish=options["queue"])
        except Refused as error:
            raise CommandError(error.detail) from error
        if options["queue"]:
            self.stdout.write(f"Run {row.id} is queued; the admin shows how it goes.")
            return
        try:
            run(str(row.id), say=self.stdout.write)
        except KeyboardInterrupt:
            raise CommandError(f"Interrupted. {INTERRUPTED}") from None
        row.refresh_from_db()
        if row.state != RunState.SUCCEEDED or row.candidate is None:
            raise CommandError(row.message or row.last_error[-300:] or "Another process is at this run.")
        self._tell(row.candidate, row.message)

    def _tell(self, version: ModelVersion, sentence: str) -> None:
        for title, name in (("Before", "before"), ("After, each video by a fit on other people's", "videos")):
            self.stdout.write(f"{title}:")
            for line in console.lines(version.metrics[name]):
                self.stdout.write(line)
        calibration = f"Temperature {version.temperature:.4f}, shift {version.shift:+.4f}"
        self.stdout.write(f"{calibration}, fake from {version.threshold:.4f}.")
        self.stdout.write(f"Candidate: {version}\n{sentence}")
