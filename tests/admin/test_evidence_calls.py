"""Asking for heat maps and previews: who may, when, and what the page is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from detection.models import EvidenceJob, EvidenceKind, State, Video
from detection.services.reviews import workspace
from tests.admin.conftest import Rows

pytestmark = pytest.mark.django_db


def ask(client: Client, video: Video | str, kind: str, **more: Any) -> Any:
    body = {"video": str(getattr(video, "pk", video)), "kind": kind} | more
    response = client.post(reverse("review-evidence"), json.dumps(body), content_type="application/json")
    return response.json() | {"status": response.status_code}


def made(video: Video, kind: str) -> None:
    """As a worker leaves it."""
    result: dict[str, Any] = {}
    if kind == EvidenceKind.HEATMAPS:
        assert video.current_verdict is not None
        names = {
            str(face.pk): default_storage.save(f"{video.folder}/heatmaps/a/{face.pk}.jpg", ContentFile(b"jpeg"))
            for face in video.faces.all()
        }
        result = {"model": video.current_verdict.model_version.sha256, "faces": names}
    else:
        name = default_storage.save(f"{video.folder}/preview/a.mp4", ContentFile(b"h264"))
        Video.objects.filter(pk=video.pk).update(preview=name)
    EvidenceJob.objects.filter(video=video, kind=kind).update(
        state=State.SUCCEEDED, result=result, finished_at=timezone.now()
    )


def test_heat_maps_are_told_of_from_the_queue_to_the_pictures(rows: Rows, review_client: Client) -> None:
    video = rows.with_verdict(model=rows.model(), people=2)
    first = ask(review_client, video, "heatmaps")
    assert (first["status"], first["state"], first["heatmaps"]) == (200, "queued", {})
    assert first["sentence"] == "Waiting for a worker …"
    EvidenceJob.objects.update(state=State.RUNNING)
    assert ask(review_client, video, "heatmaps")["sentence"] == "A worker is at it …"
    assert EvidenceJob.objects.count() == 1
    made(video, EvidenceKind.HEATMAPS)
    last = ask(review_client, video, "heatmaps")
    assert (last["state"], last["sentence"]) == ("succeeded", "")
    assert [(person["number"], len(person["faces"])) for person in last["people"]] == [(1, 10), (2, 10)]
    shown = last["people"][1]["faces"][3]
    face = video.faces.get(track=1, position=3)
    assert (shown["id"], shown["timestamp_s"]) == (str(face.pk), 1.5)
    assert review_client.get(last["heatmaps"][shown["id"]]).status_code == 200
    assert review_client.get(shown["image_url"]).status_code == 200
    assert len(last["heatmaps"]) == 20


def test_a_preview_comes_with_a_word_on_what_it_is(rows: Rows, review_client: Client) -> None:
    video = rows.video(codec="mpeg4", state=State.SUCCEEDED)
    assert ask(review_client, video, "preview")["preview_url"] is None
    made(video, EvidenceKind.PREVIEW)
    told = ask(review_client, video, "preview")
    assert told["note"].startswith("This is a copy in H.264, made because this browser cannot play the file itself")
    assert "(mpeg4)" in told["note"]
    assert review_client.get(told["preview_url"])["Content-Type"] == "video/mp4"


def test_what_has_failed_says_why_and_is_tried_again_only_when_somebody_says_so(
    rows: Rows, review_client: Client
) -> None:
    video = rows.video()
    ask(review_client, video, "preview")
    EvidenceJob.objects.update(state=State.FAILED, error_detail="It breaks off.", finished_at=timezone.now())
    told = ask(review_client, video, "preview")
    assert (told["state"], told["sentence"], EvidenceJob.objects.count()) == ("failed", "It breaks off.", 1)
    assert ask(review_client, video, "preview", again=True)["state"] == "queued"


def test_heat_maps_are_refused_until_the_answer_is_stored(rows: Rows, reviewer: User, review_client: Client) -> None:
    video = rows.with_verdict(model=rows.model())
    claimed = workspace.next_item(reviewer=reviewer)
    assert claimed is not None
    refused = ask(review_client, video, "heatmaps")
    assert (refused["status"], refused["code"]) == (409, "not_yet")
    assert not EvidenceJob.objects.exists()
    assert ask(review_client, video, "preview")["status"] == 200
    workspace.answer(reviewer=reviewer, token=claimed.token, label="fake")
    assert ask(review_client, video, "heatmaps")["state"] == "queued"
    workspace.undo(reviewer=reviewer)  # claimed again, by somebody who has been told
    assert ask(review_client, video, "heatmaps")["status"] == 200


def test_the_refusals(rows: Rows, review_client: Client) -> None:
    video = rows.no_face()
    told = ask(review_client, video, "heatmaps")
    assert (told["status"], told["code"]) == (409, "nothing_to_show")
    for reference in (str(uuid4()), "nonsense", ""):
        told = ask(review_client, reference, "preview")
        assert (told["status"], told["code"]) == (404, "not_found")
    told = ask(review_client, video, "secrets")
    assert (told["status"], told["code"]) == (400, "unknown_kind")
    assert review_client.get(reverse("review-evidence")).status_code == 405


def test_who_may_see_videos_may_ask_and_nobody_else(rows: Rows, as_user: Callable[[User], Client]) -> None:
    video = rows.with_verdict(model=rows.model())
    assert ask(as_user(rows.user("clerk", staff=True)), video, "preview")["status"] == 403
    path = reverse("review-evidence")
    assert as_user(rows.owner).post(path, "{}", content_type="application/json").status_code == 302  # to the login
    assert Client().post(path, "{}", content_type="application/json").status_code == 302
    assert Client(enforce_csrf_checks=True).post(path, "{}", content_type="application/json").status_code in (302, 403)
    assert not EvidenceJob.objects.exists()
    assert ask(as_user(rows.user("root", superuser=True)), video, "heatmaps")["status"] == 200


def test_the_page_of_a_video_offers_heat_maps_only_to_who_may_know(
    rows: Rows, reviewer: User, review_client: Client
) -> None:
    video = rows.with_verdict(model=rows.model())
    path = reverse("admin:detection_video_change", args=(video.pk,))
    assert f'data-heat-video="{video.pk}"' in review_client.get(path).content.decode()
    assert workspace.next_item(reviewer=reviewer) is not None
    assert "data-heat-video" not in review_client.get(path).content.decode()
    assert "data-heat-video" not in review_client.get(
        reverse("admin:detection_video_change", args=(rows.no_face().pk,))
    ).content.decode()  # fmt: skip
