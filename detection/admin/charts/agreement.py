"""Charts of reviewer agreement and of the active model's metrics, with their intervals."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from detection.admin.charts.overview import Estimate, IntervalChart, interval_chart
from detection.admin.metrics import HEADLINE_SECTIONS, is_interval
from detection.localized import numeral
from detection.selectors.reviewer_agreement import FEW_PAIRS, Agreement, Kappa, Share

MODEL_FIGURES = (
    ("auc", "AUC"),
    ("accuracy", gettext_lazy("Accuracy")),
    ("recall_fake", gettext_lazy("Fakes found")),
    ("recall_real", gettext_lazy("Reals kept")),
)


def kappa_row(name: str, kappa: Kappa) -> Estimate:
    """Return a row of an interval chart for Cohen's kappa."""
    note = ngettext("%(n)s pair", "%(n)s pairs", kappa.pairs) % {"n": kappa.pairs}
    if kappa.few and kappa.pairs:
        note = _("%(pairs)s, too few") % {"pairs": note}
    return Estimate(name, note, kappa.value, kappa.low, kappa.high)


def share_row(name: str, share: Share, of: str) -> Estimate:
    """Return a row of an interval chart for a share; `of` names what is counted."""
    low, high = share.interval
    text = "-" if share.value is None else numeral(f"{share.value:.0%}")
    return Estimate(
        name, _("%(hits)s of %(n)s") % {"hits": share.hits, "n": share.n} + f" {of}", share.value, low, high, text
    )


def agreement_chart(found: Agreement, days: int) -> IntervalChart:
    """Chart all reviewers together: kappa, known answers, the model on the random audit, overturned answers."""
    everybody = found.overall
    return interval_chart(
        _("Do people agree?"),
        _(
            "Blind answers of the last %(days)s days, with 95 %% intervals. Kappa counts agreement beyond chance;"
            " with fewer than %(pairs)s pairs it says little."
        )
        % {"days": days, "pairs": FEW_PAIRS},
        [
            kappa_row(_("Two readers (kappa)"), everybody.kappa),
            share_row(_("Known answers right"), everybody.on_gold, _("checks")),
            share_row(_("Audit: model right"), found.audit, _("drawn")),
            share_row(_("Overturned"), everybody.overturn, _("settled")),
        ],
        low=0.0,
        high=1.0,
        marks=((0.0, "0"), (0.5, numeral("0.5")), (1.0, "1")),
    )


def model_chart(metrics: Any) -> IntervalChart:
    """Chart the active model's metrics on its held-out videos."""
    sections = _headline_sections(metrics)
    section = sections[0] if sections else {}
    figures = []
    for key, name in MODEL_FIGURES:
        entry: Any = section.get(key)
        value, low, high = (entry[part] if is_interval(entry) else None for part in ("value", "low", "high"))
        figures.append(Estimate(str(name), "", value, low, high))
    n = next((each["n"] for each in sections if isinstance(each.get("n"), int)), None)
    sentence = _("Nobody has said on how many videos.") if section else _("It came without figures.")
    if n:
        sentence = _("On %(n)s held-out videos of people it had not seen.") % {"n": numeral(f"{n:,}")}
    return interval_chart(
        _("The active model, when it was tried"),
        sentence,
        figures,
        low=0.0,
        high=1.0,
        marks=((0.0, "0"), (0.5, numeral("0.5")), (1.0, "1")),
    )


def _headline_sections(metrics: Any) -> list[dict[str, Any]]:
    """Return the sections with metrics of the whole model, the best known first."""
    if not isinstance(metrics, dict):
        return []
    found = (metrics, *(metrics.get(title) for title in HEADLINE_SECTIONS))
    return [section for section in found if isinstance(section, dict) and "auc" in section]
