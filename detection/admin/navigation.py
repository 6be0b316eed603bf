"""The menu and the tabs above the lists, for unfold (`dfdsite.admin_theme` names these functions)."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from detection.admin.filters import AnalysisView, NoFaceView, PredictionView, ViewFilter
from detection.admin.numbers import Number, numbers


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the menu's groups and items, with counts of what waits for users who may see videos."""
    user = request.user
    sees_videos = user.has_perm("detection.view_video")
    counts = numbers(request) if sees_videos else None

    def item(
        title: str, icon: str, name: str, permission: bool, number: Number | None = None, variant: str = "primary"
    ) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "title": title,
            "icon": icon,
            "link": reverse(name),
            "permission": lambda _request: permission,
        }
        if name == "review":  # or it would be lit on all the pages below its address
            entry["active"] = lambda request: request.path == reverse(name)
        if number:
            entry |= {"badge": str(number), "badge_variant": variant}
        return entry

    def may(permission: str) -> bool:
        return bool(user.has_perm(permission))

    return [
        {
            "items": [
                item(_("Overview"), "space_dashboard", "admin:index", True),
                item(_("Videos"), "video_library", "admin:detection_video_changelist", sees_videos),
            ]
        },
        {
            "title": _("Review"),
            "items": [
                item(_("Workspace"), "rate_review", "review", sees_videos and may("detection.add_review")),
                item(_("Contact sheet"), "grid_view", "review-sheet", sees_videos and may("detection.add_review")),
                item(
                    _("Predictions"),
                    "familiar_face_and_zone",
                    "admin:detection_prediction_changelist",
                    sees_videos,
                    counts.waiting if counts else None,
                ),
                item(
                    _("No face"),
                    "no_accounts",
                    "admin:detection_nofacevideo_changelist",
                    sees_videos,
                    counts.no_face if counts else None,
                ),
                item(_("Decisions"), "history_edu", "admin:detection_review_changelist", may("detection.view_review")),
                item(
                    _("Bulk decisions"),
                    "select_all",
                    "admin:detection_reviewbatch_changelist",
                    may("detection.view_review"),
                ),
                item(_("Reviewers"), "groups", "review-figures", may("detection.view_review")),
                item(
                    _("Known answers"),
                    "verified",
                    "admin:detection_goldvideo_changelist",
                    may("detection.adjudicate_review"),
                ),
            ],
        },
        {
            "title": _("Learning"),
            "items": [
                item(
                    _("Training"),
                    "model_training",
                    "admin:detection_trainingrun_changelist",
                    may("detection.view_trainingrun"),
                ),
                item(
                    _("Model versions"),
                    "network_node",
                    "admin:detection_modelversion_changelist",
                    may("detection.view_modelversion"),
                ),
                item(
                    _("Promotions"),
                    "workspace_premium",
                    "admin:detection_promotion_changelist",
                    may("detection.view_promotion"),
                ),
                item(
                    _("Data sets"),
                    "dataset",
                    "admin:detection_datasetvideo_changelist",
                    may("detection.view_datasetvideo"),
                ),
            ],
        },
        {
            "title": _("Operation"),
            "items": [
                item(
                    _("Failed and gave up"),
                    "error",
                    "admin:detection_analysis_changelist",
                    may("detection.view_analysis"),
                    counts.failed if counts else None,
                    "danger",
                ),
                item(
                    _("Webhook deliveries"),
                    "webhook",
                    "admin:detection_webhookdelivery_changelist",
                    may("detection.view_webhookdelivery"),
                ),
            ],
        },
        {
            "title": _("Access"),
            "items": [
                item(
                    _("Audit log"),
                    "receipt_long",
                    "admin:detection_auditentry_changelist",
                    may("detection.view_auditentry"),
                ),
                item(_("Users"), "person", "admin:auth_user_changelist", may("auth.view_user")),
                item(_("Groups"), "group", "admin:auth_group_changelist", may("auth.view_group")),
                item(_("API tokens"), "key", "admin:knox_authtoken_changelist", may("knox.view_authtoken")),
            ],
        },
    ]


def tabs(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the tabs of the list that is open, if it has views.

    Not those of the others, which nobody sees: unfold asks for each item of the menu whether any tab is the open one,
    which took a tenth of every page's time.
    """
    lists = {"prediction": PredictionView, "nofacevideo": NoFaceView, "analysis": AnalysisView}
    urls = {name: reverse(f"admin:detection_{name}_changelist") for name in lists}
    return [_tabs(name, urls[name], view) for name, view in lists.items() if request.path == urls[name]]


def _tabs(model: str, url: str, view: type[ViewFilter]) -> dict[str, Any]:
    default = view.views[0][0]

    def item(value: str, title: str | Promise) -> dict[str, Any]:
        return {
            "title": title,
            "link": url if value == default else f"{url}?{view.parameter_name}={value}",
            "active": lambda request: request.GET.get(view.parameter_name, default) == value,
        }

    return {"models": [f"detection.{model}"], "items": [item(value, title) for value, title, _ in view.views]}
