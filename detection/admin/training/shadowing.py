"""The page of a version in shadow: how it compares with the active model, and the buttons that turn it on and off.

It shows counts and figures only, never what the version said of a video: reviewers stay blind.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from detection.admin.charts.overview import Estimate, interval_chart
from detection.admin.charts.shadow import score_chart
from detection.admin.metrics import is_interval
from detection.errors import Refused
from detection.localized import numeral
from detection.models import ModelVersion
from detection.said import said
from detection.selectors.live_traffic import live_traffic, newest_trial
from detection.selectors.videos import active_model
from detection.services.learning import shadow

FIGURES = (
    ("auc", "AUC"),
    ("accuracy", gettext_lazy("Accuracy")),
    ("recall_fake", gettext_lazy("Fakes found")),
    ("recall_real", gettext_lazy("Reals kept")),
)


def sees_shadow(request: HttpRequest) -> bool:
    """Return whether the user may see how a version in shadow compares."""
    return request.user.has_perm("detection.view_shadowtrial")


def can_shadow(request: HttpRequest) -> bool:
    """Return whether the user may put a version into shadow, and end that."""
    return request.user.has_perm("detection.add_shadowtrial")


@require_http_methods(["GET", "HEAD", "POST"])
def shadow_view(request: HttpRequest, model_id: uuid.UUID) -> HttpResponse:
    """Serve the comparison; a POST with `to` "on", "off" or "forget" changes it."""
    if not sees_shadow(request) or (request.method == "POST" and not can_shadow(request)):
        raise PermissionDenied
    model = get_object_or_404(ModelVersion, pk=model_id)
    error = ""
    if request.method == "POST":
        try:
            sentence = _change(request, model, request.POST.get("to", ""))
        except Refused as refusal:
            error = said(refusal.detail)
        else:
            admin.site.get_model_admin(ModelVersion).log_change(request, model, sentence)
            messages.success(request, said(sentence))
            return HttpResponseRedirect(reverse("admin:detection_modelversion_shadow", args=(model.pk,)))
    trial, active = newest_trial(model=model), active_model()
    live = live_traffic(model=model, champion=active) if trial and active else None
    context = {
        **admin.site.each_context(request),
        "title": _("Shadow of %(model)s") % {"model": model},
        "opts": ModelVersion._meta,
        "model": model,
        "active": active,
        "trial": trial,
        "live": live,
        "score_chart": score_chart(live) if live and live.n else None,
        "audit": _audit(trial.figures, active) if trial else None,
        "measured_at": trial.measured_at if trial else None,
        "may_change": can_shadow(request),
        "error": error,
        "back": reverse("admin:detection_modelversion_change", args=(model.pk,)),
    }
    status = 409 if error else 200
    return TemplateResponse(request, "admin/detection/modelversion/shadow.html", context, status=status)


def _change(request: HttpRequest, model: ModelVersion, to: str) -> str:
    """Do what the button says; return what was done.  Raises Refused."""
    if to == "on":
        shadow.start(model=model, by=request.user)
        return "It is in shadow now: it scores what is analysed from now on."
    if to == "off":
        shadow.stop(model=model, by=request.user)
        return "It is not in shadow any more. What it said is kept."
    if to == "forget":
        return f"What it said was removed: {shadow.forget(model=model, by=request.user)} scores."
    raise Refused("invalid_choice", "Choose on, off or forget.")


def _audit(figures: Any, active: ModelVersion | None) -> dict[str, Any]:
    """Return the comparison on the random audit, or a sentence of why there is none."""
    known = figures if isinstance(figures, Mapping) else {}
    if not known or known.get("champion") != (str(active.pk) if active else None):
        return {"sentence": _("Not compared on the random audit yet: a worker does so about once an hour.")}
    if "candidate" not in known:
        return {
            "sentence": _(
                "Not enough labels yet: %(n)s of the videos that it scored are drawn for the random audit and settled;"
                " it takes %(videos)s of %(groups)s groups of people."
            )
            % {"n": known["n"], "videos": known["needs_videos"], "groups": known["needs_groups"]}
        }
    rows = [
        {
            "name": str(name),
            "active": _text(known["active"].get(key)),
            "candidate": _text(known["candidate"].get(key)),
            "difference": _text(known["difference"].get(key), sign=True),
        }
        for key, name in (*FIGURES, ("brier", _("Brier score (lower is better)")), ("ece", _("Calibration error")))
    ]
    bins = zip(known["reliability"]["active"], known["reliability"]["candidate"], strict=True)
    return {
        "sentence": _(
            "On %(n)s videos (%(real)s real, %(fake)s fake) of %(groups)s groups of people, each with the scores of"
            " both; 95 %% intervals."
        )
        % {
            "n": known["n"],
            "real": known["candidate"]["n_real"],
            "fake": known["candidate"]["n_fake"],
            "groups": known["candidate"]["n_groups"],
        },
        "rows": rows,
        "charts": [
            interval_chart(
                title,
                sentence,
                [_estimate(str(name), known[which].get(key)) for key, name in FIGURES],
                low=0.0,
                high=1.0,
                marks=((0.0, "0"), (0.5, numeral("0.5")), (1.0, "1")),
            )
            for which, title, sentence in (
                ("active", _("The active model"), _("On videos of the audit.")),
                ("candidate", _("The version in shadow"), _("On the same videos.")),
            )
        ],
        "bins": [_bin(old, new) for old, new in bins if old["n"] or new["n"]],
    }


def _bin(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    return {
        "range": _span(old["from"], old["to"], ".1f"),
        "active": _share(old),
        "candidate": _share(new),
    }


def _share(entry: Mapping[str, Any]) -> str:
    """Render the share of fakes among the videos with such a score."""
    if not entry["n"]:
        return _("no video")
    interval = "" if entry["low"] is None else f" ({_span(100 * entry['low'], 100 * entry['high'], '.0f')} %)"
    return _("%(share)s %% of %(n)s") % {"share": f"{100 * entry['share_fake']:.0f}", "n": entry["n"]} + interval


def _span(low: float, high: float, form: str) -> str:
    return _("%(low)s to %(high)s") % {"low": numeral(f"{low:{form}}"), "high": numeral(f"{high:{form}}")}


def _estimate(name: str, entry: Any) -> Estimate:
    value, low, high = (entry[part] if is_interval(entry) else None for part in ("value", "low", "high"))
    return Estimate(name, "", value, low, high, "-" if value is None else numeral(f"{value:.3f}"))


def _text(entry: Any, *, sign: bool = False) -> str:
    """Render a metric with its interval, or a dash."""
    if not is_interval(entry) or entry["value"] is None:
        return "–"  # noqa: RUF001
    form = "+.3f" if sign else ".3f"
    interval = "" if entry["low"] is None else f" ({_span(entry['low'], entry['high'], form)})"
    return numeral(f"{entry['value']:{form}}") + interval
