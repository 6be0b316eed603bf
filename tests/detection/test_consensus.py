"""Who said it decides what it may decide; and a video's label, its queues, training, exports and retention agree."""

from __future__ import annotations

import uuid
from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from detection.errors import Refused
from detection.models import DatasetVideo, FaceFrame, Review, ReviewNext, ReviewRole, State, Video
from detection.selectors.reviewer_agreement import agreement
from detection.services.learning.labelled_videos import labelled_videos
from detection.services.ops import hourly_stats, retention
from detection.services.reviews import labels, queues, reviews, workspace
from detection.services.reviews.consensus import TEACHING, Answer, settle
from detection.services.reviews.reviews import Reading, record_review, undo_review
from tests.detection.conftest import MakeVideo

REVIEWERS = ("ada", "bo", "cy")


@pytest.fixture
def people(db: None) -> dict[str, User]:
    made = {name: User.objects.create_user(name) for name in (*REVIEWERS, "senior")}
    for name, user in made.items():
        user.groups.add(Group.objects.get(name="senior_reviewer" if name == "senior" else "reviewer"))
    return made


@pytest.fixture
def judged(make_video: MakeVideo) -> Video:
    """A video in every queue for first readers, with stored faces, long ago."""
    video = make_video()
    Video.objects.filter(pk=video.pk).update(
        status=State.SUCCEEDED, needs_review=True, verdict_label="fake", margin=0.1, audit_rank=0, fingerprint="-",
        created_at=timezone.now() - timedelta(days=30),
    )  # fmt: skip
    FaceFrame.objects.create(
        video=video,
        track=0,
        position=0,
        frame_number=0,
        timestamp_s=0,
        x1=0,
        y1=0,
        x2=9,
        y2=9,
        probability=0.9,
        crop="c",
    )
    video.refresh_from_db()
    return video


def say(who: User, video: Video, label: str, role: str = ReviewRole.LIST) -> Review:
    return record_review(video=video, reviewer=who, label=label, reading=Reading(role=role))


def settled(video: Video, people: dict[str, User]) -> None:
    say(people["ada"], video, "fake", ReviewRole.FIRST)
    say(people["bo"], video, "real", ReviewRole.SECOND)
    say(people["senior"], video, "fake", ReviewRole.ADJUDICATION)


def stands(video: Video) -> tuple[str, str]:
    video.refresh_from_db()
    return video.label, video.review_next


def waiting(video: Video) -> set[str]:
    return {
        queue
        for queue in queues.QUEUES
        if any(part.filter(pk=video.pk).exists() for part in queues.queue_parts(queue=queue, reviewer=None))
    }


def taught(video: Video) -> str | None:
    """The label that the next snapshot would teach, if any."""
    return next((one.label for one in labelled_videos()[0] if one.video.pk == video.pk), None)


def test_an_owners_opinion_leaves_the_video_where_it_was(judged: Video, people: dict[str, User]) -> None:
    owner, before = judged.owner, waiting(judged)
    assert {"uncertain", "audit"} <= before
    opinion = say(owner, judged, "real")
    assert opinion.role == ReviewRole.OPINION
    assert stands(judged) == ("", ReviewNext.NOBODY)
    assert waiting(judged) == before
    assert taught(judged) is None
    assert workspace.next_item(reviewer=people["ada"], queue="uncertain") is not None
    say(people["bo"], judged, "fake")
    assert stands(judged) == ("fake", ReviewNext.NOBODY)
    say(owner, judged, "real")
    assert stands(judged) == ("fake", ReviewNext.NOBODY)
    assert taught(judged) == "fake"


