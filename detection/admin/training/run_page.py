"""Contexts of a training run's page and of its live updates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from detection.admin.charts.training_history import charts
from detection.admin.metrics import headline, sections
from detection.localized import numeral, within
from detection.models import ModelVersion, PersonLabel, RunState, Snapshot, Split, TrainingRun
from detection.said import said
from detection.services.jobs.training_runs import OPEN_RUNS
from detection.services.learning.gate_record import NOT_JUDGED, SHUFFLED, GateRecord

RUN_TONES = {"queued": "grey", "running": "blue", "succeeded": "green", "refused": "amber", "failed": "red"}
GATE_NAMES = {
    "auc": "AUC",
    "balanced_accuracy": gettext_lazy("Balanced accuracy"),
    "accuracy": gettext_lazy("Accuracy"),
    "recall_fake": gettext_lazy("Fake recall"),
    "brier": gettext_lazy("Brier score (lower is better)"),
}
OPTION_NAMES = {
    "name": gettext_lazy("Name of the candidate"),
    "full": gettext_lazy("Backbone learns too"),
    "seed": gettext_lazy("Seed"),
    "epochs": gettext_lazy("Epochs of the heads, at most"),
    "crops": gettext_lazy("Faces to train on (full)"),
    "batch_size": gettext_lazy("Batch size"),
    "lr": gettext_lazy("Learning rate (full)"),
    "input_size": gettext_lazy("Side of the picture (new start)"),
    "start": gettext_lazy("Start"),
    "backbone": gettext_lazy("Backbone (new start)"),
    "imagenet": gettext_lazy("ImageNet weights"),
    "fake_recall": gettext_lazy("Fakes to catch"),
    "shuffle_labels": gettext_lazy("Labels shuffled (check for leaks)"),
    "promote": gettext_lazy("Promoted if it wins"),
    "workers": gettext_lazy("Loading processes"),
    "foreground": gettext_lazy("In a terminal"),
    "recalibrate": gettext_lazy("Recalibrates the version"),
    "false_alarms": gettext_lazy("Reals that may be called fake"),
}


def mode(run: TrainingRun) -> str:
    """Return "Full", "Frozen" or "Recalibration", and whether labels were shuffled."""
    options = _dict(run.options)
    if "recalibrate" in options:
        return _("Recalibration")
    name = _("Full") if options.get("full") else _("Frozen")
    return _("%(mode)s, labels shuffled") % {"mode": name} if options.get("shuffle_labels") else name


def sees_errors(request: HttpRequest) -> bool:
    """Return whether the user sees the last error: who may start a run."""
    return request.user.has_perm("detection.add_trainingrun")


def live_state(run: TrainingRun, *, with_charts: bool = False) -> dict[str, Any]:
    """Return what the page polls every two seconds while the run is open."""
    history = run.history if isinstance(run.history, list) else []
    answer = {
        "id": str(run.pk),
        "open": run.state in OPEN_RUNS,
        "state": run.state,
        "state_text": run.get_state_display(),
        "phase": phase(run),
        "progress": run.progress,
        "epochs": len(history),
    }
    if with_charts:
        answer["charts"] = render_to_string("admin/detection/includes/charts.html", {"charts": charts(history)})
    return answer


def phase(run: TrainingRun) -> str:
    """Return what the run is doing, in words."""
    if run.state == RunState.QUEUED:
        return _("Waits for a worker") if not run.attempts else _("Waits for a worker, to go on where it stopped")
    return said(run.phase) or (_("Begins") if run.state == RunState.RUNNING else "")


def live_context(run: TrainingRun) -> dict[str, Any]:
    """Return the context of includes/run_live.html."""
    return {
        "run": run,
        "is_open": run.state in OPEN_RUNS,
        "phase": phase(run),
        "tone": RUN_TONES.get(run.state, "grey"),
    }


def run_context(request: HttpRequest, run: TrainingRun) -> dict[str, Any]:
    """Return everything the page of a run shows; makes no further query."""
    options = _dict(run.options)
    seconds = (run.finished_at - run.started_at).total_seconds() if run.finished_at and run.started_at else None
    return {
        **live_context(run),
        "mode": mode(run),
        "full": options.get("full") is True,
        "recalibrates": "recalibrate" in options,
        "took": duration(seconds) if seconds is not None else None,
        "auc": headline(run.metrics),
        "options": [(str(OPTION_NAMES.get(key, key)), option_text(value)) for key, value in options.items()],
        "charts": charts(run.history),
        "epochs": len(run.history) if isinstance(run.history, list) else 0,
        "snapshot_tables": snapshot_tables(run.snapshot),
        "metric_sections": sections(run.metrics),
        "gate": gate_context(run.gate),
        "last_error": run.last_error if sees_errors(request) else "",
    }


def duration(seconds: float) -> str:
    """Render seconds as "90 s", "12 min" or "2 h 05 min"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"


