"""`manage.py catch_up`: after an upgrade, complete what old processes wrote since the migrations."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from detection.services.jobs import verdicts
from detection.services.reviews import reviews


class Command(BaseCommand):
    help = "After an upgrade, once the old processes are gone: complete what they have written. Harmless at any time."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{verdicts.catch_up():,} videos completed.")
        self.stdout.write(f"{reviews.catch_up():,} labels worked out anew.")
