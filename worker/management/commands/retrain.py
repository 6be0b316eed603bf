"""What the labels are for: a better model, or none."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from detection.errors import Refused
from detection.models import RunState, TrainingRun
from detection.services.jobs import training_runs
from ml.progress import ProgressBar
from worker.management.arguments import between, share
from worker.training import console, snapshot_pack
from worker.training.run import INTERRUPTED, RunOptions, folder_of, run


class Command(BaseCommand):
    help = (
        "Train a candidate from imported and reviewed labels, report on it, and make it active only if it beats the"
        " active model on the frozen holdout."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        default = RunOptions()
        add = parser.add_argument
        add("--full", action="store_true", help="train the backbone too; without it only the heads learn")
        add("--name", default="", help="of the candidate")
        add("--seed", type=between(0, 2**31 - 1), default=default.seed)
        add("--epochs", type=between(0, 10_000), default=default.epochs, help="of the heads, at most (early stopping)")
        add("--crops", type=between(1, 10**9), default=default.crops, help="faces that --full trains on, in all")
        add("--batch-size", type=between(1, 10_000), default=default.batch_size)
        add("--lr", type=share, default=default.lr, help="of --full")
        add("--start", choices=("auto", "active", "imagenet", "scratch"), default=default.start)
        add("--backbone", default="", metavar="NAME", help="any name that timm knows, for a new start")
        add("--imagenet", default="", metavar="FILE", help="ImageNet weights of the backbone, a local file")
        add(
            "--input-size",
            type=between(32, 1024),
            default=0,
            help="side of the network's picture, for a new start",
        )
        add("--fake-recall", type=share, default=default.fake_recall, help="share of fakes to catch (0.8)")
        add("--shuffle-labels", action="store_true", help="a check for leaks: the answer must be chance")
        add("--no-promote", action="store_true", help="leave the candidate for `promote`, even if it wins")
        add("--queue", action="store_true", help="let a worker of the queue `train` do it")
        add("--resume", action="store_true", help="go on with the run that was interrupted")
        add("--give-up", action="store_true", help="end that run instead, so that another can be started")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            row = self._interrupted() if options["resume"] or options["give_up"] else self._new(options)
            if options["give_up"]:
                training_runs.give_up(run_id=row.id)
                snapshot_pack.forget_checkpoints(folder_of(row.id))
                self.stdout.write("It is given up.")
                return
        except Refused as error:
            raise CommandError(error.detail) from error
        if options["queue"]:
            self.stdout.write(f"Run {row.id} is queued; the admin shows how it goes.")
            return
        try:
            with ProgressBar.of_share() as bar:
                worked = run(str(row.id), say=self._say, bar=bar.show)
        except KeyboardInterrupt:
            raise CommandError(f"Interrupted. {INTERRUPTED}") from None
        if not worked:
            raise CommandError(training_runs.BUSY)
        row.refresh_from_db()
        self._conclude(row)

    def _say(self, text: str) -> None:
        with tqdm.external_write_mode():  # above the bar
            self.stdout.write(text)

    def _new(self, options: dict[str, Any]) -> TrainingRun:
        chosen = RunOptions(
            name=options["name"],
            full=options["full"],
            seed=options["seed"],
            epochs=options["epochs"],
            crops=options["crops"],
            batch_size=options["batch_size"],
            lr=options["lr"],
            start=options["start"],
            backbone=options["backbone"],
            imagenet=options["imagenet"],
            input_size=options["input_size"],
            fake_recall=options["fake_recall"],
            shuffle_labels=options["shuffle_labels"],
            promote=not options["no_promote"],
            foreground=not options["queue"],
        )
        return training_runs.request_run(options=asdict(chosen), publish=options["queue"])

    def _interrupted(self) -> TrainingRun:
        row = training_runs.unfinished_run()
        if row is None:
            raise CommandError("There is no interrupted run. Start one with `manage.py retrain`.")
        if row.state == RunState.RUNNING and row.lease_until and row.lease_until > timezone.now():
            seconds = (row.lease_until - timezone.now()).total_seconds()
            if seconds > settings.DFD_LEASE_S:
                raise CommandError(training_runs.BUSY)
            self.stdout.write(f"The run may still be held; waiting up to {seconds:.0f} s for its lease to run out ...")
            training_runs.wait_for_lease(run_id=row.id)
        self.stdout.write(f"The run of {row.created_at:%Y-%m-%d %H:%M} was interrupted.")
        return row

    def _conclude(self, row: TrainingRun) -> None:
        if row.state in (RunState.FAILED, RunState.REFUSED):
            raise CommandError(row.message)
        if row.state != RunState.SUCCEEDED:
            raise CommandError(
                "The attempt broke off; `manage.py retrain --resume` tries again. " + row.last_error[-300:]
            )
        for line in console.lines(row.metrics.get("videos", {})):
            self.stdout.write(line)
        self.stdout.write(f"Candidate: {row.candidate}   report: {_where(row)}")
        self.stdout.write(row.message)


def _where(row: TrainingRun) -> str:
    from django.core.files.storage import default_storage

    try:
        return str(default_storage.path(str(row.report)))
    except NotImplementedError:
        return str(row.report)
