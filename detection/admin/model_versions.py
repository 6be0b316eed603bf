"""Model versions: what each one is worth by its own figures, and which one is active."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from unfold.decorators import display

from detection.admin.base import NOTHING, ReadOnlyAdmin, moment, safe_next
from detection.admin.metrics import flatten, headline, sections
from detection.errors import Refused
from detection.models import ModelVersion
from detection.services.registry import activate_model


@require_POST
def activate_view(request: HttpRequest, model_id: uuid.UUID) -> HttpResponse:
    """Make a version the one that new analyses use.  For superusers, until there is a gate to pass."""
    if not request.user.is_superuser:
        raise PermissionDenied
    model = get_object_or_404(ModelVersion, pk=model_id)
    try:
        activate_model(model=model)
    except Refused as refusal:
        messages.error(request, refusal.detail)
    else:
        admin.site.get_model_admin(ModelVersion).log_change(request, model, "Made active.")
        messages.success(request, format_html("<strong>{}</strong> is active. New analyses use it.", model))
    fallback = reverse("admin:detection_modelversion_changelist")
    return HttpResponseRedirect(safe_next(request, request.POST.get("next"), fallback=fallback))


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ("name_link", "standing", "auc", "fake_from", "created", "promoted", "activate_button")
    list_display_links = None
    list_before_template = "admin/detection/includes/row_form.html"
    ordering = ("-created_at", "-id")
    sortable_by = ("created",)
    actions = ()
    readonly_fields = ("standing", "metrics_table", "config_table")
    fieldsets = (
        (None, {"fields": ("name", "standing", "threshold", "temperature", "created_at", "promoted_at")}),
        ("Held-out figures", {"fields": ("metrics_table",)}),
        ("Where it comes from", {"fields": ("sha256", "training_data_sha256", "parent", "config_table")}),
    )
    empty_title = "No model is registered"
    empty_text = "Videos wait until one is: manage.py up registers the weights that come with the project."

    def get_urls(self) -> list[URLPattern]:
        activate = self.admin_site.admin_view(activate_view)
        name = "detection_modelversion_activate"
        return [path("<uuid:model_id>/activate/", activate, name=name), *super().get_urls()]

    @display(description="Name")
    def name_link(self, model: ModelVersion) -> SafeString:
        url = reverse("admin:detection_modelversion_change", args=(model.pk,))
        return format_html(
            '<a class="dfd-link dfd-strong" href="{}">{}</a> <span class="dfd-mono dfd-subtle">{}</span>',
            url,
            model.name,
            model.sha256[:8],
        )

    @display(description="Standing")
    def standing(self, model: ModelVersion) -> SafeString:
        return render_to_string("admin/detection/includes/standing.html", {"model": model})

    @display(description="Held-out AUC (95 % interval)")
    def auc(self, model: ModelVersion) -> str:
        return headline(model.metrics) or NOTHING

    @display(description="Fake from")
    def fake_from(self, model: ModelVersion) -> str:
        return f"{model.threshold:.3f}"

    @display(description="Promoted")
    def promoted(self, model: ModelVersion) -> SafeString | str:
        return moment(model.promoted_at)

    @display(description="Metrics")
    def metrics_table(self, model: ModelVersion) -> SafeString:
        return render_to_string("admin/detection/includes/metrics.html", {"sections": sections(model.metrics)})

    @display(description="Configuration")
    def config_table(self, model: ModelVersion) -> SafeString:
        return render_to_string("admin/detection/includes/pairs.html", {"pairs": flatten(model.config)})

    @display(description="")
    def activate_button(self, model: Any) -> SafeString | str:
        if model.active or not model.page_request.user.is_superuser:
            return ""
        return render_to_string("admin/detection/includes/activate_button.html", {"model": model})
