"""Promotions, append-only: which model was active when, by whose decision and on which metrics."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from detection.admin.base import NOTHING, ReadOnlyAdmin, badge
from detection.admin.filters import DateRangeFilter
from detection.admin.training.run_page import gate_context
from detection.models import ModelVersion, Promotion
from detection.said import said

KIND_TONES = {"first": "blue", "gate": "green", "forced": "amber", "rollback": "violet"}


def model_link(model: ModelVersion) -> SafeString:
    """Link to a model version."""
    url = reverse("admin:detection_modelversion_change", args=(model.pk,))
    return format_html('<a class="dfd-link dfd-strong" href="{}">{}</a>', url, model)


@admin.register(Promotion)
class PromotionAdmin(ReadOnlyAdmin):
    """The list of promotions and the page of one."""

    list_display = ("created", "model_cell", "kind_badge", "by_whom", "reason_text", "gate_sentence")
    list_display_links = None
    list_filter = (("kind", ChoicesDropdownFilter), ("created_at", DateRangeFilter))
    list_select_related = ("model_version", "previous", "by")
    ordering = ("-created_at", "-id")
    sortable_by = ("created",)
    actions = ()
    readonly_fields = ("model_cell", "kind_badge", "by_whom", "gate_table")
    fields = ("created_at", "model_cell", "kind_badge", "by_whom", "reason", "gate_table")
    empty_title = gettext_lazy("No model has been made active yet")
    empty_text = gettext_lazy("Each change of the active model is kept here: promoted, forced, or rolled back.")

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the promotions without the models' large columns."""
        large = ("config", "metrics", "trained_on")
        rows = super().get_queryset(request)
        return rows.defer(*(f"{model}__{field}" for model in ("model_version", "previous") for field in large))

    @display(description=gettext_lazy("Model"))
    def model_cell(self, row: Promotion) -> SafeString:
        """Show the model and its predecessor."""
        after_text = _("after %(model)s") % {"model": row.previous}
        after = format_html('<span class="dfd-subtle">{}</span>', after_text) if row.previous else ""
        return format_html('<span class="dfd-stack">{}{}</span>', model_link(row.model_version), after)

    @display(description=gettext_lazy("Kind"))
    def kind_badge(self, row: Promotion) -> SafeString:
        """Show how it came about."""
        return badge(KIND_TONES.get(row.kind, "grey"), row.get_kind_display())

    @display(description=gettext_lazy("By"))
    def by_whom(self, row: Promotion) -> str:
        """Show who decided."""
        return str(row.by or _("the terminal"))

    @display(description=gettext_lazy("Reason"))
    def reason_text(self, row: Promotion) -> SafeString | str:
        """Show the reason."""
        return format_html('<div class="dfd-wrap dfd-sentence">{}</div>', said(row.reason)) if row.reason else NOTHING

    @display(description=gettext_lazy("Gate"))
    def gate_sentence(self, row: Promotion) -> SafeString | str:
        """Show the gate's sentence."""
        gate = gate_context(row.gate)
        return format_html('<div class="dfd-wrap dfd-sentence">{}</div>', gate["sentence"]) if gate else NOTHING

    @display(description=gettext_lazy("Gate"))
    def gate_table(self, row: Promotion) -> SafeString | str:
        """Show the gate's metrics."""
        gate = gate_context(row.gate)
        return render_to_string("admin/detection/includes/gate.html", {"gate": gate}) if gate else NOTHING
