"""Change the active model: through the gate, by force with a reason, or back to the previous one.

Each page shows what the decision rests on and asks once more; `detection.services.learning.registry` decides.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from detection.admin.training.run_page import gate_context, promotion_check
from detection.errors import Refused
from detection.models import ModelVersion
from detection.said import said
from detection.selectors.videos import active_model, model_before, newest_judged_run
from detection.services.learning.gate_record import GateRecord
from detection.services.learning.registry import promote, rollback
from detection.services.validation import is_storable

PERMISSION = "detection.add_promotion"
MAX_REASON = 500


def can_promote(request: HttpRequest) -> bool:
    """Return whether the user may promote."""
    return request.user.has_perm(PERMISSION)


@require_http_methods(["GET", "HEAD", "POST"])
def promote_view(request: HttpRequest, model_id: uuid.UUID) -> HttpResponse:
    """Promote a version to active, if the gate allows it or by force."""
    if not can_promote(request):
        raise PermissionDenied
    model = get_object_or_404(ModelVersion, pk=model_id)
    run, active = newest_judged_run(model=model), active_model()
    allowed, sentence = promotion_check(model, active, run)
    error, reason = "", request.POST.get("reason", "").strip()
    if request.method == "POST":
        force = request.POST.get("force") == "1"
        try:
            _check_reason(reason)
            if not force and not allowed:
                raise Refused("gate_refused", sentence, status=409)
            promote(
                model=model,
                gate=GateRecord.from_json(run.gate) if run else None,
                by=request.user,
                force=force,
                reason=reason,
            )
        except Refused as refusal:
            error = said(refusal.detail)
        else:
            _log(request, model, f"Promoted by force: {reason}" if force else "Promoted: it passed the gate.")
            messages.success(
                request, format_html(_("{} is active. New analyses use it."), format_html("<strong>{}</strong>", model))
            )
            return HttpResponseRedirect(reverse("admin:detection_modelversion_change", args=(model.pk,)))
    context = {
        "title": _("Promote %(model)s") % {"model": model},
        "model": model,
        "active": active,
        "run": run,
        "gate": gate_context(run.gate) if run else None,
        "allowed": allowed,
        "sentence": sentence,
        "error": error,
        "reason": reason,
        "back": reverse("admin:detection_modelversion_change", args=(model.pk,)),
    }
    return _page(request, "promote", context, status=409 if error else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def rollback_view(request: HttpRequest) -> HttpResponse:
    """Return to the model that was active before the present one."""
    if not can_promote(request):
        raise PermissionDenied
    error, reason = "", request.POST.get("reason", "").strip()
    back = reverse("admin:detection_modelversion_changelist")
    if request.method == "POST":
        try:
            _check_reason(reason)
            model = rollback(by=request.user, reason=reason)
        except Refused as refusal:
            error = said(refusal.detail)
        else:
            _log(request, model, f"Rolled back to this model: {reason}" if reason else "Rolled back to this model.")
            messages.success(request, format_html(_("{} is active again."), format_html("<strong>{}</strong>", model)))
            return HttpResponseRedirect(back)
    context = {
        "title": _("Roll back"),
        "active": active_model(),
        "before": model_before(),
        "error": error,
        "reason": reason,
        "back": back,
    }
    return _page(request, "rollback", context, status=409 if error else 200)


def _check_reason(reason: str) -> None:
    if len(reason) > MAX_REASON or not is_storable(reason):
        raise Refused("invalid_reason", _("A reason has at most %(n)s characters and no NUL.") % {"n": MAX_REASON})


def _log(request: HttpRequest, model: ModelVersion, message: str) -> None:
    admin.site.get_model_admin(ModelVersion).log_change(request, model, message)


def _page(request: HttpRequest, name: str, context: dict[str, Any], *, status: int) -> HttpResponse:
    whole = {**admin.site.each_context(request), "opts": ModelVersion._meta, "max_reason": MAX_REASON, **context}
    return TemplateResponse(request, f"admin/detection/modelversion/{name}.html", whole, status=status)
