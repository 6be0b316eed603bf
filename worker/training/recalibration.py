"""A recalibration: a version of its own from a model's weights and the labels of the random audit."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone

from detection.models import ModelVersion, RunState, TrainingRun
from detection.selectors.random_audit import AuditSample
from detection.services.jobs import orphan_files, training_runs
from detection.services.jobs.attempt_files import remove_tree
from detection.services.jobs.training_runs import RunClaim
from detection.services.learning import registry
from detection.services.learning.gate_record import GateRecord
from detection.services.stored_files import StoredFiles
from ml.evaluation.recalibration import Recalibration, recalibrate
from ml.evaluation.report import SUMMARY, build_report
from ml.model.weights import WeightsInfo, read_info, save_with_info
from ml.training.fit import score_bins
from worker.training import local_audit
from worker.training.registering import register_file
from worker.training.reports import NotEnough, store_report

if TYPE_CHECKING:
    from worker.training.run import RunProgress


@dataclass(frozen=True)
class RecalibrateOptions:
    """What a person can choose; kept with the run as JSON."""

    recalibrate: str
    """Id of the model version."""
    name: str = ""
    false_alarms: float | None = None
    """The new threshold is the lowest that calls at most this share of the reals fake; without either it stays where
    it is, under its new name."""
    fake_recall: float | None = None
    """Instead: the highest that catches this share of the fakes."""
    foreground: bool = False

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RecalibrateOptions:
        """The options that a run was stored with; unknown ones are ignored."""
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


def recalibrate_model(claim: RunClaim, progress: RunProgress) -> None:
    """Work on the run.  Raises NotEnough, and what reading the weights raises."""
    row = TrainingRun.objects.get(id=claim.id)
    options = RecalibrateOptions.from_dict(row.options)
    model = ModelVersion.objects.filter(id=options.recalibrate).first()
    if model is None:
        raise NotEnough("The model that was to be recalibrated is gone.")
    training_runs.note_snapshot(claim=claim, snapshot=None, parent=model)
    progress.span(5, 60)
    videos, sample = local_audit.judged(model, alive=partial(progress.update, "reading the random audit"))
    progress.say(coverage(sample))
    progress.span(60, 90)
    progress.update("fitting", 0.0)
    result = recalibrate(
        videos,
        threshold=model.threshold,
        fake_recall=options.fake_recall,
        false_alarms=options.false_alarms,
        look=1 + earlier(model, but=row),
    )
    progress.span(90, 97)
    progress.update("storing", 0.0)
    candidate, info = _register(model, result, options, sample, claim)
    gate = GateRecord.from_json(result.gate.to_dict() | {"champion": str(model.id), "recalibrates": str(model.id)})
    assert gate is not None
    noted = orphan_files.watch_folder(below=f"reports/{row.id}")
    with StoredFiles(lambda: remove_tree(noted.path)) as files:
        report = _report(noted.path, row, model, candidate, info, result, sample, gate)
        with files.transaction():
            training_runs.finish(
                claim=claim,
                state=RunState.SUCCEEDED,
                message=gate.sentence,
                candidate=candidate,
                metrics=info.metrics,
                gate=gate.to_json(),
                report=report,
            )
            orphan_files.claim(noted)


def earlier(model: ModelVersion, *, but: TrainingRun) -> int:
    """Return how many recalibrations of these weights were compared before."""
    runs = TrainingRun.objects.filter(parent=model, options__recalibrate=str(model.id)).exclude(gate={})
    return runs.exclude(id=but.id).count()


def coverage(sample: AuditSample) -> str:
    """Say how much of the random audit there is to go by."""
    return (
        f"The random audit: {len(sample.videos)} videos of this model are settled as real or fake; it was read up to"
        f" the rank to which {sample.settled} of {sample.drawn} drawn videos are settled."
    )


def _register(
    model: ModelVersion,
    result: Recalibration,
    options: RecalibrateOptions,
    sample: AuditSample,
    claim: RunClaim,
) -> tuple[ModelVersion, WeightsInfo]:
    source = registry.local_weights(model=model)
    old = read_info(source)
    now = timezone.localtime()
    info = replace(
        old,
        name=options.name or f"{model.name[:70]}, recalibrated {now:%Y-%m-%d %H:%M}",
        temperature=old.temperature / result.fit.scale,
        shift=old.shift * result.fit.scale + result.fit.shift,
        threshold=result.threshold,
        metrics=_metrics(model, result, sample),
        created_at=now.isoformat(timespec="seconds"),
    )
    with tempfile.TemporaryDirectory(dir=settings.VAR_DIR, prefix="recalibrate-") as folder:
        path = Path(folder) / f"weights{source.suffix}"
        sha256 = save_with_info(source, info, path)
        version = register_file(
            path,
            sha256=sha256,
            config=model.config,
            kind=model.kind,
            source=model.source,
            parent=model,
            activate=False,
            fence=partial(training_runs.hold, claim=claim),
        )
    return version, info


def _metrics(model: ModelVersion, result: Recalibration, sample: AuditSample) -> dict[str, Any]:
    """What the weights say of themselves: figures on the random audit, each video by a fit on other people's."""
    return {
        "summary": {name: result.after[name] for name in (*SUMMARY, "majority_accuracy")},
        "videos": result.after,
        "before": result.before,
        "recalibration": {
            "of": model.sha256,
            "on": "the random audit",
            "scale": result.fit.scale,
            "shift": result.fit.shift,
            "drawn": sample.drawn,
            "settled": sample.settled,
        },
        "score_bins": score_bins(result.videos),
        "assessment": result.borders.to_metrics(),
    }


def _report(
    folder: str,
    row: TrainingRun,
    model: ModelVersion,
    candidate: ModelVersion,
    info: WeightsInfo,
    result: Recalibration,
    sample: AuditSample,
    gate: GateRecord,
) -> str:
    facts = {
        "Gate": gate.sentence,
        "Candidate": str(candidate),
        "Recalibrates": str(model),
        "Random audit": coverage(sample),
        "Log-odds": f"{result.fit.scale:.4f} times those of before, plus {result.fit.shift:+.4f}",
        "Threshold": f"{info.threshold:.4f} (before: {model.threshold:.4f})",
        "Temperature": f"{info.temperature:.4f} (before: {model.temperature:.4f})",
        "Shift": f"{info.shift:+.4f} (before: {model.shift:+.4f})",
        "Likely real below": f"{result.borders.likely_real_below:.4f}",
        "Likely fake from": f"{result.borders.likely_fake_from:.4f}",
    }
    title = f"Recalibration of {row.created_at:%Y-%m-%d %H:%M}"
    report = build_report(result.videos, threshold=info.threshold, title=title, facts=facts)
    report["before"] = {"summary": result.before, "curves": result.curves_before}
    report["gate"] = gate.to_json()
    report["calibration"] = asdict(result.fit)
    return store_report(folder, report)