def option_text(value: Any) -> str:
    """Render an option's value."""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return str(value)[:200] if value not in ("", None) else "–"  # noqa: RUF001


def snapshot_tables(snapshot: Snapshot | None) -> dict[str, Any] | None:
    """Return counts by split, data set and reviewer, and what was left out; entries that are no counts are dropped."""
    if snapshot is None:
        return None
    summary = _dict(snapshot.summary)
    splits, sets = _dict(summary.get("sides")), _dict(summary.get("datasets"))
    return {
        "snapshot": snapshot,
        "splits": [(_(title), *_counts(splits.get(name))) for name, title in Split.choices],
        "datasets": [(str(name), *_counts(counts)) for name, counts in sorted(sets.items())],
        "reviewers": _pairs(summary.get("reviewers")),
        "left_out": [(said(name), count) for name, count in _pairs(summary.get("left_out"))],
        "by_review": _count(summary.get("by_review")),
        "by_dataset": _count(summary.get("by_dataset")),
        "by_person": [(_person(name), count) for name, count in _pairs(summary.get("by_person"))],
        "components": _count(summary.get("components")),
    }


def gate_context(gate: Any) -> dict[str, Any] | None:
    """Return the gate's outcome with its metrics as rows of text, or None where there was none."""
    record = GateRecord.from_json(gate)
    if record is None:
        return None
    gate, rows = record.facts, []
    for name, values in _dict(gate.get("figures")).items():
        values = _dict(values)
        rows.append(
            {
                "name": str(GATE_NAMES.get(name, name)),
                "champion": number(values.get("champion")),
                "challenger": number(values.get("challenger")),
                "own": span(values.get("challenger_low"), values.get("challenger_high")),
                "difference": number(values.get("difference"), sign=True),
                "interval": span(values.get("low"), values.get("high"), sign=True),
            }
        )
    facts = [
        (_("Held-out videos"), gate.get("n_videos")),
        (_("Real"), gate.get("n_real")),
        (_("Fake"), gate.get("n_fake")),
        (_("Groups of people"), gate.get("n_components")),
        (_("Look at this holdout"), gate.get("look")),
        (_("Left out, seen in training"), gate.get("excluded_seen_in_training")),
        (_("Left out, the file is gone"), gate.get("excluded_without_file")),
    ]
    return {
        "passed": record.passed,
        "sentence": said(record.sentence),
        "rows": rows,
        "facts": [(name, value) for name, value in facts if isinstance(value, int)],
    }


def promotion_check(model: ModelVersion, active: ModelVersion | None, run: TrainingRun | None) -> tuple[bool, str]:
    """Return whether the gate allows this promotion now, and why (not); `run` is the model's newest judged run."""
    gate = GateRecord.from_json(run.gate) if run else None
    if model.active:
        return False, _("It is the active model.")
    if run is None or gate is None:
        return False, said(NOT_JUDGED)
    if gate.passed and _dict(run.options).get("shuffle_labels"):
        return False, said(SHUFFLED)
    refusal = gate.refusal(active)
    return (False, said(refusal[1])) if refusal else (True, said(gate.sentence))


def number(value: Any, *, sign: bool = False) -> str:
    """Render a number with three digits, or a dash."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–"  # noqa: RUF001
    return numeral(f"{value:+.3f}" if sign else f"{value:.3f}")


def span(low: Any, high: Any, *, sign: bool = False) -> str:
    """Render an interval, or an empty string."""
    texts = number(low, sign=sign), number(high, sign=sign)
    return "" if "–" in texts else _("%(low)s to %(high)s") % {"low": texts[0], "high": texts[1]}  # noqa: RUF001


def _person(label: str) -> str:
    return within(_(PersonLabel(label).label)) if label in PersonLabel.values else label


def _dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _counts(value: Any) -> tuple[int, int]:
    return _count(_dict(value).get("real")), _count(_dict(value).get("fake"))


def _pairs(value: Any) -> list[tuple[str, int]]:
    return [(str(name), _count(count)) for name, count in sorted(_dict(value).items())]