def test_an_owners_opinion_keeps_no_crops_and_is_in_nobodys_figures(
    judged: Video, people: dict[str, User], settings: object
) -> None:
    settings.DFD_KEEP_CROPS_DAYS = 7  # type: ignore[attr-defined]
    settings.DFD_KEEP_LABELLED = True  # type: ignore[attr-defined]
    Video.objects.filter(pk=judged.pk).update(needs_review=False)
    say(judged.owner, judged, "real")
    assert [video.pk for video in retention.due_crops()] == [judged.pk]
    hour = timezone.now() - timedelta(minutes=1)
    assert hourly_stats.figures(hour, timezone.now() + timedelta(minutes=1))["answers"] == 0
    assert agreement(since=hour).readers == ()
    assert list(labels.video_rows()) == []
    assert [(row["role"], row["counts"]) for row in labels.review_rows()] == [("opinion", "no")]
    say(people["ada"], judged, "real")
    assert list(retention.due_crops()) == []


def test_an_owner_who_reviews_is_a_reviewer(judged: Video) -> None:
    judged.owner.groups.add(Group.objects.get(name="reviewer"))
    say(User.objects.get(pk=judged.owner_id), judged, "real")
    assert stands(judged)[0] == "real"


def test_an_adjudication_is_overturned_by_a_senior_only(judged: Video, people: dict[str, User]) -> None:
    settled(judged, people)
    assert stands(judged) == ("fake", ReviewNext.NOBODY)
    for name in ("cy", "ada"):
        assert say(people[name], judged, "real").role == ReviewRole.LIST
        assert stands(judged) == ("fake", ReviewNext.NOBODY)
    say(judged.owner, judged, "real")
    assert stands(judged) == ("fake", ReviewNext.NOBODY)
    (claimed,) = workspace.open_sheet(reviewer=people["cy"], queue="uncertain", chosen=[judged.pk])
    batch = uuid.uuid4()
    workspace.answer_sheet(reviewer=people["cy"], tokens=[claimed.token], label="real", confirmed=1, batch_id=batch)
    assert stands(judged) == ("fake", ReviewNext.NOBODY)
    assert taught(judged) == "fake"
    last = say(people["senior"], judged, "real")  # from a list: it is an adjudication all the same
    assert last.role == ReviewRole.ADJUDICATION
    assert (*stands(judged), taught(judged)) == ("real", ReviewNext.NOBODY, "real")
    undo_review(review=last, by=people["senior"])
    assert stands(judged) == ("fake", ReviewNext.NOBODY)


def test_who_may_not_settle_does_not_settle(judged: Video, people: dict[str, User]) -> None:
    settled(judged, people)
    with pytest.raises(Refused, match="settles disagreements"):
        say(people["ada"], judged, "real", ReviewRole.ADJUDICATION)
    people["senior"].groups.set([Group.objects.get(name="reviewer")])
    demoted = User.objects.get(username="senior")
    with pytest.raises(Refused, match="settles disagreements"):
        undo_review(review=Review.objects.get(role=ReviewRole.ADJUDICATION), by=demoted)
    assert stands(judged) == ("fake", ReviewNext.NOBODY)


def test_while_reviewers_differ_the_label_is_unsure_and_teaches_nothing(judged: Video, people: dict[str, User]) -> None:
    say(people["ada"], judged, "fake")
    say(people["bo"], judged, "real")
    assert (*stands(judged), taught(judged)) == ("unsure", ReviewNext.ADJUDICATE, None)
    assert [(row["label"], row["disputed"]) for row in labels.video_rows()] == [("unsure", "yes")]
    say(people["senior"], judged, "real", ReviewRole.ADJUDICATION)
    assert (*stands(judged), taught(judged)) == ("real", ReviewNext.NOBODY, "real")
    (row,) = labels.video_rows()
    assert (row["label"], row["disputed"], row["reviewers"]) == ("real", "no", "senior")


def test_a_reviewer_and_a_data_set_that_differ_wait_for_a_senior(judged: Video, people: dict[str, User]) -> None:
    DatasetVideo.objects.create(
        video=judged, dataset="lab", path="fake/1.mp4", label="fake", identity="1", method="Deepfakes"
    )
    say(people["ada"], judged, "real")
    assert (*stands(judged), taught(judged)) == ("unsure", ReviewNext.ADJUDICATE, None)
    say(people["senior"], judged, "real", ReviewRole.ADJUDICATION)
    assert (*stands(judged), taught(judged)) == ("real", ReviewNext.NOBODY, "real")


