"""Everything of a video, gone: also what trainings have kept of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.models import AuditAction, CacheHolder, RunState, TrainingRun, Video
from detection.services.ops import audit, pending_deletions
from detection.services.uploads.uploads import delete_video
from worker.stages import erasure


class Command(BaseCommand):
    help = (
        "Remove videos with all that belongs to them, and every training pack, cached feature and report that shows"
        " their faces. Also for videos that were deleted before. Weights that were trained on them stay as they are."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("videos", nargs="+", type=UUID, metavar="VIDEO_ID")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        ids: list[UUID] = list(dict.fromkeys(options["videos"]))
        rows = {video.pk: video for video in Video.objects.filter(pk__in=ids)}
        if not options["yes"]:
            answer = input(f"Forget {len(ids)} videos, {len(rows)} of which are still here? This is final. [yes/no] ")
            if answer.strip() != "yes":
                raise CommandError("Nothing was removed.")
        for video in rows.values():
            delete_video(video=video)
        for pk in set(ids) - set(rows):
            pending_deletions.schedule(video_id=pk, paths=[], packs=True)  # for the caches of other machines
        names = {str(pk) for pk in ids}
        counts = {"packs": erasure.forget_cached(names), "reports": erasure.forget_reports(names)}
        for pk in ids:
            audit.record(AuditAction.FORGOTTEN, subject=f"video:{pk}", facts={"was_here": pk in rows} | counts)
        self.stdout.write(f"Removed {len(rows)} videos, {counts['packs']} packs and {counts['reports']} reports.")
        others = CacheHolder.objects.exclude(pk=erasure.register().pk).count()
        if others:
            self.stdout.write(f"{others} other machines with caches remove theirs within about seven minutes.")
        if TrainingRun.objects.filter(state=RunState.RUNNING).exists():
            self.stdout.write("A training is under way that may have read them: what it packs goes when it has ended.")
