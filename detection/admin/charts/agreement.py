"""Charts of reviewer agreement and of the active model's metrics, with their intervals."""

from __future__ import annotations

from typing import Any

from detection.admin.charts.overview import Estimate, IntervalChart, interval_chart
from detection.admin.metrics import HEADLINE_SECTIONS, is_interval
from detection.selectors.reviewer_agreement import FEW_PAIRS, Agreement, Kappa, Share

MODEL_FIGURES = (
    ("auc", "AUC"),
    ("accuracy", "Accuracy"),
    ("recall_fake", "Fakes found"),
    ("recall_real", "Reals kept"),
)


def kappa_row(name: str, kappa: Kappa) -> Estimate:
    """Return a row of an interval chart for Cohen's kappa."""
    note = f"{kappa.pairs} pairs{', too few' if kappa.few and kappa.pairs else ''}"
    return Estimate(name, note, kappa.value, kappa.low, kappa.high)


def share_row(name: str, share: Share, of: str) -> Estimate:
    """Return a row of an interval chart for a share; `of` names what is counted."""
    low, high = share.interval
    text = "-" if share.value is None else f"{share.value:.0%}"
    return Estimate(name, f"{share.hits} of {share.n} {of}", share.value, low, high, text)


def agreement_chart(found: Agreement, days: int) -> IntervalChart:
    """Chart all reviewers together: kappa, known answers, the model on the random audit, overturned answers."""
    everybody = found.overall
    return interval_chart(
        "Do people agree?",
        f"Blind answers of the last {days} days, with 95 % intervals. Kappa counts agreement beyond chance;"
        f" with fewer than {FEW_PAIRS} pairs it says little.",
        [
            kappa_row("Two readers (kappa)", everybody.kappa),
            share_row("Known answers right", everybody.on_gold, "checks"),
            share_row("Audit: model right", found.audit, "drawn"),
            share_row("Overturned", everybody.overturn, "settled"),
        ],
        low=0.0,
        high=1.0,
        marks=((0.0, "0"), (0.5, "0.5"), (1.0, "1")),
    )


def model_chart(metrics: Any) -> IntervalChart:
    """Chart the active model's metrics on its held-out videos."""
    sections = _headline_sections(metrics)
    section = sections[0] if sections else {}
    figures = []
    for key, name in MODEL_FIGURES:
        entry: Any = section.get(key)
        value, low, high = (entry[part] if is_interval(entry) else None for part in ("value", "low", "high"))
        figures.append(Estimate(name, "", value, low, high))
    n = next((each["n"] for each in sections if isinstance(each.get("n"), int)), None)
    sentence = "Nobody has said on how many videos." if section else "It came without figures."
    if n:
        sentence = f"On {n:,} held-out videos of people it had not seen."
    return interval_chart(
        "The active model, when it was tried",
        sentence,
        figures,
        low=0.0,
        high=1.0,
        marks=((0.0, "0"), (0.5, "0.5"), (1.0, "1")),
    )


def _headline_sections(metrics: Any) -> list[dict[str, Any]]:
    """Return the sections with metrics of the whole model, the best known first."""
    if not isinstance(metrics, dict):
        return []
    found = (metrics, *(metrics.get(title) for title in HEADLINE_SECTIONS))
    return [section for section in found if isinstance(section, dict) and "auc" in section]
