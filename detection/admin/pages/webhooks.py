"""Webhook deliveries: what was sent to clients, each attempt, and a button to send it again."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlsplit

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from detection.admin.base import NOTHING, ReadOnlyAdmin, badge, safe_next, video_url
from detection.admin.filters import DateRangeFilter
from detection.errors import Refused
from detection.localized import numeral
from detection.models import DeliveryState, WebhookDelivery
from detection.said import said
from detection.services.jobs import webhook_deliveries

TONES = {DeliveryState.WAITING: "amber", DeliveryState.DELIVERED: "green", DeliveryState.FAILED: "red"}


def can_send_again(request: HttpRequest) -> bool:
    """Return whether the user may send deliveries again."""
    return request.user.has_perm("detection.change_webhookdelivery")


@require_POST
def send_again_view(request: HttpRequest, delivery_id: uuid.UUID) -> HttpResponse:
    """Queue a delivery anew and redirect to `next`."""
    if not can_send_again(request):
        raise PermissionDenied
    delivery = get_object_or_404(WebhookDelivery, pk=delivery_id)
    try:
        webhook_deliveries.send_again(delivery=delivery)
    except Refused as refusal:
        messages.error(request, said(refusal.detail))
    else:
        admin.site.get_model_admin(WebhookDelivery).log_change(request, delivery, "Sent again.")
        messages.success(request, _("It is sent again now; this page shows what came of it."))
    fallback = reverse("admin:detection_webhookdelivery_changelist")
    return HttpResponseRedirect(safe_next(request, request.POST.get("next"), fallback=fallback))


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    """The list of deliveries and the page of one."""

    list_display = ("created", "summary", "receiver", "owner", "state_badge", "attempts", "outcome", "again_button")
    list_display_links = ("summary",)
    list_filter = (("state", ChoicesDropdownFilter), ("created_at", DateRangeFilter))
    list_before_template = change_form_before_template = "admin/detection/includes/row_form.html"
    list_select_related = ("webhook__owner",)
    ordering = ("-created_at", "-id")
    sortable_by = ("created",)
    actions = ()
    readonly_fields = (
        "video_link", "receiver", "owner", "state_badge", "webhook_status", "attempt_table", "body_text",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("event", "video_link", "task_id", "state_badge", "attempts")}),
        (gettext_lazy("Receiver"), {"fields": ("receiver", "owner", "webhook_status")}),
        (gettext_lazy("Times"), {"fields": ("created_at", "not_before", "ended_at")}),
        (gettext_lazy("Attempts"), {"fields": ("attempt_table",)}),
        (gettext_lazy("What is sent"), {"fields": ("body_text",)}),
    )
    empty_title = gettext_lazy("Nothing was sent yet")
    empty_text = gettext_lazy(
        "Clients that register a webhook over REST are told when a task ends: each delivery is listed here."
    )

    def get_urls(self) -> list[URLPattern]:
        """Add the URL of the button."""
        again = self.admin_site.admin_view(send_again_view)
        name = "detection_webhookdelivery_send_again"
        return [path("<uuid:delivery_id>/send-again/", again, name=name), *super().get_urls()]

    @display(description=gettext_lazy("Event"))
    def summary(self, delivery: WebhookDelivery) -> str:
        """Show the event and the first characters of the task's id."""
        return f"{delivery.event} {str(delivery.task_id)[:8]}"

    @display(description=gettext_lazy("Video"))
    def video_link(self, delivery: Any) -> SafeString:
        """Link to the video by its id; the video may be deleted."""
        url = video_url(delivery.page_request, delivery.video_id)
        return format_html('<a class="dfd-link dfd-mono" href="{}">{}</a>', url, delivery.video_id)

    @display(description=gettext_lazy("Receiver"))
    def receiver(self, delivery: WebhookDelivery) -> str:
        """Show the host only: path and query may hold a key of the client's."""
        return urlsplit(delivery.webhook.url).netloc

    @display(description=gettext_lazy("Owner"))
    def owner(self, delivery: WebhookDelivery) -> str:
        """Show the webhook's owner."""
        return str(delivery.webhook.owner)

    @display(description=gettext_lazy("State"))
    def state_badge(self, delivery: WebhookDelivery) -> SafeString:
        """Show the state."""
        return badge(TONES[DeliveryState(delivery.state)], delivery.get_state_display())

    @display(description=gettext_lazy("Outcome"))
    def outcome(self, delivery: WebhookDelivery) -> str:
        """Show status and duration, or the error, of the newest attempt."""
        if not delivery.log:
            return NOTHING
        newest = delivery.log[-1]
        return said(str(newest["error"])) or _("%(status)s in %(seconds)s s") % {
            "status": newest["status"],
            "seconds": numeral(f"{newest['seconds']:.1f}"),
        }

    @display(description=gettext_lazy("The webhook"))
    def webhook_status(self, delivery: WebhookDelivery) -> str:
        """Show whether the webhook is active, disabled or removed."""
        webhook = delivery.webhook
        if webhook.removed_at:
            return _("Removed by its owner.")
        if webhook.disabled_at:
            return said(webhook_deliveries.DISABLED) + " " + _("Or send one again.")
        if not webhook.failures:
            return _("In order.")
        sentence = ngettext("%(n)s failed attempt in a row.", "%(n)s failed attempts in a row.", webhook.failures)
        return sentence % {"n": webhook.failures}

    @display(description=gettext_lazy("Attempts"))
    def attempt_table(self, delivery: WebhookDelivery) -> SafeString:
        """Show every attempt."""
        return render_to_string("admin/detection/includes/attempts.html", {"attempts": delivery.log})

    @display(description=gettext_lazy("Body"))
    def body_text(self, delivery: WebhookDelivery) -> SafeString:
        """Show the body as it is sent."""
        return format_html('<pre class="dfd-pre">{}</pre>', delivery.body)

    @display(description="")
    def again_button(self, delivery: Any) -> SafeString | str:
        """Show the button to send it again, unless the webhook was removed."""
        if delivery.webhook.removed_at or not can_send_again(delivery.page_request):
            return ""
        return format_html(
            '<button type="submit" form="dfd-row-form" formaction="{}" class="dfd-button">{}</button>',
            reverse("admin:detection_webhookdelivery_send_again", args=(delivery.pk,)),
            _("Send again"),
        )
