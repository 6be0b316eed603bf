"""Queue a recalibration of a model version; a worker of the queue `train` fits it."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget

from detection.errors import Refused
from detection.models import ModelVersion, TrainingRun
from detection.said import said
from detection.selectors.local_figures import here
from detection.services.jobs.training_runs import request_run

PERMISSION = "detection.add_trainingrun"


class RecalibrationForm(forms.Form):
    """What may be chosen; `manage.py recalibrate` has the same."""

    name = forms.CharField(
        label=gettext_lazy("Name of the new version"),
        max_length=100,
        required=False,
        help_text=gettext_lazy("Empty: the model's own name, and when it was recalibrated."),
        widget=UnfoldAdminTextInputWidget,
    )
    false_alarms = forms.FloatField(
        label=gettext_lazy("Reals that may be called fake"),
        min_value=0.001,
        max_value=1.0,
        required=False,
        help_text=gettext_lazy(
            "If given, the threshold is the lowest that calls at most this share of the audit's real videos"
            " fake. Empty: the same videos are called fake as before."
        ),
        widget=UnfoldAdminIntegerFieldWidget(attrs={"step": "any"}),
    )
    fake_recall = forms.FloatField(
        label=gettext_lazy("Or: share of fakes to catch"),
        min_value=0.01,
        max_value=1.0,
        required=False,
        help_text=gettext_lazy("If given, the threshold is the highest that catches this share of the audit's fakes."),
        widget=UnfoldAdminIntegerFieldWidget(attrs={"step": "any"}),
    )

    def options(self, model: ModelVersion) -> dict[str, Any]:
        """Return the choices as a run's options."""
        return {"recalibrate": str(model.pk), **self.cleaned_data}


def can_recalibrate(request: HttpRequest) -> bool:
    """Return whether the user may queue one: who may start a training."""
    return request.user.has_perm(PERMISSION)


@require_http_methods(["GET", "HEAD", "POST"])
def recalibrate_view(request: HttpRequest, model_id: uuid.UUID) -> HttpResponse:
    """Serve the form; queue a valid one and redirect to the run's page."""
    if not can_recalibrate(request):
        raise PermissionDenied
    model = get_object_or_404(ModelVersion, pk=model_id)
    form = RecalibrationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            run = request_run(options=form.options(model), by=request.user)
        except Refused as refusal:
            form.add_error(None, said(refusal.detail))
        else:
            admin.site.get_model_admin(TrainingRun).log_addition(request, run, "Recalibration started.")
            messages.success(request, _("The recalibration is queued. This page follows it."))
            return HttpResponseRedirect(reverse("admin:detection_trainingrun_change", args=(run.pk,)))
    context = {
        **admin.site.each_context(request),
        "title": _("Recalibrate %(model)s") % {"model": model},
        "opts": ModelVersion._meta,
        "model": model,
        "here": here(model=model),
        "form": form,
        "back": reverse("admin:detection_modelversion_change", args=(model.pk,)),
    }
    return TemplateResponse(request, "admin/detection/modelversion/recalibrate.html", context)
