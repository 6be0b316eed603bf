"""Who may do what below /admin/: every page and every call, for every role.

The addresses are read from the resolver, so one that is added is missing here until somebody has said who may open it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, get_resolver, reverse
from django.utils import timezone
from knox.models import AuthToken

from detection import dispatch
from detection.models import (
    AuditAction,
    AuditEntry,
    DatasetVideo,
    DeliveryState,
    GoldVideo,
    Promotion,
    PromotionKind,
    ReviewBatch,
    State,
    TrainingRun,
    Webhook,
    WebhookDelivery,
)
from detection.services.ops import audit
from detection.services.ops.accounts import ROLES, create_token
from detection.services.reviews.reviews import record_review
from tests.admin.conftest import Rows

pytestmark = pytest.mark.django_db

# An uploader, and somebody who has not logged in, are sent to the login whatever they ask for.
LETTERS = {"r": "reviewer", "s": "senior_reviewer", "m": "model_owner", "o": "operator", "a": "admin"}
STAFF, REVIEWERS, SENIORS, OWNERS, OPERATORS, ADMIN, NOBODY = "rsmoa", "rsa", "sa", "ma", "oa", "a", ""


@dataclass(frozen=True)
class Pages:
    """Who may use the five pages that the admin has for a model, and what the page of one row answers them."""

    view: str
    add: str = NOBODY
    delete: str = NOBODY
    row: int = 200


MODELS = {
    "auth_user": Pages(ADMIN, ADMIN, ADMIN),
    "auth_group": Pages(ADMIN, ADMIN, ADMIN),
    "knox_authtoken": Pages(ADMIN, NOBODY, ADMIN),
    "detection_analysis": Pages(STAFF),
    "detection_auditentry": Pages(OPERATORS),
    "detection_datasetvideo": Pages(OWNERS),
    "detection_goldvideo": Pages(SENIORS),
    "detection_modelversion": Pages(STAFF),
    "detection_nofacevideo": Pages(STAFF, row=302),  # to the video's page
    "detection_prediction": Pages(STAFF, row=302),
    "detection_promotion": Pages(OWNERS),
    "detection_review": Pages(STAFF),
    "detection_reviewbatch": Pages(STAFF),
    "detection_trainingrun": Pages("moa"),
    "detection_video": Pages(STAFF, NOBODY, OPERATORS),
    "detection_webhookdelivery": Pages(OPERATORS),
}
# name: (method, who may, what it answers them).  409 and 400 come from within: the request was let in.
CALLS: dict[str, tuple[str, str, int]] = {
    "admin:index": ("get", STAFF, 200),
    "admin:search": ("get", STAFF, 200),
    "admin:app_list": ("get", STAFF, 200),
    "admin:jsi18n": ("get", STAFF, 200),
    "admin:password_change": ("get", STAFF, 200),
    "admin:password_change_done": ("get", STAFF, 200),
    "admin:autocomplete": ("get", NOBODY, 200),  # no page has such a field
    "admin:view_on_site": ("get", STAFF, 404),  # nothing has a page elsewhere
    "admin:auth_user_password_change": ("get", ADMIN, 200),
    "admin:detection_analysis_requeue": ("post", OPERATORS, 302),
    "admin:detection_modelversion_promote": ("post", OWNERS, 302),
    "admin:detection_modelversion_shadow": ("get", "sma", 200),
    "admin:detection_modelversion_recalibrate": ("post", OWNERS, 302),
    "admin:detection_modelversion_rollback": ("post", OWNERS, 409),
    "admin:detection_reviewbatch_revert": ("post", REVIEWERS, 302),
    "admin:detection_trainingrun_start": ("post", OWNERS, 200),
    "admin:detection_trainingrun_live": ("get", "moa", 200),
    "admin:detection_trainingrun_report": ("get", "moa", 200),
    "admin:detection_trainingrun_json": ("get", "moa", 200),
    "admin:detection_video_label": ("post", REVIEWERS, 302),
    "admin:detection_video_rescan": ("post", REVIEWERS, 302),
    "admin:detection_video_gold": ("post", SENIORS, 302),
    "admin:detection_webhookdelivery_send_again": ("post", OPERATORS, 302),
    "review": ("get", REVIEWERS, 200),
    "review-next": ("json", REVIEWERS, 200),
    "review-answer": ("json", REVIEWERS, 409),
    "review-skip": ("json", REVIEWERS, 409),
    "review-rescan": ("json", REVIEWERS, 409),
    "review-undo": ("json", REVIEWERS, 409),
    "review-beat": ("json", REVIEWERS, 200),
    "review-release": ("json", REVIEWERS, 200),
    "review-keys": ("json", REVIEWERS, 200),
    "review-evidence": ("json", STAFF, 400),
    "review-sheet": ("get", REVIEWERS, 200),
    "review-sheet-open": ("json", REVIEWERS, 400),
    "review-sheet-label": ("json", REVIEWERS, 409),
    "review-sheet-revert": ("json", REVIEWERS, 409),
    "review-figures": ("get", STAFF, 200),
}
FOR_ALL = {"admin:login", "admin:logout", "set_language", "sign-on", "sign-on-callback"}


def table() -> dict[str, tuple[str, str, int]]:
    rows = dict(CALLS)
    for model, pages in MODELS.items():
        rows |= {
            f"admin:{model}_changelist": ("get", pages.view, 200),
            f"admin:{model}_history": ("get", pages.view, 200),
            f"admin:{model}_change": ("get", pages.view, pages.row),
            f"admin:{model}_add": ("get", pages.add, 200),
            f"admin:{model}_delete": ("post", pages.delete, 302),
        }
    return rows


def addresses(patterns: Any = None, below: str = "", spaces: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """(name, names of its parameters) of each address below admin/.  One without a name leads to a named one."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        path = below + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            if path.startswith("admin/") and pattern.name:
                yield ":".join([*spaces, pattern.name]), list(pattern.pattern.converters)
        else:
            inner = (*spaces, pattern.namespace) if pattern.namespace else spaces
            yield from addresses(pattern.url_patterns, path, inner)


