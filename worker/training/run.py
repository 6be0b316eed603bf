"""A training run, from the labels of today to a candidate that the gate has seen: for a worker and for the terminal."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from detection.errors import Refused
from detection.models import ModelKind, ModelVersion, RunState, Snapshot, TrainingRun
from detection.services.jobs import orphan_files, training_runs
from detection.services.jobs.attempt_files import remove_tree
from detection.services.jobs.training_runs import RunClaim
from detection.services.learning import registry, snapshots
from detection.services.learning.snapshots import SnapshotItem
from detection.services.stored_files import StoredFiles, is_away
from ml.config import ModelConfig
from ml.data.crop_pack import Pack, PackError
from ml.evaluation.recalibration import CannotRecalibrate
from ml.evaluation.report import build_report
from ml.model.imagenet import imagenet_state
from ml.model.inference import choose_device
from ml.model.network import FaceSequenceClassifier, model_config
from ml.model.weights import WeightsError, WeightsInfo
from ml.progress import ProgressCallback
from ml.training.fit import FitOptions, Fitted, fit
from ml.training.frame_stage import FrameStageConfig
from ml.training.recipes import BLENDED
from ml.training.sequence_stage import SequenceStageConfig
from worker.process.lease_heartbeat import LeaseHeartbeat
from worker.stages.attempt import run_claimed, worker_name
from worker.stages.watchdog import TRAIN_LIMIT_S
from worker.training import judging, recalibration, snapshot_pack
from worker.training.registering import register_file
from worker.training.reports import NotEnough, store_report

log = structlog.get_logger(__name__)

MIN_VIDEOS = 5
"""Of each label, in training.  With fewer there is nothing to generalise from."""
MIN_FAMILIES = 4
"""Of linked people, in training."""
INTERRUPTED = "`manage.py retrain --resume` goes on from where it was, and `--give-up` ends it."
Say = Callable[[str], None]


@dataclass(frozen=True)
class RunOptions:
    """What a person can choose; kept with the run as JSON."""

    name: str = ""
    full: bool = False
    seed: int = 0
    epochs: int = 12
    crops: int = 20_000
    batch_size: int = 32
    lr: float = 3e-4
    input_size: int = 0
    """Only for a start from scratch or ImageNet; 0 is the parent's, or the default."""
    start: str = "auto"
    """auto (the active model, else ImageNet's weights where they can be had, else nothing), active, imagenet,
    scratch."""
    backbone: str = ""
    """A timm name, only for a start from scratch or ImageNet; empty is the recipe's."""
    imagenet: str = ""
    """A local file of ImageNet weights."""
    fake_recall: float = 0.8
    shuffle_labels: bool = False
    promote: bool = True
    workers: int = 1
    foreground: bool = False

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunOptions:
        """The options that a run was stored with; unknown ones are ignored."""
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


