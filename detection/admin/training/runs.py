"""Training runs: progress and outcome of each, and the form that starts one."""

from __future__ import annotations

import uuid
from pathlib import PurePosixPath
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.files.storage import default_storage
from django.db.models import QuerySet
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    JsonResponse,
)
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from detection.admin.base import NOTHING, ReadOnlyAdmin, moment
from detection.admin.filters import DateRangeFilter
from detection.admin.metrics import headline
from detection.admin.training.run_page import gate_context, live_context, live_state, mode, run_context
from detection.errors import Refused
from detection.models import TrainingRun
from detection.said import said
from detection.services.jobs.training_runs import request_run

# The report brings its styles and pictures with it, and may do nothing else, whatever the videos in it are called.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class RunForm(forms.Form):
    """The options a user may choose; `manage.py retrain` has more."""

    mode = forms.ChoiceField(
        label=gettext_lazy("What learns"),
        choices=(
            ("frozen", gettext_lazy("The heads only: minutes, also without a GPU")),
            ("full", gettext_lazy("Everything: needs a GPU")),
        ),
        initial="frozen",
        widget=UnfoldAdminRadioSelectWidget(radio_style=1),
    )
    name = forms.CharField(
        label=gettext_lazy("Name of the candidate"),
        max_length=100,
        required=False,
        help_text=gettext_lazy("Empty: named by the time of the run."),
        widget=UnfoldAdminTextInputWidget,
    )
    seed = forms.IntegerField(
        label=gettext_lazy("Seed"),
        min_value=0,
        max_value=2**31 - 1,
        initial=0,
        help_text=gettext_lazy("The same seed and the same labels train the same model."),
        widget=UnfoldAdminIntegerFieldWidget,
    )
    fake_recall = forms.FloatField(
        label=gettext_lazy("Share of fakes to catch"),
        min_value=0.01,
        max_value=1.0,
        initial=0.8,
        help_text=gettext_lazy("The threshold is set on validation so that this share of the fakes is found."),
        widget=UnfoldAdminIntegerFieldWidget(attrs={"step": "0.01"}),
    )
    promote = forms.BooleanField(
        label=gettext_lazy("Promote it if it wins"),
        initial=True,
        required=False,
        help_text=gettext_lazy("Only a candidate that beats the active model on the frozen holdout becomes active."),
        widget=UnfoldBooleanSwitchWidget,
    )

    def options(self) -> dict[str, Any]:
        """Return the choices as a run's options."""
        chosen = self.cleaned_data
        return {
            "name": chosen["name"],
            "full": chosen["mode"] == "full",
            "seed": chosen["seed"],
            "fake_recall": chosen["fake_recall"],
            "promote": chosen["promote"],
        }


@require_http_methods(["GET", "HEAD", "POST"])
def start_view(request: HttpRequest) -> HttpResponse:
    """Serve the form of a new run; queue a valid one and redirect to its page."""
    if not request.user.has_perm("detection.add_trainingrun"):
        raise PermissionDenied
    may_promote = request.user.has_perm("detection.add_promotion")
    form = RunForm(request.POST or None)
    if not may_promote:
        # Who may not promote must not do it by way of a run either.
        form.fields["promote"].disabled = True
        form.fields["promote"].initial = False
        form.fields["promote"].help_text = _("Your account may not promote; somebody who may decides afterwards.")
    if request.method == "POST" and form.is_valid():
        try:
            run = request_run(options=form.options(), by=request.user)
        except Refused as refusal:
            form.add_error(None, said(refusal.detail))
        else:
            admin.site.get_model_admin(TrainingRun).log_addition(request, run, "Retraining started.")
            messages.success(request, _("The retraining is queued. This page follows it."))
            return HttpResponseRedirect(reverse("admin:detection_trainingrun_change", args=(run.pk,)))
    context = {
        **admin.site.each_context(request),
        "title": _("Start a retraining"),
        "opts": TrainingRun._meta,
        "form": form,
        "back": reverse("admin:detection_trainingrun_changelist"),
    }
    return TemplateResponse(request, "admin/detection/trainingrun/start.html", context)


