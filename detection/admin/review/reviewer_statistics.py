"""Statistics of the reviewers: agreement, known answers, overturned answers, pace.

Users see their own; who may adjudicate sees everybody's.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET

from detection.admin.charts.agreement import agreement_chart, kappa_row, share_row
from detection.admin.charts.overview import Estimate, IntervalChart, interval_chart
from detection.admin.pages.gold import may_know
from detection.localized import numeral
from detection.selectors.reviewer_agreement import FEW_PAIRS, MOST_ROWS, Reader, agreement

PERIODS = (7, 30, 90)
MOST_READERS = 50


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """Serve the page of reviewer statistics for 7, 30 or 90 days."""
    if not request.user.has_perm("detection.view_review"):
        raise PermissionDenied
    wanted = request.GET.get("days", "")
    days = next((days for days in PERIODS if str(days) == wanted), PERIODS[1])
    found = agreement(since=timezone.now() - timedelta(days=days))
    sees_all = may_know(request)
    readers = [r for r in found.readers if sees_all or r.name == request.user.get_username()][:MOST_READERS]
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": _("Reviewers"),
        "days": days,
        "periods": PERIODS,
        "overall": found.overall,
        "overall_chart": agreement_chart(found, days),
        "charts": _charts(readers) if readers else [],
        "readers": readers,
        "sees_all": sees_all,
        "cut": MOST_ROWS if found.cut else None,
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/detection/review/figures.html", context)


def _charts(readers: list[Reader]) -> list[IntervalChart]:
    scale: dict[str, Any] = {"low": 0.0, "high": 1.0, "marks": ((0.0, "0"), (0.5, numeral("0.5")), (1.0, "1"))}
    paces = [reader.pace for reader in readers if reader.pace is not None]
    longest = max([10.0, *paces])
    return [
        interval_chart(
            _("Agreement with other readers (kappa)"),
            _("0 is chance, 1 is perfect; with fewer than %(pairs)s pairs it says little.") % {"pairs": FEW_PAIRS},
            [kappa_row(reader.name, reader.kappa) for reader in readers],
            **scale,
        ),
        interval_chart(
            _("Right on known answers"),
            _("Videos whose answer is certain, shown among the others."),
            [share_row(reader.name, reader.on_gold, _("checks")) for reader in readers],
            **scale,
        ),
        interval_chart(
            _("Overturned"),
            _("Of the answers on videos that somebody settled: those that were settled otherwise. Lower is better."),
            [share_row(reader.name, reader.overturn, _("settled")) for reader in readers],
            **scale,
        ),
        interval_chart(
            _("Pace"),
            _("Median seconds from seeing a video to answering, with the page in sight. Fast is not good by itself."),
            [
                Estimate(
                    reader.name, _answers(reader.answers), reader.pace, None, None,
                    "-" if reader.pace is None else numeral(f"{reader.pace:.1f} s"),
                )
                for reader in readers
            ],
            low=0.0,
            high=longest,
            marks=((0.0, "0 s"), (longest, f"{longest:.0f} s")),
        ),
    ]  # fmt: skip


def _answers(n: int) -> str:
    return ngettext("%(n)s answer", "%(n)s answers", n) % {"n": numeral(f"{n:,}")}


urlpatterns = [path("figures/", admin.site.admin_view(page), name="review-figures")]
"""Below `/admin/review/`."""