class RunProgress:
    """How far a run is: for its row, for the terminal's bar, and for its lines."""

    def __init__(
        self, claim: RunClaim, heartbeat: LeaseHeartbeat, say: Say | None, bar: ProgressCallback | None
    ) -> None:
        self._claim, self._heartbeat, self._say, self._bar = claim, heartbeat, say, bar
        self._from, self._to = 0.0, 5.0

    def span(self, start: float, end: float) -> None:
        """What follows takes the run's progress from `start` to `end` percent."""
        self._from, self._to = start, end

    def update(self, what: str, share: float) -> None:
        """Given to the code of `ml`, which calls it often.  Raises LeaseLost once the run is another's."""
        if self._bar:
            self._bar(what, share)
        self._heartbeat(self._from + (self._to - self._from) * min(1.0, share), phase=what)

    def epoch(self, entry: dict[str, Any]) -> None:
        """Keep the epoch in the run's history.  Raises LeaseLost."""
        training_runs.note_epoch(claim=self._claim, entry=entry)
        self.say("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in entry.items()))

    def say(self, text: str) -> None:
        """A line for the person at the terminal, if there is one."""
        if self._say:
            self._say(text)


def run(run_id: str, *, say: Say | None = None, bar: ProgressCallback | None = None) -> bool:
    """Work on the run if it can be claimed; false where somebody else is at it or it has ended."""
    claim = training_runs.claim(run_id=UUID(run_id), worker=worker_name(os.getpid()))
    if claim is None:
        log.info("nothing_to_do", run=run_id)
        return False

    def work(claim: RunClaim, heartbeat: LeaseHeartbeat) -> None:
        progress = RunProgress(claim, heartbeat, say, bar)
        recalibrates = "recalibrate" in TrainingRun.objects.values_list("options", flat=True).get(id=claim.id)
        try:
            (recalibration.recalibrate_model if recalibrates else _train)(claim, progress)
        except (NotEnough, CannotRecalibrate) as error:
            training_runs.finish(claim=claim, state=RunState.REFUSED, message=str(error))
        except (PackError, WeightsError, Refused, ValueError) as error:  # it would end so each time
            if is_away(error):
                raise
            detail = error.detail if isinstance(error, Refused) else str(error)
            training_runs.finish(claim=claim, state=RunState.FAILED, message=detail, error=traceback.format_exc())

    run_claimed(claim, work, training_runs, limit_s=TRAIN_LIMIT_S, run=run_id)  # at Ctrl-C the checkpoints stay
    return True


def _train(claim: RunClaim, progress: RunProgress) -> None:
    row = TrainingRun.objects.select_related("snapshot", "parent").get(id=claim.id)
    options = RunOptions.from_dict(row.options)
    champion = ModelVersion.objects.filter(active=True).first()
    if row.snapshot is None:
        seen = champion.trained_on if champion else ()
        fence = partial(training_runs.hold, claim=claim)  # who has lost the run gives nobody a split
        snapshot = snapshot_pack.freeze(seed=options.seed, seen=seen, on_progress=progress.update, fence=fence)
        training_runs.note_snapshot(claim=claim, snapshot=snapshot, parent=champion)
        parent = champion
    else:  # taken up again: the same labels, the same start
        snapshot, parent = row.snapshot, row.parent
    frozen = snapshots.read_snapshot(snapshot=snapshot)
    items = snapshot_pack.with_faces(frozen)
    for line in describe(snapshot, items):
        progress.say(line)
    check(items)
    progress.span(5, 15)
    pack = snapshot_pack.pack_of(items, on_progress=progress.update)
    model, start, started_from = _start(options, parent, progress.say)
    progress.span(15, 85)
    out = folder_of(claim.id)
    fitted = fit(
        model,
        pack,
        out,
        _fit_options(options, model, row),
        cache=snapshot_pack.feature_folder(),
        resume=True,
        started_from=started_from,
        on_progress=progress.update,
        on_epoch=progress.epoch,
    )
    progress.span(85, 97)
    candidate = _register(fitted, parent if start == "active" else None, claim)
    judgement = judging.judge(candidate, champion, frozen, snapshot=snapshot, on_progress=progress.update)
    noted = orphan_files.watch_folder(below=f"reports/{row.id}")
    with StoredFiles(lambda: remove_tree(noted.path)) as files:
        report = _report(noted.path, row, snapshot, candidate, champion, fitted, judgement, pack, options, start)
        message = judgement.gate.sentence
        with files.transaction():
            training_runs.hold(claim=claim)  # who has lost the run promotes nothing
            if judgement.gate.passed and options.promote and not options.shuffle_labels:
                try:
                    registry.promote(model=candidate, gate=judgement.gate, by=row.requested_by)
                    message = f"{message} It is the active model now."
                except Refused as refusal:
                    message = f"{message} {refusal.detail}"
            training_runs.finish(
                claim=claim,
                state=RunState.SUCCEEDED,
                message=message,
                candidate=candidate,
                metrics=fitted.info.metrics,
                gate=judgement.gate.to_json(),
                report=report,
            )
            orphan_files.claim(noted)
    snapshot_pack.forget_checkpoints(out)


def folder_of(run_id: UUID) -> Path:
    """Return this machine's folder of a run's checkpoints."""
    return snapshot_pack.root() / "runs" / str(run_id)


# --- what is used ----------------------------------------------------------------------------------------------------


def describe(snapshot: Snapshot, items: Sequence[SnapshotItem]) -> list[str]:
    """What exactly is used, and what is not, in lines for a person."""
    summary = snapshot.summary
    lines = [f"Snapshot {snapshot.sha256[:12]}: {len(items)} videos of {summary['components']} families of people."]
    for side in ("train", "val", "holdout"):
        counts = summary["sides"].get(side, {})
        lines.append(f"  {side:8} {counts.get('real', 0):6} real {counts.get('fake', 0):6} fake")
    for name, counts in sorted(summary["datasets"].items()):
        note = "" if counts["real"] and counts["fake"] else "  (one label only: it cannot teach by itself)"
        lines.append(f"  from {name}: {counts['real']} real, {counts['fake']} fake{note}")
    reviewers = ", ".join(f"{name} {n}" for name, n in sorted(summary["reviewers"].items()))
    lines.append(
        f"  labels: {summary['by_dataset']} of data sets, {summary['by_review']} of reviewers"
        + (f" (answers that count: {reviewers})" if reviewers else "")
    )
    by_person = summary.get("by_person") or {}
    if by_person:
        said = ", ".join(f"{n} {label}" for label, n in sorted(by_person.items()))
        lines.append(f"  people answered for by themselves: {said}")
    for side, counts in sorted((summary.get("frames_only") or {}).items()):
        lines.append(
            f"  without a face, for models of whole frames only, {side}: {counts['real']} real, {counts['fake']} fake"
        )
    lines += [f"  left out, {reason}: {n}" for reason, n in sorted(summary["left_out"].items())]
    return lines


def check(items: Sequence[SnapshotItem]) -> None:
    """Raises NotEnough when there is too little to learn from, or one side only."""
    train = [item for item in items if item.split == "train"]
    counts = {label: sum(item.label == label for item in train) for label in ("real", "fake")}
    families = len({item.component for item in train})
    wanting = [f"{n} {label}" for label, n in counts.items() if n < MIN_VIDEOS]
    if wanting:
        raise NotEnough(
            f"Too little to train on: {' and '.join(wanting)} videos in the training split, {MIN_VIDEOS} of each are"
            " needed. Label more videos in the admin, or import a data set (manage.py import_dataset)."
        )
    if families < MIN_FAMILIES:
        raise NotEnough(
            f"Too few people to train on: {families} families of linked people, {MIN_FAMILIES} are needed."
            " Label videos of other people, or import a data set (manage.py import_dataset)."
        )


# --- start, candidate, report ----------------------------------------------------------------------------------------


def _start(
    options: RunOptions, parent: ModelVersion | None, say: Say
) -> tuple[FaceSequenceClassifier, str, WeightsInfo | None]:
    """Return the model to train, where it starts (active, imagenet or scratch) and what its weights say of themselves.

    Left to itself a training goes on from the active model, which knows forgeries; ImageNet's weights know none.
    """
    wanted = options.start
    if parent is not None and parent.kind != ModelKind.NETWORK:
        if wanted == "active" or not options.full:
            raise NotEnough(
                f"The active model {parent} is no network of our own: it only answers and cannot learn. Train"
                " everything from ImageNet's weights or from scratch with --full, or go back to a network of our own."
            )
        parent = None
    if wanted in ("auto", "active") and parent is not None:
        model, info = judging.load_version(parent)
        say(f"Start: the active model {parent}.")
        return model, "active", info
    if not options.full and wanted != "imagenet":
        raise NotEnough(
            "There is no active model whose features could be used. Register one (manage.py register_model), or train"
            " everything with --full."
        )
    config = _fresh_config(options)
    model = FaceSequenceClassifier(config)
    if wanted != "scratch":
        try:
            state, source = imagenet_state(config.backbone, options.imagenet or None)
            model.backbone.load_state_dict(state)
            say(f"Start: ImageNet weights from {source}.")
            return model.to(choose_device()), "imagenet", None
        except (OSError, RuntimeError) as error:
            if wanted == "imagenet":
                raise WeightsError(
                    f"ImageNet weights cannot be had: {error} Give a local file with --imagenet."
                ) from error
            say("ImageNet weights cannot be had here (no package, no hub, no --imagenet file).")
    say("Start: from scratch.")
    return model.to(choose_device()), "scratch", None


def _fresh_config(options: RunOptions) -> ModelConfig:
    recipe = BLENDED
    return model_config(
        options.backbone or recipe.backbone, input_size=options.input_size or recipe.size, mirror=recipe.mirror
    )


def _fit_options(options: RunOptions, model: FaceSequenceClassifier, row: TrainingRun) -> FitOptions:
    steps = max(1, options.crops // options.batch_size)
    return FitOptions(
        name=options.name or f"retrained {row.created_at:%Y-%m-%d %H:%M}",
        full=options.full,
        seed=options.seed,
        crops=options.crops,
        batch_size=options.batch_size,
        sizes=((model.config.input_size, 1.0),),
        frames=FrameStageConfig(
            lr=options.lr, ema=0.99, workers=options.workers, steps_per_epoch=max(1, min(100, steps // 10 or 1))
        ),
        sequence=SequenceStageConfig(epochs=options.epochs, seed=options.seed),
        fake_recall=options.fake_recall,
        shuffle_labels=options.shuffle_labels,
    )


def _register(fitted: Fitted, parent: ModelVersion | None, claim: RunClaim) -> ModelVersion:
    return register_file(
        fitted.path,
        sha256=fitted.sha256,
        parent=parent,
        activate=False,
        fence=partial(training_runs.hold, claim=claim),
    )


def _report(
    folder: str,
    row: TrainingRun,
    snapshot: Snapshot,
    candidate: ModelVersion,
    champion: ModelVersion | None,
    fitted: Fitted,
    judgement: judging.GateAnswer,
    pack: Pack,
    options: RunOptions,
    start: str,
) -> str:
    """HTML and JSON into the new folder of storage; returns the HTML's name."""
    summary = snapshot.summary
    facts = {
        "Gate": judgement.gate.sentence,
        "Candidate": str(candidate),
        "Compared with": str(champion) if champion else "no model",
        "Snapshot": snapshot.sha256,
        "Training data": fitted.info.training_data_sha256,
        "Mode": f"{'full' if options.full else 'frozen backbone'}, start: {start}"
        + (", LABELS SHUFFLED: a check for leaks" if options.shuffle_labels else ""),
        "Seed": options.seed,
        "Threshold": f"{candidate.threshold:.4f} (fake recall {options.fake_recall:.0%} on validation)",
        "Temperature": f"{candidate.temperature:.3f}",
        "Videos": "; ".join(f"{side}: {c['real']} real, {c['fake']} fake" for side, c in summary["sides"].items()),
        "Labels": f"{summary['by_dataset']} of data sets, {summary['by_review']} of reviewers",
        "Reviewers": ", ".join(f"{name}: {n}" for name, n in sorted(summary["reviewers"].items())) or "none",
        "Left out": ", ".join(f"{reason}: {n}" for reason, n in sorted(summary["left_out"].items())) or "nothing",
    }
    report = build_report(
        fitted.holdout,
        threshold=candidate.threshold,
        title=f"Retraining of {row.created_at:%Y-%m-%d %H:%M}",
        facts=facts,
        history=fitted.history,
    )
    report["gate"] = judgement.gate.to_json()
    return store_report(folder, report, pack)
