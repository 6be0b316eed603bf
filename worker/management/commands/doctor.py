"""What is missing or wrong, in sentences, with the next step."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from worker.process import doctor
from worker.process.doctor import Level


class Command(BaseCommand):
    help = "Look at weights, broker, workers, GPU, codecs, disk and database; exit code 1 if something must be fixed."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        problems = 0
        for finding in doctor.examine():
            problems += finding.level is Level.PROBLEM
            self.stdout.write(f"{finding.level.value:<8} {finding.sentence}")
            if finding.next_step:
                self.stdout.write(f"{'':<8} -> {finding.next_step}")
        if problems:
            raise CommandError("One thing must be fixed." if problems == 1 else f"{problems} things must be fixed.")
        self.stdout.write("Nothing must be fixed.")
