"""The review workspace: one video at a time, by keyboard.  Its page and its calls; the rules are in services."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_POST

from detection.admin.base import USER_HEADER
from detection.admin.numbers import LIMIT, Number, bounded, decided_today
from detection.admin.review.labelling import BUTTONS, can_label
from detection.admin.review.workspace_item import WHY, item, revealed, said_of_people
from detection.errors import Refused
from detection.models import PersonLabel, ReviewLabel, Verdict, Video
from detection.said import said
from detection.services.reviews import workspace, workspace_keys
from detection.services.reviews.people import PeopleAnswer
from detection.services.reviews.queues import MIXED, QUEUES, queue_parts

OF_PERSON = {
    ReviewLabel.REAL: PersonLabel.REAL,
    ReviewLabel.FAKE: PersonLabel.FAKE,
    ReviewLabel.NO_FACE: PersonLabel.NOT_A_PERSON,
    ReviewLabel.UNSURE: PersonLabel.UNSURE,
}
"""What the same key means for one person."""
TITLES = {
    MIXED: gettext_lazy("Everything"),
    "uncertain": gettext_lazy("Uncertain"),
    "no_face": gettext_lazy("No face"),
    "audit": gettext_lazy("Random audit"),
    "disagreement": gettext_lazy("Disagreements"),
    "failed": gettext_lazy("Failed"),
}
SKIPPED = "dfd_review_skipped"
MAX_SKIPPED = 200
ANSWER_DELAY_MS = 400
"""Time after a video appears in which its page takes no answer: a double tap was meant for the previous one."""
MAX_BODY = 16 * 1024
MOST_CLAIMS = 200
"""Most claims in one call: those of a contact sheet."""

ONLY_REVIEWERS = gettext_lazy("Only reviewers may label videos.")
_OTHER_USER = gettext_lazy("{} is logged in now, in another tab. Log in as yourself there, or load this page again.")

View = Callable[[HttpRequest, dict[str, Any]], dict[str, Any]]


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """Serve the workspace."""
    if not may_work(request):
        raise PermissionDenied
    user = user_of(request)
    wanted = request.GET.get("queue", MIXED)
    keys = workspace_keys.keys_of(user)
    data = {
        "urls": {name: reverse(f"review-{name}") for name in CALLS},
        "labels": [
            {
                "value": label.value,
                "text": _(label.label),
                "key": keys[label.value],
                "symbol": symbol,
                "person": {"value": OF_PERSON[label].value, "text": _(OF_PERSON[label].label)},
            }
            for label, symbol in BUTTONS
        ],
        "keys": keys,
        "fixed_keys": "".join(sorted(workspace_keys.FIXED)),
        "queues": [{"key": key, "title": TITLES[key], "why": WHY[key]} for key in (MIXED, *QUEUES)],
        "counts": counts(user),
        "queue": wanted if wanted in TITLES else MIXED,
        "lease_s": settings.DFD_REVIEW_LEASE_S,
        "answer_delay_ms": ANSWER_DELAY_MS,
        "decided_today": decided_today(reviewer=user).value,
    }
    context = {**admin.site.each_context(request), "title": _("Review"), "workspace": data}
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/detection/review/workspace.html", context)


def call(
    view: View,
    *,
    may: Callable[[HttpRequest], bool] | None = None,
    otherwise: str | Promise = ONLY_REVIEWERS,
) -> Callable[[HttpRequest], HttpResponse]:
    """Turn `view` into a POST endpoint that takes and returns a JSON object; Refused becomes `{"code", "detail"}`.

    `may` decides who is allowed (reviewers by default), and `otherwise` is what everybody else is told.
    """

    @require_POST
    @wraps(view)
    def answered(request: HttpRequest) -> HttpResponse:
        shown_to = request.headers.get(USER_HEADER)
        if shown_to and shown_to != str(request.user.pk):
            return _problem("other_user", str(_OTHER_USER).format(request.user.get_username()), 409)
        if not (may or may_work)(request):
            return _problem("permission_denied", str(otherwise), 403)
        try:
            body = json.loads(request.body[: MAX_BODY + 1] or b"{}")
        except (ValueError, RecursionError):
            return _problem("invalid_json", _("The request is not JSON."), 400)
        if not isinstance(body, dict):
            return _problem("invalid_json", _("The request is not a JSON object."), 400)
        try:
            return JsonResponse(view(request, body))
        except Refused as refusal:
            if refusal.code == "claim_lost" and _is_deleted(body.get("video")):
                return _problem("video_deleted", _("This video has been deleted."), 410)
            return _problem(refusal.code, said(refusal.detail), refusal.status)

    return answered


@call
def next_call(request: HttpRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Claim and return the next video; skipped ones come back when nothing else is left."""
    user = user_of(request)
    found = workspace.next_item(
        reviewer=user, queue=str(body.get("queue", MIXED)), held=uuids_of(body.get("held")), skipped=_skipped(request)
    )
    if found is None and request.session.get(SKIPPED):
        # All that is left was skipped before: it comes round again.
        request.session[SKIPPED] = []
        found = workspace.next_item(reviewer=user, queue=str(body.get("queue", MIXED)), held=uuids_of(body.get("held")))
    return {"item": item(request, found) if found else None, "counts": counts(user)}


