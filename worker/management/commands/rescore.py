"""Old videos under the active model, from the faces (or, of a model of whole frames, the clips) that are stored."""

from __future__ import annotations

import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from detection.management.storage import storage_answers
from detection.models import ModelVersion
from detection.services.learning import rescoring
from worker.process import runtime
from worker.stages.attempt import NotNow


class Command(BaseCommand):
    help = (
        "Give every video with stored faces (or a stored file, where the active model looks at whole frames) a verdict"
        " of the active model, in batches. Videos that show one are left"
        " alone, so it can be stopped at any time and run again; after a rollback earlier verdicts are shown again."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--batch", type=int, default=32, help="videos a batch, stored in one transaction")
        parser.add_argument("--limit", type=int, help="at most so many videos")

    def handle(self, *args: Any, batch: int, limit: int | None, **options: Any) -> None:
        version = ModelVersion.objects.filter(active=True).first()
        if version is None:
            raise CommandError("No model is active. Register one (manage.py register_model --activate).")
        if batch < 1:
            raise CommandError("--batch must be at least 1.")
        withdrawn = rescoring.withdraw_faceless(model=version)
        if withdrawn:
            self.stdout.write(
                f"{withdrawn} videos have no face, which this model needs: they lose the verdict of a model of whole"
                " frames, and wait for a person."
            )
        total = rescoring.outdated(model=version).count()
        wanted = total if limit is None else min(total, max(0, limit))
        self.stdout.write(f"{wanted} of {total} videos are to get a verdict of {version}.")
        stored, looked, unreadable, started = 0, 0, [], time.monotonic()
        after = None
        with tqdm(total=wanted, unit="video", disable=not sys.stderr.isatty()) as bar:
            while looked < wanted:
                videos = rescoring.next_batch(model=version, size=min(batch, wanted - looked), after=after)
                if not videos:
                    break
                try:
                    with storage_answers():
                        done, missing = runtime.rescore_batch(version, videos)
                except NotNow as error:
                    raise CommandError(str(error)) from error
                stored, looked, after = stored + done, looked + len(videos), videos[-1].video_id
                unreadable += missing
                bar.update(len(videos))
                if not ModelVersion.objects.filter(id=version.id, active=True).exists():
                    raise CommandError("Another model has become active; run rescore again for its verdicts.")
                if bar.disable:
                    self.stdout.write(f"{looked}/{wanted}")
        seconds = time.monotonic() - started
        self.stdout.write(f"{stored} verdicts of {version} in {seconds:.1f} s.")
        if unreadable:
            names = ", ".join(unreadable[:10]) + (" ..." if len(unreadable) > 10 else "")
            raise CommandError(
                f"What is stored of {len(unreadable)} videos cannot be read: {names}. Analyse them again."
            )
