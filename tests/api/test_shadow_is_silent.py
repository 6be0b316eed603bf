"""What a version in shadow said of a video reaches nobody: no client, no reviewer, no export, no webhook."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse

from detection.models import ModelVersion, ShadowScore, ShadowTrial, Video, WebhookDelivery
from detection.services.jobs import webhook_deliveries
from detection.services.learning import shadow
from detection.services.ops.accounts import ROLES, create_token
from detection.services.reviews import labels
from detection.services.reviews.reviews import record_review
from tests.api.calls import addresses, call, full_video, operations
from tests.api.conftest import Caller, Factory
from tests.api.test_matrix import Role

pytestmark = pytest.mark.django_db

SCORE = 0.918273
TOLD = (b"918273", b"shadow")
"""How an endpoint would write this score, or what it is called."""


@pytest.fixture
def video(owner: Caller, factory: Factory) -> Video:
    """The owner's, judged, with a shadow's score that no other number here looks like."""
    video = full_video(owner, factory)
    active = ModelVersion.objects.get(active=True)
    candidate = ModelVersion.objects.create(name="silent", sha256="5" * 64, file="models/s", threshold=0.5)
    shadow.start(model=candidate)
    ShadowScore.objects.create(
        video=video, model_version=candidate, fake_probability=SCORE, label="fake", segments=[SCORE], seconds=0.918273,
        champion=active, champion_probability=0.1, champion_label="real",
    )  # fmt: skip
    return video


def body_of(response: Any) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content


@pytest.mark.parametrize("role", [None, *ROLES])
def test_no_endpoint_tells_it(role: str | None, owner: Caller, video: Video) -> None:
    caller = owner if role is None else Role(role)
    paths, asked = addresses(video), 0
    for name, method in operations():
        with transaction.atomic():
            response = call(caller, method, name, paths[name])
            body = body_of(response) if method != "head" else b""
            transaction.set_rollback(True)
        if name in ("schema", "docs"):
            continue
        asked += 1
        assert not [text for text in TOLD if text in body], (name, method)
        assert "918273" not in str(dict(response.items())), (name, method)
    assert asked > 20


def test_no_webhook_and_no_export_tells_it(owner: Caller, video: Video, factory: Factory) -> None:
    assert video.current_analysis_id is not None
    webhook_deliveries.announce(analysis_id=video.current_analysis_id)
    reviewer = User.objects.create_superuser("root")
    record_review(video=video, reviewer=reviewer, label="fake")
    bodies = list(WebhookDelivery.objects.values_list("body", flat=True))
    assert bodies
    assert not [body for body in bodies if "918273" in body or "shadow" in body]
    for format in labels.FORMATS:
        for every in (False, True):
            out = io.StringIO()
            assert labels.write_labels(write=out.write, format=format, all_reviews=every)
            assert "918273" not in out.getvalue()
            assert "shadow" not in out.getvalue()


@pytest.mark.parametrize("role", ["reviewer", "senior_reviewer", "model_owner", "operator", "admin"])
def test_no_page_of_the_admin_tells_it_of_a_video(role: str, video: Video) -> None:
    """The page of the version itself tells those who compare it how many there are, and nothing of any video."""
    create_token(username=role, role=role)
    client = Client()
    client.force_login(User.objects.get(username=role))
    trial = ShadowTrial.objects.get()
    names = ("video", "prediction", "analysis", "review", "modelversion", "trainingrun", "auditentry", "nofacevideo")
    paths = ["/admin/", *(f"/admin/detection/{name}/" for name in names), "/admin/review/", reverse("review-figures")]
    paths += [
        f"/admin/detection/video/{video.pk}/change/",
        f"/admin/detection/modelversion/{trial.model_version_id}/change/",
        reverse("admin:detection_modelversion_shadow", args=(trial.model_version_id,)),
    ]
    answered = 0
    for path in paths:
        response = client.get(path)
        if response.status_code == 200:
            answered += 1
            body = body_of(response)
            assert b"918273" not in body, path
            if "/shadow/" in path:
                assert str(video.pk).encode() not in body
            if "/video/" in path or "/prediction/" in path:
                assert b"0.918" not in body, path
    assert answered > 8
    claimed = client.post(reverse("review-next"), json.dumps({"queue": "uncertain"}), content_type="application/json")
    assert b"918273" not in claimed.content


def test_every_relation_to_a_video_that_is_shown_is_known_here() -> None:
    """A representation made of all that belongs to a video would have the scores in it: none does."""
    assert "shadow_scores" in {relation.name for relation in Video._meta.related_objects}
    from detection.api.serializers import videos as serializers

    fields = {name for cls in vars(serializers).values() for name in getattr(getattr(cls, "Meta", None), "fields", ())}
    assert fields
    assert not [name for name in fields if "shadow" in name]
