"""How good a model is on this installation's random audit, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from detection import localized
from detection.models import LocalFigures, ModelVersion


@dataclass(frozen=True)
class Here:
    """What there is to say; `figures` as in `LocalFigures`, empty where nothing was measured."""

    sentence: str
    enough: bool
    figures: Mapping[str, Any]
    measured_at: datetime | None


def here(*, model: ModelVersion) -> Here:
    """Say how good the model is on the random audit, or that there are not enough labels yet."""
    row = LocalFigures.objects.filter(model_version=model, measured_at__isnull=False).first()
    if row is None or not isinstance(row.figures, Mapping) or not row.figures:
        sentence = _(
            "How good it is here is not known yet. A worker of the queue “train” measures it within an hour, once"
            " labels of the random audit are settled."
        )
        return Here(sentence, False, {}, None)
    figures = row.figures
    n, fakes, reals = figures["n"], figures["n_fake"], figures["n_real"]
    if not figures["enough"]:
        sentence = ngettext(
            "Not enough labels yet to say how good it is here: %(reals)s real and %(fakes)s fake video of the random"
            " audit, of %(groups)s groups of people, are settled; it takes %(videos)s of %(needs_groups)s groups.",
            "Not enough labels yet to say how good it is here: %(reals)s real and %(fakes)s fake videos of the random"
            " audit, of %(groups)s groups of people, are settled; it takes %(videos)s of %(needs_groups)s groups.",
            n,
        ) % {
            "reals": reals,
            "fakes": fakes,
            "groups": figures["n_groups"],
            "videos": figures["needs_videos"],
            "needs_groups": figures["needs_groups"],
        }
        return Here(sentence, False, figures, row.measured_at)
    counts = {"n": n, "real": reals, "fake": fakes}
    sentence = _(
        "Here it is right about %(share)s of the videos, on %(n)s of the random audit (%(real)s real, %(fake)s fake)."
    ) % {"share": _share(figures["accuracy"]), **{name: localized.numeral(f"{n:,}") for name, n in counts.items()}}
    recall = figures["recall_fake"]
    if recall["value"] is None:
        sentence += " " + _("No fake is among them, so nothing is known of those that it misses.")
    else:
        sentence += " " + _("Of the fakes it finds %(share)s.") % {"share": _share(recall)}
    return Here(sentence, True, figures, row.measured_at)


def _share(metric: Mapping[str, float | None]) -> str:
    """Render a metric in percent with its interval."""
    value, low, high = (metric[part] for part in ("value", "low", "high"))
    assert value is not None
    percent = localized.numeral(f"{100 * value:.1f}")
    if low is None or high is None:
        return _("%(percent)s %% (too few people for an interval)") % {"percent": percent}
    return _("%(percent)s %% (95 %% interval %(low)s to %(high)s %%)") % {
        "percent": percent,
        "low": localized.numeral(f"{100 * low:.1f}"),
        "high": localized.numeral(f"{100 * high:.1f}"),
    }
