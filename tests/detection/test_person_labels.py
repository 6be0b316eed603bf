"""Answers for people: what follows for the video, who decides the verdict, and what takes it back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

from detection.errors import Refused
from detection.models import AuditEntry, ModelVersion, Review, ReviewRole, Stage, Verdict, Video, WebhookDelivery
from detection.selectors.people import are_the_same
from detection.services.jobs import analyses, webhook_deliveries
from detection.services.jobs.results import ClassificationResult
from detection.services.learning import rescoring
from detection.services.ops import retention
from detection.services.reviews import gold
from detection.services.reviews.consensus import Answer, settle, video_label
from detection.services.reviews.people import PeopleAnswer
from detection.services.reviews.reviews import Reading, record_review, undo_review
from tests.detection.conftest import claimed, extraction

pytestmark = pytest.mark.django_db
POSTER = {0: "not_a_person", 1: "real"}


@pytest.fixture
def people(db: None) -> dict[str, User]:
    made = {name: User.objects.create_user(name) for name in ("ada", "bo", "senior")}
    for name, user in made.items():
        user.groups.add(Group.objects.get(name="senior_reviewer" if name == "senior" else "reviewer"))
    return made


def scored(model: ModelVersion, *scores: float) -> ClassificationResult:
    """A verdict on as many people, by a model that is trusted; each has ten faces."""
    top = max(range(len(scores)), key=lambda track: scores[track])
    return ClassificationResult(
        model_version_id=model.id,
        label="fake" if scores[top] >= 0.5 else "real",
        fake_probability=scores[top],
        threshold=0.5,
        track=top,
        people=[
            {"track": track, "fake_probability": score, "frames": [{"face": f"{track} {k}"} for k in range(10)]}
            for track, score in enumerate(scores)
        ],
        needs_review=False,
    )


def analysed(video: Video, model: ModelVersion, tmp_path: Path, *scores: float) -> Video:
    analysis = analyses.queue_analysis(video=video, reuse_faces=False)
    analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path, tracks=len(scores)))
    analyses.finish_classification(claim=claimed(analysis, Stage.CLASSIFY), result=scored(model, *scores))
    video.refresh_from_db()
    return video


@pytest.fixture
def judged(video: Video, model: ModelVersion, tmp_path: Path) -> Video:
    """The person on the poster, 0, looks forged; 1 does not.  Nobody is drawn for a second reading."""
    webhook_deliveries.register(owner=video.owner, url="https://example.org/hook")
    Video.objects.update(audit_rank=0)
    return analysed(video, model, tmp_path, 0.9, 0.2)


def say(who: User, video: Video, label: str = "", of: dict[int, str] | None = None, role: str = "") -> Review:
    answer = None if of is None else PeopleAnswer(of)
    return record_review(video=video, reviewer=who, label=label, reading=Reading(role=role), people=answer)


def stands(video: Video) -> tuple[str, Any, str, str, float]:
    video.refresh_from_db()
    assert video.current_verdict is not None
    verdict = video.current_verdict
    assert (video.verdict_label, video.fake_probability) == (verdict.label, verdict.fake_probability)
    return video.label, video.person_labels, video.review_next, verdict.label, verdict.fake_probability


def told() -> list[tuple[str, str, str | None]]:
    rows = WebhookDelivery.objects.exclude(event="task.finished").order_by("created_at")
    bodies = [json.loads(row.body) for row in rows]
    return [(body["type"], body["data"]["verdict"]["label"], body["data"]["label"]) for body in bodies]


def recorded() -> list[tuple[str, str, dict[str, Any]]]:
    rows = AuditEntry.objects.filter(subject__startswith="video:").order_by("number")
    return [(row.action, row.actor, row.facts) for row in rows]


# --- what follows for the video --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ({"0": "fake"}, "fake"),
        ({"0": "real", "1": "fake"}, "fake"),
        ({"0": "unsure", "1": "fake"}, "fake"),
        ({"0": "real"}, ""),
        ({}, ""),
        ({"0": "real", "1": "real"}, "real"),
        ({"0": "real", "1": "not_a_person"}, "real"),
        ({"0": "real", "1": "unsure"}, "unsure"),
        ({"0": "not_a_person", "1": "unsure"}, "unsure"),
        ({"0": "not_a_person", "1": "not_a_person"}, "no_face"),
    ],
)
def test_the_videos_label_follows_from_its_people(said: dict[str, str], label: str) -> None:
    assert video_label(said, {"0", "1"}) == label


def test_an_answer_for_people_is_kept_to_the_last_field(judged: Video, people: dict[str, User]) -> None:
    row = say(people["ada"], judged, of={1: "real", 0: "fake"})
    row.refresh_from_db()
    assert (row.label, row.people, row.people_version) == ("fake", {"0": "fake", "1": "real"}, None)
    assert stands(judged) == ("fake", {"0": "fake", "1": "real"}, "", "fake", 0.9)
    assert recorded() == []


@pytest.mark.parametrize(
    ("label", "of", "version", "code"),
    [
        ("", {2: "fake"}, None, "unknown_person"),
        ("", {0: "no_face"}, None, "invalid_person_label"),
        ("", {0: "real"}, None, "incomplete_people"),
        ("", {}, None, "invalid_label"),
        ("real", {0: "fake"}, None, "label_contradicts_people"),
        ("real", {0: "unsure"}, None, "label_contradicts_people"),
        ("no_face", {0: "real"}, None, "label_contradicts_people"),
        ("fake", {0: "real", 1: "real"}, None, "label_contradicts_people"),
        ("no_such", {0: "fake"}, None, "invalid_label"),
        ("", {0: "fake"}, 1, "people_changed"),
    ],
)
def test_what_cannot_be_is_refused(
    judged: Video, people: dict[str, User], label: str, of: dict[int, str], version: int | None, code: str
) -> None:
    with pytest.raises(Refused) as refusal:
        record_review(video=judged, reviewer=people["ada"], label=label, people=PeopleAnswer(of, version))
    assert refusal.value.code == code
    assert not Review.objects.exists()


def test_some_of_the_people_will_do_with_a_label_for_the_video(judged: Video, people: dict[str, User]) -> None:
    assert say(people["ada"], judged, "fake", of={1: "real"}).people == {"1": "real"}
    assert say(people["ada"], judged, "real", of={0: "not_a_person"}).people == {"0": "not_a_person"}


# --- who decides the verdict -----------------------------------------------------------------------------------------


def test_who_is_no_person_no_longer_decides_and_undo_brings_them_back(judged: Video, people: dict[str, User]) -> None:
    row = say(people["ada"], judged, of=POSTER)
    assert stands(judged) == ("real", {"0": "not_a_person", "1": "real"}, "", "real", 0.2)
    verdict = Verdict.objects.get()
    assert (verdict.left_out, verdict.track, verdict.needs_review) == ([0], 1, False)
    assert verdict.with_everybody == {
        "label": "fake", "fake_probability": 0.9, "track": 0, "needs_review": False, "review_reasons": [],
        "assessment": "",
    }  # fmt: skip
    assert row.model_probability == 0.9
    assert judged.margin == pytest.approx(0.3)
    undo_review(review=row, by=people["ada"])
    assert stands(judged) == ("", None, "", "fake", 0.9)
    verdict = Verdict.objects.get()
    assert (verdict.left_out, verdict.with_everybody, verdict.track) == (None, None, 0)
    facts = {"tracks": [0], "with_everybody": "fake"}
    assert recorded() == [
        ("person_left_out", "ada", facts | {"verdict": "real"}),
        ("person_counted", "ada", facts | {"verdict": "fake"}),
    ]
    assert told() == [("verdict.overruled", "fake", "real"), ("verdict.reinstated", "fake", None)]


def test_one_who_turns_the_verdict_is_read_again_before_anybody_is_told(judged: Video, people: dict[str, User]) -> None:
    say(people["ada"], judged, of={0: "not_a_person", 1: "unsure"}, role=ReviewRole.FIRST)
    assert stands(judged) == ("unsure", {"0": "not_a_person", "1": "unsure"}, "second", "real", 0.2)
    assert told() == []
    say(people["bo"], judged, of={0: "not_a_person", 1: "unsure"}, role=ReviewRole.SECOND)
    assert stands(judged)[2] == ""
    assert told() == [("verdict.overruled", "fake", "real")]


def test_readers_who_see_a_person_differently_leave_it_to_a_senior(judged: Video, people: dict[str, User]) -> None:
    say(people["ada"], judged, of=POSTER)
    say(people["bo"], judged, of={0: "real", 1: "real"})
    # both call the video real, and still they differ
    assert stands(judged) == ("real", {"0": "unsure", "1": "real"}, "adjudicate", "fake", 0.9)
    assert told()[-1] == ("verdict.reinstated", "fake", None)
    settled = say(people["senior"], judged, of=POSTER, role=ReviewRole.ADJUDICATION)
    assert stands(judged) == ("real", {"0": "not_a_person", "1": "real"}, "", "real", 0.2)
    undo_review(review=settled, by=people["senior"])
    assert stands(judged)[2] == "adjudicate"


def test_of_whom_nothing_is_said_nobody_differs() -> None:
    apart, whole = Answer("a", "fake", "", {"0": "fake", "1": "real"}), Answer("b", "fake", "")
    assert settle([apart, whole]).people == {"0": "fake", "1": "real"}
    swapped = settle([apart, Answer("b", "fake", "", {"0": "real", "1": "fake"})])
    assert (swapped.label, swapped.disputed, swapped.people) == ("fake", True, {"0": "unsure", "1": "unsure"})
    unsure = settle([apart, Answer("b", "fake", "", {"0": "fake", "1": "unsure"})])
    assert (unsure.disputed, unsure.people) == (False, {"0": "fake", "1": "real"})


def test_an_owners_opinion_and_a_check_leave_nobody_out(judged: Video, people: dict[str, User]) -> None:
    say(judged.owner, judged, of=POSTER)
    say(people["bo"], judged, of=POSTER, role=ReviewRole.GOLD)
    assert stands(judged) == ("", None, "", "fake", 0.9)


def test_the_same_label_again_keeps_what_was_said_of_people_and_another_does_not(
    judged: Video, people: dict[str, User]
) -> None:
    say(people["ada"], judged, of=POSTER)
    assert say(people["ada"], judged, "real").people == {"0": "not_a_person", "1": "real"}
    assert say(people["ada"], judged, "real", of={}).people is None
    assert stands(judged) == ("real", None, "", "fake", 0.9)
    say(people["ada"], judged, of=POSTER)
    assert say(people["ada"], judged, "fake").people is None


def test_a_known_answer_keeps_what_is_settled_of_people(judged: Video, people: dict[str, User]) -> None:
    say(people["ada"], judged, of=POSTER)
    row = gold.set_gold(video=judged, label="real", reason="I hung it there", by=people["senior"])
    assert row.people == {"0": "not_a_person", "1": "real"}
    assert stands(judged)[3] == "real"
    assert gold.set_gold(video=judged, label="fake", reason="no", by=people["senior"]).people is None
    assert stands(judged) == ("fake", None, "", "fake", 0.9)


# --- other faces, other models ---------------------------------------------------------------------------------------


def test_a_new_analysis_that_finds_the_same_people_keeps_what_was_said(
    judged: Video, model: ModelVersion, people: dict[str, User], tmp_path: Path
) -> None:
    say(people["ada"], judged, of=POSTER)
    analysed(judged, model, tmp_path, 0.8, 0.3)
    assert stands(judged) == ("real", {"0": "not_a_person", "1": "real"}, "", "real", 0.3)
    assert judged.people_version is None
    verdict = Verdict.objects.get()
    assert verdict.with_everybody is not None
    assert verdict.with_everybody["fake_probability"] == 0.8


def test_where_the_people_are_others_nothing_was_said_of_them(
    judged: Video, model: ModelVersion, people: dict[str, User], tmp_path: Path
) -> None:
    row = say(people["ada"], judged, of=POSTER)
    analysed(judged, model, tmp_path, 0.8, 0.3, 0.1)
    assert stands(judged) == ("real", None, "", "fake", 0.8)
    assert (judged.people_version, row.people_of(judged)) == (1, None)
    with pytest.raises(Refused, match="looked for anew"):
        record_review(video=judged, reviewer=people["ada"], people=PeopleAnswer({0: "fake"}, version=0))
    answer = PeopleAnswer({0: "fake"}, version=1)
    assert record_review(video=judged, reviewer=people["ada"], people=answer).people_version == 1


def test_of_people_whose_pictures_were_removed_nothing_holds_for_those_of_a_new_look(
    judged: Video, model: ModelVersion, people: dict[str, User], tmp_path: Path, settings: Any
) -> None:
    row = say(people["ada"], judged, of=POSTER)
    settings.DFD_KEEP_CROPS_DAYS, settings.DFD_KEEP_LABELLED = 5, False
    Video.objects.update(created_at=timezone.now() - timedelta(days=10))
    assert retention.apply().crops == 1
    assert stands(judged)[3:] == ("real", 0.2)  # the verdict stays as it was, and so does what it was told
    analysed(judged, model, tmp_path, 0.2, 0.9)  # the other way round: now 1 is the poster
    assert stands(judged) == ("real", None, "", "fake", 0.9)
    assert (judged.people_version, row.people_of(judged)) == (1, None)
    with pytest.raises(Refused, match="looked for anew"):
        record_review(video=judged, reviewer=people["ada"], people=PeopleAnswer({0: "fake"}, version=0))


def test_faces_are_the_same_peoples_by_number_and_place(judged: Video) -> None:
    faces = list(judged.faces.order_by("track", "position"))
    assert are_the_same(faces, faces)
    assert not are_the_same(faces, [face for face in faces if face.track == 0])
    moved = list(judged.faces.order_by("track", "position"))
    for face in moved:
        if face.track == 1:
            face.x1, face.x2 = face.x1 + 60, face.x2 + 60
    assert not are_the_same(faces, moved)


def test_another_models_verdict_is_without_them_too_and_an_earlier_one_when_it_is_shown_again(
    judged: Video, model: ModelVersion, people: dict[str, User]
) -> None:
    row = say(people["ada"], judged, of=POSTER)
    ids = {face.track: [] for face in judged.faces.all()}  # type: dict[int, list[str]]
    for face in judged.faces.order_by("track", "position"):
        ids[face.track].append(str(face.pk))

    def on_faces(result: ClassificationResult) -> ClassificationResult:
        return replace(
            result,
            people=[person | {"frames": [{"face": key} for key in ids[person["track"]]]} for person in result.people],
        )

    later = ModelVersion.objects.create(name="later", sha256="b" * 64, file="models/l.safetensors", threshold=0.5)

    def activate(version: ModelVersion) -> None:
        ModelVersion.objects.update(active=False)
        ModelVersion.objects.filter(pk=version.pk).update(active=True)

    def rescored(version: ModelVersion, *scores: float) -> None:
        activate(version)
        batch = rescoring.next_batch(model=version, size=10)
        results = [(one, None if one.verdict else on_faces(scored(version, *scores))) for one in batch]
        assert rescoring.store_verdicts(model=version, results=results) == 1

    rescored(later, 0.95, 0.1)
    assert stands(judged)[3:] == ("real", 0.1)
    undo_review(review=row, by=people["ada"])
    assert stands(judged)[3:] == ("fake", 0.95)
    say(people["ada"], judged, of=POSTER)
    rescored(model, 0.7, 0.4)  # the first verdict was on faces of no name: it is replaced
    assert stands(judged)[3:] == ("real", 0.4)
    say(people["ada"], judged, "fake")
    rescored(later)
    assert stands(judged)[3:] == ("fake", 0.95)
    say(people["ada"], judged, of=POSTER)
    rescored(model)  # shown again as it is stored, but for who counts by now
    assert stands(judged)[3:] == ("real", 0.4)
