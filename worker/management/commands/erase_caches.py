"""What this machine has cached of videos that are gone: workers run it by themselves where no sweep does."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from worker.stages import erasure


class Command(BaseCommand):
    help = "Remove from this machine's training packs and cached features whose videos were deleted."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        count = erasure.erase_here()
        self.stdout.write(f"Seen to {count} videos.")
