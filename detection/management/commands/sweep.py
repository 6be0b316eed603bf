"""`manage.py sweep`: sweep now; workers do it every DFD_SWEEP_S seconds."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from detection.services.jobs import sweeper, training_runs


class Command(BaseCommand):
    help = "Give back what dead workers hold, and tell workers again of what waits."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        if runs := training_runs.sweep():
            self.stdout.write(f"training runs given back or published again: {runs}")
        more = True
        while more:
            report = sweeper.sweep()
            more = report.more
            self.stdout.write(
                f"given back: {report.given_back}, given up: {report.given_up},"
                f" a model found for: {report.models_found}, published: {report.published}"
            )
