"""Kappa against scikit-learn's, intervals, and which answers count."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from detection.models import GoldVideo, ModelVersion, Review, Verdict, Video
from detection.selectors import reviewer_agreement as module
from detection.selectors.reviewer_agreement import Share, agreement, kappa
from detection.services.reviews.reviews import Reading, record_review, undo_review

LABELS = ("real", "fake", "no_face", "unsure")


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=60))
def test_kappa_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    found = kappa(pairs)
    if found.value is None:
        assert len({label for pair in pairs for label in pair}) == 1
        return
    theirs = cohen_kappa_score([a for a, _ in pairs], [b for _, b in pairs])
    assert found.value == pytest.approx(theirs, abs=1e-9)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high


def test_kappa_of_nothing_and_of_one_answer_only_is_not_defined() -> None:
    assert kappa([]).value is None
    assert kappa([("real", "real")] * 5).value is None
    assert kappa([("real", "fake"), ("fake", "real")] * 10).value == pytest.approx(-1.0)


def test_wilsons_interval_is_that_of_the_books() -> None:
    low, high = Share(9, 10).interval  # Wilson 1927: 0.596 to 0.982
    assert (round(low, 3), round(high, 3)) == (0.596, 0.982)
    assert Share(0, 0).interval == (0.0, 1.0)


@pytest.fixture
def people(db: None) -> dict[str, User]:
    names = ("ada", "bo", "cy")
    return {name: User.objects.create_superuser(name, password=None) for name in names}


def video(owner: User, number: int) -> Video:
    return Video.objects.create(owner=owner, original_name=f"v{number}", sha256=f"{number:064d}", size_bytes=1)


def say(who: User, what: Video, label: str, role: str, **reading: Any) -> Review:
    reading = {"score_shown": False} | reading
    return record_review(video=what, reviewer=who, label=label, reading=Reading(role=role, **reading))


def test_each_figure_counts_what_it_says(people: dict[str, User]) -> None:
    ada, bo, cy = people.values()
    said = [("real", "real"), ("fake", "fake"), ("fake", "real"), ("real", "real")]
    for number, (first, second) in enumerate(said):
        what = video(ada, number)
        say(ada, what, first, "first", seconds=2.0 + number)
        say(bo, what, second, "second", seconds=10.0)
        if first != second:
            say(cy, what, second, "adjudication")
    seen = video(ada, 10)  # ada had seen the score: no blind pair
    say(ada, seen, "fake", "first", score_shown=True)
    say(bo, seen, "real", "second")
    slip = video(ada, 11)  # taken back: it counts nowhere
    undo_review(review=say(ada, slip, "fake", "first"), by=ada)
    for number, (label, known) in enumerate([("real", "real"), ("fake", "real")], start=20):
        what = video(ada, number)
        GoldVideo.objects.create(video=what, label=known, reason="x", set_by=cy)
        say(ada, what, label, "gold")
    found = agreement(since=timezone.now() - timedelta(days=1))
    mine, theirs = ({reader.name: reader for reader in found.readers}[name] for name in ("ada", "bo"))
    assert found.overall.pairs == said
    assert mine.pairs == said
    assert theirs.pairs == [(b, a) for a, b in said]
    assert mine.kappa.value == pytest.approx(theirs.kappa.value)
    assert (mine.on_gold.hits, mine.on_gold.n, theirs.on_gold.n) == (1, 2, 0)
    assert (mine.overturn.hits, mine.overturn.n) == (1, 1)
    assert (theirs.overturn.hits, theirs.overturn.n) == (0, 1)
    assert (mine.pace, theirs.pace) == (3.5, 10.0)
    assert (mine.answers, theirs.answers) == (7, 5)


def test_a_first_reading_of_before_the_period_still_makes_a_pair(people: dict[str, User]) -> None:
    ada, bo, _ = people.values()
    what = video(ada, 0)
    old = say(ada, what, "real", "first")
    Review.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=9))
    say(bo, what, "fake", "second")
    assert agreement(since=timezone.now() - timedelta(days=1)).overall.pairs == [("real", "fake")]


def test_only_the_newest_answers_are_looked_at(people: dict[str, User], django_assert_num_queries: Any) -> None:
    ada = people["ada"]
    for number in range(6):
        say(ada, video(ada, number), "real", "first")
    with django_assert_num_queries(3):
        found = agreement(since=timezone.now() - timedelta(days=1), most=4)
    assert (found.overall.answers, found.cut) == (4, True)
    assert module.MOST_ROWS >= 4


def of_people(who: User, what: Video, people: dict[str, str], role: str) -> None:
    """An answer for people, as `record_review` would have stored it."""
    label = "fake" if "fake" in people.values() else "real"
    row = say(who, what, label, role)
    QuerySet(Review).filter(pk=row.pk).update(people=people)


def test_people_whom_both_answered_for_are_pairs_of_their_own(people: dict[str, User]) -> None:
    ada, bo, cy = people.values()
    both, whole = video(ada, 0), video(ada, 1)
    of_people(ada, both, {"0": "fake", "1": "real"}, "first")
    of_people(bo, both, {"0": "real", "1": "fake"}, "second")  # the video is fake to both
    of_people(cy, both, {"0": "fake", "1": "real"}, "adjudication")
    of_people(ada, whole, {"0": "fake", "1": "real"}, "first")
    say(bo, whole, "fake", "second")
    found = agreement(since=timezone.now() - timedelta(days=1))
    assert sorted(found.overall.pairs) == [("fake", "fake"), ("fake", "real"), ("real", "fake")]
    overturned = {reader.name: (reader.overturn.hits, reader.overturn.n) for reader in found.readers}
    assert (overturned["ada"], overturned["bo"]) == ((0, 1), (1, 1))


def test_a_known_answer_knows_people(people: dict[str, User]) -> None:
    ada, bo, cy = people.values()
    what = video(ada, 0)
    GoldVideo.objects.create(video=what, label="fake", people={"0": "fake", "1": "real"}, reason="x", set_by=cy)
    of_people(ada, what, {"0": "fake", "1": "real"}, "gold")
    of_people(bo, what, {"0": "fake", "1": "fake"}, "gold")
    say(cy, what, "fake", "gold")  # only of the whole, and right
    found = {reader.name: reader.on_gold for reader in agreement(since=timezone.now() - timedelta(days=1)).readers}
    assert {name: (share.hits, share.n) for name, share in found.items()} == {"ada": (1, 1), "bo": (0, 1), "cy": (1, 1)}


def test_whether_the_model_agrees_is_asked_of_its_own_verdict(people: dict[str, User]) -> None:
    ada, *_ = people.values()
    what = video(ada, 0)
    model = ModelVersion.objects.create(name="m", sha256="a" * 64, file="m", threshold=0.5)
    verdict = Verdict.objects.create(
        video=what, model_version=model, label="fake", fake_probability=0.9, threshold=0.5, track=0
    )
    Video.objects.filter(pk=what.pk).update(current_verdict=verdict)
    say(ada, what, "real", "first", queue="audit")
    own = {"label": "fake", "fake_probability": 0.9}
    Verdict.objects.update(label="real", fake_probability=0.2, track=1, left_out=[0], with_everybody=own)
    audit = agreement(since=timezone.now() - timedelta(days=1)).audit
    assert (audit.hits, audit.n) == (0, 1)
    # nor is it asked of what the same model says since the video was analysed anew
    Verdict.objects.update(label="real", fake_probability=0.1, left_out=None, with_everybody=None)
    audit = agreement(since=timezone.now() - timedelta(days=1)).audit
    assert (audit.hits, audit.n) == (0, 1)
