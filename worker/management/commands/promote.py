"""Make a model the active one, if it is better."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from detection.errors import Refused
from detection.management.storage import storage_answers
from detection.models import ModelVersion
from detection.selectors.videos import newest_judged_run
from detection.services.learning import registry, snapshots
from detection.services.learning.gate_record import GateRecord
from ml.data.crop_pack import PackError
from ml.model.weights import WeightsError
from worker.training import judging, snapshot_pack


class Command(BaseCommand):
    help = (
        "Compare MODEL with the active model on the frozen holdout, and make it the active one if it wins:"
        " verdicts are its own from now on, in running workers too, and tasks that wait for a model go on."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", metavar="MODEL", help="id, name, or the beginning of the file's sha256")
        parser.add_argument("--force", action="store_true", help="whatever the gate says; needs --reason")
        parser.add_argument("--reason", default="", help="kept with the decision")

    @storage_answers()
    def handle(self, *args: Any, model: str, force: bool, reason: str, **options: Any) -> None:
        try:
            version = registry.find_model(reference=model)
            if version.active:
                self.stdout.write(f"{version} is active already.")
                return
            if force and not reason.strip():
                raise CommandError("--force needs --reason: it is kept with the decision.")
            gate = self._gate(version, force)
            if not gate.passed and not force:
                raise CommandError(
                    f"{gate.sentence} Nothing was changed; --force --reason ... makes it active all the same."
                )
            promoted = registry.promote(model=version, gate=gate, force=force, reason=reason)
        except Refused as error:
            raise CommandError(error.detail) from error
        except (PackError, WeightsError, OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{gate.sentence}\n{promoted} is active.")

    def _gate(self, version: ModelVersion, force: bool) -> GateRecord:
        """The gate's answer; forced, even where it cannot give one."""
        champion = ModelVersion.objects.filter(active=True).first()
        run = newest_judged_run(model=version)
        record = GateRecord.from_json(run.gate) if run else None
        if record and champion and record.facts.get("recalibrates") == str(champion.id):
            return record  # it ranks videos as the active model does: it was judged by how true its probabilities are
        seen = {*version.trained_on, *(champion.trained_on if champion else ())}
        try:
            snapshot = snapshot_pack.freeze(seed=0, seen=seen)
            items = snapshots.read_snapshot(snapshot=snapshot)
            return judging.judge(version, champion, items, snapshot=snapshot).gate
        except (PackError, WeightsError, OSError, ValueError) as error:
            if not force:
                raise
            return GateRecord(passed=False, sentence=f"The gate could not judge it: {error}")