@require_safe
def live_view(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Return the state of a run as JSON, for the page that polls it."""
    _must_see(request)
    run = get_object_or_404(TrainingRun.objects.defer("metrics", "gate", "last_error"), pk=run_id)
    response = JsonResponse(live_state(run, with_charts="charts" in request.GET))
    response["Cache-Control"] = "no-store"
    return response


@require_safe
def report_view(request: HttpRequest, run_id: uuid.UUID, kind: str) -> HttpResponseBase:
    """Serve the stored report as HTML, or its metrics as a JSON download."""
    _must_see(request)
    run = get_object_or_404(TrainingRun.objects.only("report"), pk=run_id)
    name = str(run.report.name or "")
    if kind == "json" and name:
        name = str(PurePosixPath(name).with_name("report.json"))
    try:
        file = default_storage.open(name) if name else None
    except OSError:
        file = None
    if file is None:
        raise Http404(_("There is no such report."))
    response = FileResponse(
        file,
        content_type="application/json" if kind == "json" else "text/html; charset=utf-8",
        as_attachment=kind == "json",
        filename=f"report-{str(run_id)[:8]}.{kind}",
    )
    response["Content-Security-Policy"] = REPORT_POLICY
    response["X-Content-Type-Options"] = "nosniff"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    response["Cache-Control"] = "private, no-cache"
    return response


def _must_see(request: HttpRequest) -> None:
    if not request.user.has_perm("detection.view_trainingrun"):
        raise PermissionDenied


@admin.register(TrainingRun)
class TrainingRunAdmin(ReadOnlyAdmin):
    """The list of training runs and the page of one."""

    list_display = ("when", "progress_cell", "asked_by", "mode_text", "auc", "gate_cell", "report_link")
    list_display_links = None
    list_filter = (("state", ChoicesDropdownFilter), ("created_at", DateRangeFilter))
    list_select_related = ("requested_by", "candidate")
    list_before_template = "admin/detection/includes/training_head.html"
    ordering = ("-created_at", "-id")
    sortable_by = ("when",)
    actions = ()
    empty_title = gettext_lazy("Nothing has been trained here yet")
    empty_text = gettext_lazy(
        "Label videos in the admin or import a data set (manage.py import_dataset), then start a retraining here or"
        " with manage.py retrain."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrainingRun]:
        """Return the runs without their large columns."""
        rows: QuerySet[TrainingRun] = super().get_queryset(request)
        return rows.defer("history", "last_error", "candidate__metrics", "candidate__trained_on", "candidate__config")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Tell the template whether the user may start a run."""
        may_start = request.user.has_perm("detection.add_trainingrun")
        response: HttpResponse = super().changelist_view(request, {"may_start": may_start, **(extra_context or {})})
        return response

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of the form, the live state and the reports."""
        wrap = self.admin_site.admin_view
        return [
            path("start/", wrap(start_view), name="detection_trainingrun_start"),
            path("<uuid:run_id>/live/", wrap(live_view), name="detection_trainingrun_live"),
            path("<uuid:run_id>/report/", wrap(report_view), {"kind": "html"}, name="detection_trainingrun_report"),
            path("<uuid:run_id>/report.json", wrap(report_view), {"kind": "json"}, name="detection_trainingrun_json"),
            *super().get_urls(),
        ]

    # --- the list ---
    @display(description=gettext_lazy("When"), ordering="created_at")
    def when(self, run: TrainingRun) -> SafeString:
        """Show when it was requested, as a link."""
        url = reverse("admin:detection_trainingrun_change", args=(run.pk,))
        return format_html('<a class="dfd-link dfd-strong" href="{}">{}</a>', url, moment(run.created_at))

    @display(description=gettext_lazy("State"))
    def progress_cell(self, run: TrainingRun) -> SafeString:
        """Show state and progress, updated while the run is open."""
        return render_to_string("admin/detection/includes/run_live.html", live_context(run))

    @display(description=gettext_lazy("Asked for by"))
    def asked_by(self, run: TrainingRun) -> str:
        """Show who requested it."""
        return str(run.requested_by or _("the terminal"))

    @display(description=gettext_lazy("Mode"))
    def mode_text(self, run: TrainingRun) -> str:
        """Show what it trains."""
        return mode(run)

    @display(description=gettext_lazy("Held-out AUC"))
    def auc(self, run: TrainingRun) -> SafeString | str:
        """Show the held-out AUC with its interval."""
        value, __, interval = (headline(run.metrics) or NOTHING).partition(" ")
        return format_html(
            '<span class="dfd-stack" title="{}"><strong>{}</strong>'
            '<span class="dfd-subtle dfd-nowrap">{}</span></span>',
            _("95 % interval"),
            value,
            interval,
        )

    @display(description=gettext_lazy("Outcome"))
    def gate_cell(self, run: TrainingRun) -> SafeString:
        """Show the gate's outcome."""
        gate = gate_context(run.gate)
        return render_to_string("admin/detection/includes/gate_cell.html", {"run": run, "gate": gate})

    @display(description=gettext_lazy("Report"))
    def report_link(self, run: TrainingRun) -> SafeString | str:
        """Link to the report."""
        if not run.report:
            return NOTHING
        url = reverse("admin:detection_trainingrun_report", args=(run.pk,))
        return format_html('<a class="dfd-link" href="{}" target="_blank" rel="noopener">{}</a>', url, _("Open"))

    # --- one run ---
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Serve the page of a run."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        run = self.get_object(request, object_id)
        if run is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        context = {
            **self.admin_site.each_context(request),
            **run_context(request, run),
            "title": _("Training of %(when)s") % {"when": moment_text(run)},
            "opts": self.opts,
            "original": run,
            "back": reverse("admin:detection_trainingrun_changelist"),
            "may_promote": request.user.has_perm("detection.add_promotion"),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/detection/trainingrun/detail.html", context)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> TrainingRun | None:
        """Return the run with everything its page shows, or None."""
        try:
            wanted = uuid.UUID(object_id)
        except ValueError:
            return None
        rows = TrainingRun.objects.select_related("requested_by", "snapshot", "parent", "candidate")
        return rows.filter(pk=wanted).first()


def moment_text(run: TrainingRun) -> str:
    """Render when a run was requested."""
    return f"{run.created_at:%Y-%m-%d %H:%M}"