@pytest.fixture
def objects(rows: Rows, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The id of one of each model, by the name that addresses use."""
    for name in ("wake", "wake_trainer", "wake_webhook", "wake_evidence", "wake_sweeper"):
        monkeypatch.setattr(dispatch, name, lambda **kwargs: True)
    model, older = rows.model(), rows.model("older", active=False)
    video, nothing, failed = rows.with_verdict(model=model), rows.no_face(), rows.video(state=State.FAILED)
    review = record_review(video=failed, reviewer=rows.owner, label="fake")
    in_set = DatasetVideo.objects.create(
        video=rows.video("set.mp4"), dataset="lab", path="a.mp4", label="real", identity="a"
    )
    settings.MEDIA_ROOT = str(tmp_path)
    report = default_storage.save("runs/matrix/report.html", ContentFile(b"<p>report</p>"))
    default_storage.save("runs/matrix/report.json", ContentFile(b"{}"))
    run = TrainingRun.objects.create(state="succeeded", finished_at=timezone.now(), report=report)
    audit.record(AuditAction.EXPORTED, subject="labels")
    hook = Webhook.objects.create(owner=rows.owner, url="https://example.org/", secret="whsec_")
    delivery = WebhookDelivery.objects.create(
        webhook=hook, event="task.finished", video_id=video.pk, task_id=video.pk, body="{}",
        state=DeliveryState.FAILED, ended_at=timezone.now(),
    )  # fmt: skip
    return {
        "user": User.objects.create_user("somebody").pk,
        "group": Group.objects.create(name="some").pk,
        "authtoken": AuthToken.objects.create(rows.owner)[0].pk,
        "analysis": failed.current_analysis_id,
        "auditentry": AuditEntry.objects.latest("number").pk,
        "reviewbatch": ReviewBatch.objects.create(reviewer=rows.owner, label="fake", size=1).pk,
        "datasetvideo": in_set.pk,
        "goldvideo": GoldVideo.objects.create(video=failed, label="fake", reason="made", set_by=rows.owner).pk,
        "promotion": Promotion.objects.create(model_version=model, previous=older, kind=PromotionKind.FORCED).pk,
        "modelversion": older.pk,
        "nofacevideo": nothing.pk,
        "prediction": video.pk,
        "review": review.pk,
        "trainingrun": run.pk,
        "video": video.pk,
        "webhookdelivery": delivery.pk,
    }


PARAMETERS = {
    "video_id": "video", "batch_id": "reviewbatch", "model_id": "modelversion", "run_id": "trainingrun",
    "delivery_id": "webhookdelivery", "id": "user",
}  # fmt: skip


def path_of(name: str, parameters: list[str], objects: dict[str, Any]) -> str:
    plain = name.removeprefix("admin:")
    if plain == "app_list":
        return reverse(name, kwargs={"app_label": "detection"})
    if plain == "view_on_site":
        kind = ContentType.objects.get(app_label="detection", model="video")
        return reverse(name, kwargs={"content_type_id": kind.pk, "object_id": objects["video"]})
    if plain == "detection_video_rescan":
        return reverse(name, args=(objects["nofacevideo"],))
    kwargs = {p: objects[plain.split("_")[1] if p == "object_id" else PARAMETERS[p]] for p in parameters}
    return reverse(name, kwargs=kwargs)


def ask(user: User | None, method: str, path: str) -> Any:
    """One request by a browser of the user's, of which nothing remains."""
    with transaction.atomic():
        client = Client()
        if user is not None:
            client.force_login(user)
        if method == "get":
            response = client.get(path)
        elif method == "json":
            response = client.post(path, data="{}", content_type="application/json")
        else:
            response = client.post(path, {"post": "yes", "label": "fake", "reason": "seen", "force": "1"})
        transaction.set_rollback(True)
    return response


def to_login(response: Any) -> bool:
    return response.status_code == 302 and response["Location"].startswith("/admin/login/")


def user_of(role: str) -> User:
    create_token(username=role, role=role)
    return User.objects.get(username=role)


def test_every_address_has_its_line() -> None:
    found = [name for name, _ in addresses()]
    assert len(found) == len(set(found)) > 100
    assert set(found) == {*table(), *FOR_ALL}
    assert set(LETTERS.values()) == set(ROLES) - {"uploader"}


@pytest.mark.parametrize("role", [None, "uploader"])
def test_who_is_no_staff_is_sent_to_the_login(role: str | None, objects: dict[str, Any]) -> None:
    user = user_of(role) if role else None
    let_in = [
        name
        for name, parameters in addresses()
        if name not in FOR_ALL and not to_login(ask(user, table()[name][0], path_of(name, parameters, objects)))
    ]
    assert let_in == []


@pytest.mark.parametrize("letter", LETTERS)
def test_each_role_may_what_the_table_says(letter: str, objects: dict[str, Any]) -> None:
    user, rows = user_of(LETTERS[letter]), table()
    wanted = {name: status if letter in who else 403 for name, (_, who, status) in rows.items()}
    found = {
        name: ask(user, rows[name][0], path_of(name, parameters, objects)).status_code
        for name, parameters in addresses()
        if name not in FOR_ALL
    }
    assert found == wanted


@pytest.mark.parametrize("letter", LETTERS)
def test_searching_the_admin_finds_only_what_one_may_open(letter: str, objects: dict[str, Any]) -> None:
    text = ask(user_of(LETTERS[letter]), "get", "/admin/search/?s=user").content.decode()
    assert ("/admin/auth/user/" in text) == (letter in ADMIN)


def test_staff_without_a_role_may_nothing(objects: dict[str, Any], rows: Rows) -> None:
    clerk = rows.user("clerk", staff=True)
    open_to_clerks = {
        name
        for name, parameters in addresses()
        if name not in FOR_ALL and ask(clerk, table()[name][0], path_of(name, parameters, objects)).status_code != 403
    }
    assert open_to_clerks == {
        "admin:index", "admin:search", "admin:jsi18n", "admin:password_change", "admin:password_change_done",
        "admin:view_on_site", "admin:app_list",
        # to the video's page, which refuses them
        "admin:detection_nofacevideo_change", "admin:detection_prediction_change",
    }  # fmt: skip