ANSWERS = st.lists(
    st.tuples(
        st.sampled_from((*REVIEWERS, "senior", "owner")),
        st.sampled_from(("real", "fake", "no_face", "unsure")),
        st.sampled_from(("list", "adjudicate", "undo")),
    ),
    max_size=7,
)


@given(answers=ANSWERS, dataset_label=st.sampled_from(("", "real", "fake")))
def test_the_label_and_what_teaches_are_one(answers: list[tuple[str, str, str]], dataset_label: str) -> None:
    """Whatever is said by whom in which order: shown, taught, exported and kept is the same label."""
    rows = [
        Answer(who, label, ReviewRole.ADJUDICATION if who == "senior" and how == "adjudicate" else ReviewRole.LIST)
        for who, label, how in answers
        if who != "owner"
    ]
    consensus = settle(rows, dataset_label=dataset_label)
    final = [row for row in rows if row.role == ReviewRole.ADJUDICATION]
    if final:
        assert consensus.label == final[-1].label
    elif consensus.label in TEACHING:
        newest = {row.reviewer: row.label for row in rows}
        assert set(newest.values()) - {"unsure"} | ({dataset_label} - {""}) == {consensus.label}
    assert (consensus.label == "") is (not rows and not dataset_label)


@pytest.mark.parametrize("seed", range(12))
def test_every_reader_of_labels_says_what_the_row_says(
    judged: Video, people: dict[str, User], settings: object, seed: int
) -> None:
    import random

    settings.DFD_KEEP_CROPS_DAYS = 7  # type: ignore[attr-defined]
    settings.DFD_KEEP_LABELLED = True  # type: ignore[attr-defined]
    draw = random.Random(seed)
    everybody = [*people.values(), judged.owner]
    for _ in range(6):
        who = draw.choice(everybody)
        role = ReviewRole.ADJUDICATION if who.username == "senior" and draw.random() < 0.5 else ReviewRole.LIST
        row = say(who, judged, draw.choice(("real", "fake", "no_face", "unsure")), role)
        if draw.random() < 0.2:
            undo_review(review=row, by=who)
        label, turn = stands(judged)
        assert taught(judged) == (label if label in TEACHING else None)
        assert [entry["label"] for entry in labels.video_rows()] == ([label] if label else [])
        assert retention.due_crops().filter(pk=judged.pk).exists() is (label not in TEACHING)
        assert reviews.consensus_of(judged).label == label
        assert ("uncertain" in waiting(judged)) is (label == "")
        assert turn != ReviewNext.ADJUDICATE or label == "unsure"


@pytest.mark.parametrize("upgrade", ["migration", "catch_up"])
def test_an_upgrade_takes_back_what_owners_decided(judged: Video, people: dict[str, User], upgrade: str) -> None:
    """As the version before left it: the newest answer was the label, whoever gave it."""
    settled(judged, people)
    reviewer_owned = Video.objects.create(owner=people["ada"], original_name="x", sha256="f" * 64, size_bytes=1)
    for video in (judged, reviewer_owned):
        Review.objects.create(video=video, reviewer=video.owner, label="real", role=ReviewRole.LIST)
        Video.objects.filter(pk=video.pk).update(label="real")
    if upgrade == "migration":
        import_module("detection.migrations.0020_opinions").separate_opinions(apps, None)
    else:
        assert reviews.catch_up() == 1
    assert stands(judged) == ("fake", ReviewNext.NOBODY)
    assert stands(reviewer_owned)[0] == "real"
    assert Review.objects.get(video=judged, reviewer=judged.owner).role == ReviewRole.OPINION
    assert Review.objects.get(video=reviewer_owned).role == ReviewRole.LIST
