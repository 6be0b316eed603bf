"""Model versions: their metrics, gate outcome, promotions and training runs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display

from detection.admin.base import NOTHING, ReadOnlyAdmin, moment
from detection.admin.metrics import flatten, headline, sections
from detection.admin.training.promoting import can_promote, promote_view, rollback_view
from detection.admin.training.promotions import KIND_TONES
from detection.admin.training.recalibrating import can_recalibrate, recalibrate_view
from detection.admin.training.run_page import RUN_TONES, promotion_check
from detection.admin.training.shadowing import sees_shadow, shadow_view
from detection.localized import numeral
from detection.models import ModelVersion
from detection.selectors.local_figures import here
from detection.selectors.videos import active_model, newest_judged_run

HISTORY_LIMIT = 50


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    """The list of model versions and the page of one."""

    list_display = ("name_link", "status", "auc", "fake_from", "created", "promoted", "promote_button")
    list_display_links = None
    list_before_template = "admin/detection/includes/models_head.html"
    ordering = ("-created_at", "-id")
    sortable_by = ("created",)
    actions = ()
    readonly_fields = ("status", "decision", "here", "metrics_table", "config_table", "promotions_table", "runs_table")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "name",
                    "status",
                    "decision",
                    "here",
                    "threshold",
                    "temperature",
                    "shift",
                    "created_at",
                    "promoted_at",
                )
            },
        ),
        (gettext_lazy("Held-out figures"), {"fields": ("metrics_table",)}),
        (gettext_lazy("Its life"), {"fields": ("promotions_table", "runs_table")}),
        (
            gettext_lazy("Where it comes from"),
            {"fields": ("kind", "source", "license", "sha256", "training_data_sha256", "parent", "config_table")},
        ),
    )
    empty_title = gettext_lazy("No model is registered")
    empty_text = gettext_lazy(
        "Videos wait until one is: manage.py up registers the weights that come with the project."
    )

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of promotion and rollback."""
        wrap = self.admin_site.admin_view
        return [
            path("<uuid:model_id>/promote/", wrap(promote_view), name="detection_modelversion_promote"),
            path("<uuid:model_id>/shadow/", wrap(shadow_view), name="detection_modelversion_shadow"),
            path("<uuid:model_id>/recalibrate/", wrap(recalibrate_view), name="detection_modelversion_recalibrate"),
            path("rollback/", wrap(rollback_view), name="detection_modelversion_rollback"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Tell the template whether the user may promote."""
        extra = {"may_promote": can_promote(request), **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, extra)
        return response

    @display(description=gettext_lazy("Name"))
    def name_link(self, model: ModelVersion) -> SafeString:
        """Show name and hash as a link."""
        url = reverse("admin:detection_modelversion_change", args=(model.pk,))
        return format_html(
            '<a class="dfd-link dfd-strong" href="{}">{}</a> <span class="dfd-mono dfd-subtle">{}</span>',
            url,
            model.name,
            model.sha256[:8],
        )

    @display(description=gettext_lazy("Status"))
    def status(self, model: ModelVersion) -> SafeString:
        """Show whether it is active and experimental."""
        return render_to_string("admin/detection/includes/model_status.html", {"model": model})

    @display(description=gettext_lazy("Held-out AUC (95 % interval)"))
    def auc(self, model: ModelVersion) -> str:
        """Show the held-out AUC with its interval."""
        return headline(model.metrics) or NOTHING

    @display(description=gettext_lazy("Fake from"))
    def fake_from(self, model: ModelVersion) -> str:
        """Show the threshold."""
        return numeral(f"{model.threshold:.3f}")

    @display(description=gettext_lazy("Promoted"))
    def promoted(self, model: ModelVersion) -> SafeString | str:
        """Show when it was promoted."""
        return moment(model.promoted_at)

    @display(description=gettext_lazy("Metrics"))
    def metrics_table(self, model: ModelVersion) -> SafeString:
        """Show all metrics."""
        return render_to_string("admin/detection/includes/metrics.html", {"sections": sections(model.metrics)})

    @display(description=gettext_lazy("Configuration"))
    def config_table(self, model: ModelVersion) -> SafeString:
        """Show the configuration."""
        return render_to_string("admin/detection/includes/pairs.html", {"pairs": flatten(model.config)})

    @display(description=gettext_lazy("Gate"))
    def decision(self, model: Any) -> SafeString:
        """Show whether the gate allows its promotion, and why."""
        allowed, sentence = promotion_check(model, active_model(), newest_judged_run(model=model))
        context = {"model": model, "allowed": allowed, "sentence": sentence, "may_promote": _may(model)}
        return render_to_string("admin/detection/includes/decision.html", context)

    @display(description=gettext_lazy("Here"))
    def here(self, model: Any) -> SafeString:
        """Show how good it is on the random audit, and the way to recalibrate it."""
        request = getattr(model, "page_request", None)
        may = request is not None and can_recalibrate(request)
        context = {
            "model": model,
            "here": here(model=model),
            "may_recalibrate": may,
            "sees_shadow": request and sees_shadow(request),
        }
        return render_to_string("admin/detection/includes/here.html", context)

    @display(description=gettext_lazy("Promotions"))
    def promotions_table(self, model: ModelVersion) -> SafeString:
        """Show its newest promotions."""
        rows = model.promotions.select_related("by").order_by("-created_at", "-id")[:HISTORY_LIMIT]
        context = {"rows": [{"row": row, "tone": KIND_TONES.get(row.kind, "grey")} for row in rows]}
        return render_to_string("admin/detection/includes/promotions.html", context)

    @display(description=gettext_lazy("Training runs"))
    def runs_table(self, model: ModelVersion) -> SafeString:
        """Show its newest training runs."""
        rows = model.runs.select_related("snapshot").defer("history", "metrics", "last_error")
        shown = rows.order_by("-created_at", "-id")[:HISTORY_LIMIT]
        context = {"rows": [{"row": row, "tone": RUN_TONES.get(row.state, "grey")} for row in shown]}
        return render_to_string("admin/detection/includes/runs.html", context)

    @display(description="")
    def promote_button(self, model: Any) -> SafeString | str:
        """Link to the promotion page."""
        if model.active or not _may(model):
            return ""
        url = reverse("admin:detection_modelversion_promote", args=(model.pk,))
        return format_html('<a class="dfd-button" href="{}">{}</a>', url, _("Promote …"))


def _may(model: Any) -> bool:
    request = getattr(model, "page_request", None)
    return request is not None and can_promote(request)
