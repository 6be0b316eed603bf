"""The audit log, read-only: who did what, when and from where."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import ChoicesDropdownFilter, TextFilter
from unfold.decorators import display

from detection.admin.base import NOTHING, ReadOnlyAdmin, badge, moment
from detection.admin.filters import DateRangeFilter
from detection.models import AuditAction, AuditEntry

TONES: dict[str, str] = {
    AuditAction.LOGIN_FAILED: "red",
    AuditAction.VIDEO_DELETED: "red",
    AuditAction.RETENTION: "red",
    AuditAction.FORGOTTEN: "red",
    AuditAction.TOKEN_REVOKED: "amber",
    AuditAction.USER_CHANGED: "amber",
    AuditAction.EXPORTED: "amber",
    AuditAction.MEDIA_DOWNLOADED: "amber",
    AuditAction.MODEL_ACTIVATED: "violet",
}


class ActorFilter(TextFilter):
    """Filter entries by user name."""

    title = gettext_lazy("user")
    parameter_name = "actor"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the entries of that user."""
        value = str(self.value() or "").replace("\x00", "")
        return queryset.filter(actor=value) if value else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """The list of audit entries and the page of one."""

    list_display = ("when", "action_badge", "actor_cell", "subject_cell", "facts_cell", "number")
    list_display_links = None
    list_filter = (("action", ChoicesDropdownFilter), ActorFilter, ("at", DateRangeFilter))
    search_fields = ("subject",)  # the placeholder of the box; `get_search_results` says how
    search_help_text = gettext_lazy("A video's id, or video:..., user:..., token:..., model:... in full.")
    ordering = ("-at", "-number")
    sortable_by = ()
    actions = ()
    fields = ("number", "at", "action", "actor", "actor_id", "address", "subject", "facts", "previous", "hash")
    empty_title = gettext_lazy("Nothing has been recorded yet")
    empty_text = gettext_lazy(
        "Logins, role changes, looks at other people's videos, deletions and exports are kept here."
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by subject; a bare id is a video's."""
        wanted = search_term.strip().replace("\x00", "")
        with suppress(ValueError):
            wanted = f"video:{UUID(wanted)}"
        return (queryset.filter(subject=wanted) if wanted else queryset), False

    @display(description=gettext_lazy("When"))
    def when(self, row: AuditEntry) -> SafeString:
        """Show the time as a link to the entry."""
        url = reverse("admin:detection_auditentry_change", args=(row.pk,))
        return format_html('<a class="dfd-link dfd-strong" href="{}">{}</a>', url, moment(row.at))

    @display(description=gettext_lazy("What"))
    def action_badge(self, row: AuditEntry) -> SafeString:
        """Show the action."""
        return badge(TONES.get(row.action, "grey"), row.get_action_display())

    @display(description=gettext_lazy("Who"))
    def actor_cell(self, row: AuditEntry) -> SafeString:
        """Show user and address."""
        name = row.actor or _("nobody logged in")
        return format_html(
            '<span class="dfd-stack"><span>{}</span><span class="dfd-subtle">{}</span></span>', name, row.address or ""
        )

    @display(description=gettext_lazy("Of"))
    def subject_cell(self, row: AuditEntry) -> SafeString | str:
        """Show what the action was on."""
        return format_html('<span class="dfd-mono">{}</span>', row.subject) if row.subject else NOTHING

    @display(description=gettext_lazy("Facts"))
    def facts_cell(self, row: AuditEntry) -> SafeString | str:
        """Show the entry's facts as one line."""
        said = ", ".join(f"{name} {_text(value)}" for name, value in row.facts.items())
        return format_html('<div class="dfd-wrap dfd-sentence">{}</div>', said) if said else NOTHING


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
