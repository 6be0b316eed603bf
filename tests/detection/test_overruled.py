"""Webhooks hear when people contradict the verdict that was told to them, and when they take that back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User

from detection.models import DatasetVideo, ModelVersion, ReviewRole, Stage, Video, Webhook, WebhookDelivery
from detection.services.jobs import analyses, webhook_deliveries
from detection.services.learning import rescoring
from detection.services.reviews.reviews import Reading, record_review, undo_review
from tests.detection.conftest import claimed, extraction, verdict

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(db: None) -> dict[str, User]:
    made = {name: User.objects.create_user(name) for name in ("ada", "bo", "senior")}
    for name, user in made.items():
        user.groups.add(Group.objects.get(name="senior_reviewer" if name == "senior" else "reviewer"))
    return made


@pytest.fixture
def hook(video: Video) -> Webhook:
    return webhook_deliveries.register(owner=video.owner, url="https://example.org/hook")


@pytest.fixture
def judged(video: Video, hook: Webhook, model: ModelVersion, tmp_path: Path) -> Video:
    """`hook` was told that it is fake; nobody is drawn for a second reading."""
    Video.objects.update(audit_rank=0)
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
    analyses.finish_classification(claim=claimed(analysis, Stage.CLASSIFY), result=verdict(model, 0.9))
    return video


def say(who: User, video: Video, label: str, role: str = ReviewRole.LIST) -> Any:
    return record_review(video=video, reviewer=who, label=label, reading=Reading(role=role))


def told() -> list[tuple[str, str | None]]:
    """(event, label) of what was sent after the verdict, in order."""
    rows = WebhookDelivery.objects.exclude(event="task.finished").order_by("created_at")
    return [(row.event, json.loads(row.body)["data"]["label"]) for row in rows]


def test_a_settled_label_that_contradicts_the_verdict_is_told_once(judged: Video, people: dict[str, User]) -> None:
    say(people["ada"], judged, "real")
    say(people["bo"], judged, "real")
    assert told() == [("verdict.overruled", "real")]
    row = WebhookDelivery.objects.get(event="verdict.overruled")
    body = json.loads(row.body)
    assert body["type"] == row.event
    assert body["data"] == {
        "task": str(row.task_id),
        "video": str(judged.id),
        "external_id": "",
        "verdict": {"label": "fake", "fake_probability": 0.9, "threshold": 0.5, "assessment": "", "model_version": "m"},
        "label": "real",
    }


@pytest.mark.parametrize("label", ["fake", "unsure"])
def test_a_label_that_does_not_contradict_is_not_told(judged: Video, people: dict[str, User], label: str) -> None:
    say(people["ada"], judged, label)
    assert told() == []


def test_while_somebody_else_is_to_be_asked_nothing_is_told(judged: Video, people: dict[str, User]) -> None:
    say(people["ada"], judged, "real", ReviewRole.FIRST)  # against the model: a second reader is wanted
    assert told() == []
    say(people["bo"], judged, "no_face", ReviewRole.SECOND)  # they differ
    assert told() == []
    say(people["senior"], judged, "no_face", ReviewRole.ADJUDICATION)
    assert told() == [("verdict.overruled", "no_face")]


def test_what_is_taken_back_is_told(judged: Video, people: dict[str, User]) -> None:
    review = say(people["ada"], judged, "real")
    undo_review(review=review, by=people["ada"])
    say(people["senior"], judged, "no_face", ReviewRole.ADJUDICATION)
    say(people["senior"], judged, "real", ReviewRole.ADJUDICATION)
    say(people["senior"], judged, "fake", ReviewRole.ADJUDICATION)
    assert told() == [
        ("verdict.overruled", "real"),
        ("verdict.reinstated", None),
        ("verdict.overruled", "no_face"),
        ("verdict.overruled", "real"),
        ("verdict.reinstated", "fake"),
    ]


def test_an_owners_opinion_overrules_nothing(judged: Video) -> None:
    say(judged.owner, judged, "real")
    assert told() == []


def test_only_webhooks_that_were_told_the_verdict_hear_of_it(
    judged: Video, hook: Webhook, people: dict[str, User]
) -> None:
    webhook_deliveries.register(owner=judged.owner, url="https://example.org/later")
    webhook_deliveries.register(owner=people["ada"], url="https://example.org/other")
    say(people["ada"], judged, "real")
    assert WebhookDelivery.objects.get(event="verdict.overruled").webhook == hook


def test_a_video_without_a_verdict_has_none_that_could_be_overruled(
    video: Video, hook: Webhook, people: dict[str, User]
) -> None:
    say(people["ada"], video, "real")
    assert told() == []


def test_a_data_sets_videos_are_nobodys_to_be_told_of(judged: Video, people: dict[str, User]) -> None:
    DatasetVideo.objects.create(video=judged, dataset="set", path="a.mp4", label="real", identity="a")
    say(people["ada"], judged, "real")
    assert told() == []


def test_it_is_the_verdict_that_was_told_and_not_that_of_a_later_rescoring(
    judged: Video, model: ModelVersion, people: dict[str, User]
) -> None:
    ModelVersion.objects.update(active=False)
    later = ModelVersion.objects.create(
        name="later", sha256="b" * 64, file="models/l.safetensors", threshold=0.5, active=True
    )
    batch = rescoring.next_batch(model=later, size=10)
    assert rescoring.store_verdicts(model=later, results=[(stored, verdict(later, 0.1)) for stored in batch]) == 1
    judged.refresh_from_db()
    assert judged.verdict_label == "real"
    say(people["ada"], judged, "real")
    assert told() == [("verdict.overruled", "real")]


def test_a_review_is_kept_whatever_becomes_of_the_webhooks(
    judged: Video, people: dict[str, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(webhook_deliveries, "_deliver", fail)
    say(people["ada"], judged, "real")
    judged.refresh_from_db()
    assert (judged.label, told()) == ("real", [])