@call
def answer_call(request: HttpRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Store the reviewer's answer and reveal the model's."""
    user, seconds = user_of(request), body.get("seconds")
    review = workspace.answer(
        reviewer=user,
        token=uuid_of(body.get("claim")),
        label=str(body.get("label", "")),
        seconds=seconds_of(seconds),
        comment=str(body.get("comment", "")).strip(),
        people=people_of(body),
    )
    shown = review.verdict_id
    verdict = Verdict.objects.select_related("model_version").get(id=shown) if shown else None
    return {
        "review": str(review.id),
        "mine": review.label,
        "people": said_of_people(review.people),
        "model": revealed(verdict, review.label),
        "counts": counts(user),
        "decided_today": decided_today(reviewer=user).value,
    }


@call
def skip_call(request: HttpRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Give a video back and remember that it was skipped."""
    video_id = workspace.skip(reviewer=user_of(request), token=uuid_of(body.get("claim")))
    request.session[SKIPPED] = [*request.session.get(SKIPPED, []), str(video_id)][-MAX_SKIPPED:]
    return {"counts": counts(user_of(request))}


@call
def rescan_call(request: HttpRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Give a video back and request a rescan with lowered thresholds."""
    workspace.request_rescan(reviewer=user_of(request), token=uuid_of(body.get("claim")))
    return {"counts": counts(user_of(request))}


@call
def undo_call(request: HttpRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Undo the answer `review` of the reviewer, or the newest, and claim its video again."""
    named = body.get("review")
    undone, found = workspace.undo(reviewer=user_of(request), review_id=uuid_of(named) if named else None)
    return {
        "item": item(request, found, known=undone) if found else None,
        "undone": undone.label,
        "counts": counts(user_of(request)),
        "decided_today": decided_today(reviewer=user_of(request)).value,
    }


@call
def beat_call(request: HttpRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Extend the page's claims; return those that were lost."""
    lost = workspace.extend_claims(reviewer=user_of(request), tokens=uuids_of(body.get("claims"), MOST_CLAIMS))
    return {"lost": [str(token) for token in lost]}


@call
def keys_call(request: HttpRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Store which key does what for the reviewer; none restores the defaults."""
    keys = body.get("keys")
    return {"keys": workspace_keys.set_keys(user=user_of(request), keys=keys if isinstance(keys, dict) else {})}


@call
def release_call(request: HttpRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Give the page's claims back."""
    workspace.release(reviewer=user_of(request), tokens=uuids_of(body.get("claims"), MOST_CLAIMS))
    return {}


# --- what a page is told ---------------------------------------------------------------------------------------------


def counts(user: User) -> dict[str, str]:
    """Return how many videos wait in each queue, up to a limit."""
    return {queue: str(waiting_in(queue, user)) for queue in QUEUES}


def waiting_in(queue: str, user: User) -> Number:
    """Count the videos that wait in a queue for this user, up to a limit."""
    parts = queue_parts(queue=queue, reviewer=user)
    return Number(min(LIMIT, sum(bounded(rows).value for rows in parts)))


# --- what a page sends -----------------------------------------------------------------------------------------------


def may_work(request: HttpRequest) -> bool:
    """Return whether the user may review and view videos."""
    return can_label(request) and request.user.has_perm("detection.view_video")


def user_of(request: HttpRequest) -> User:
    """Return the request's user, who is logged in."""
    assert isinstance(request.user, User)
    return request.user


def uuid_of(value: Any) -> UUID:
    """Parse a claim's token, or an answer's id.  Raises Refused `claim_lost`."""
    try:
        return UUID(str(value))
    except ValueError as error:
        raise Refused("claim_lost", "This is no claim on a video; load the page again.", status=409) from error


def uuids_of(values: Any, limit: int = 10) -> list[UUID]:
    """Parse at most `limit` tokens.  Raises Refused `claim_lost`."""
    return [uuid_of(value) for value in values[:limit]] if isinstance(values, list) else []


def people_of(body: Mapping[str, Any]) -> PeopleAnswer | None:
    """Parse answers for people, `[{"track", "label"}]`; none says that the video as a whole is meant.

    Raises Refused `invalid_people`.
    """
    people, version = body.get("people"), body.get("people_version")
    try:
        labels = {int(one["track"]): str(one["label"]) for one in people or ()}
        shown = None if version is None else int(version)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise Refused("invalid_people", "These are no answers for people.") from error
    return PeopleAnswer(labels, shown)


def seconds_of(value: Any) -> float | None:
    """Return a finite number as float, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def _is_deleted(video_id: Any) -> bool:
    """Return whether `video_id` names a video that no longer exists."""
    try:
        return video_id is not None and not Video.objects.filter(pk=UUID(str(video_id))).exists()
    except ValueError:
        return False


def _skipped(request: HttpRequest) -> list[UUID]:
    return [UUID(value) for value in request.session.get(SKIPPED, [])]


def _problem(code: str, detail: str, status: int) -> JsonResponse:
    return JsonResponse({"code": code, "detail": detail}, status=status)


CALLS = {
    "next": next_call,
    "answer": answer_call,
    "skip": skip_call,
    "rescan": rescan_call,
    "undo": undo_call,
    "beat": beat_call,
    "release": release_call,
    "keys": keys_call,
}
urlpatterns = [
    path("", admin.site.admin_view(page), name="review"),
    *(path(f"{name}/", admin.site.admin_view(view), name=f"review-{name}") for name, view in CALLS.items()),
]
"""Below `/admin/review/`."""
