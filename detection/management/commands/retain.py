"""`manage.py retain`: apply the retention policy now; workers do it every hour."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from detection.services.ops import retention


class Command(BaseCommand):
    help = "Remove what is older than the DFD_KEEP_*_DAYS settings say, until nothing is due any more."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say how many videos would lose what")

    def handle(self, *args: Any, **options: Any) -> None:
        days = [settings.DFD_KEEP_ORIGINALS_DAYS, settings.DFD_KEEP_CROPS_DAYS, settings.DFD_KEEP_VIDEOS_DAYS]
        if not any(days):
            self.stdout.write("Everything is kept for ever: no DFD_KEEP_*_DAYS is set.")
            return
        if options["dry_run"]:
            due = (retention.due_originals(), retention.due_crops(), retention.due_videos())
            self._say("would go", *(rows.order_by().count() for rows in due))
            return
        more = True
        while more:
            removed = retention.apply()
            more = removed.more
            self._say("gone", removed.originals, removed.crops, removed.videos)

    def _say(self, what: str, originals: int, crops: int, videos: int) -> None:
        self.stdout.write(f"{what}: originals of {originals:,} videos, pictures of {crops:,}, whole videos {videos:,}")
