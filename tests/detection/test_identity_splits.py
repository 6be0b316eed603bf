"""Sides: nobody on two of them, official test videos never train, and a set that is one family can still be judged."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from detection.models import Split
from detection.services.learning.identity_splits import LinkedVideo, assign_identity_splits, components
from ml.data.splits import HOLDOUT, TRAIN, VAL, assign_splits

names = st.integers(0, 15).map("p{}".format)
videos_strategy = st.lists(
    st.builds(
        LinkedVideo,
        identity=names,
        donor=st.one_of(st.just(""), names),
        shot=st.one_of(st.just(""), st.integers(0, 4).map("shot {}".format)),
        dataset=st.sampled_from(["one", "two"]),
        label=st.sampled_from(["real", "fake"]),
        official=st.sampled_from(["", "", "train", "val", "test"]),
    ),
    min_size=1,
    max_size=60,
)


def deal(units: object, strata: object, fixed: object) -> list[str]:
    return assign_splits(units, strata, fixed=fixed, seed=0)  # type: ignore[arg-type]


@settings(deadline=None)  # a busy machine is no fault
@given(videos=videos_strategy, settled=st.dictionaries(names, st.sampled_from(["train", "val", "holdout"]), max_size=8))
def test_no_person_donor_or_near_duplicate_stands_on_two_sides(
    videos: list[LinkedVideo], settled: dict[str, str]
) -> None:
    side_of, sides = assign_identity_splits(videos, settled, deal)
    for video, side in zip(videos, sides, strict=True):
        if side is not None:
            assert {side_of[name] for name in video.names} == {side}
            assert video.official != "test" or side == "holdout"
    kept = [video for video, side in zip(videos, sides, strict=True) if side is not None]
    component = components(video.names for video in kept)
    side_of_component: dict[str, str] = {}
    for video in kept:
        for name in video.names:
            assert side_of_component.setdefault(component[name], side_of[name]) == side_of[name]
    for name, side in settled.items():  # for good
        assert side_of.get(name, side) == side


@settings(deadline=None)  # a busy machine is no fault
@given(videos=videos_strategy, more=videos_strategy)
def test_who_was_dealt_stays_when_more_videos_come(videos: list[LinkedVideo], more: list[LinkedVideo]) -> None:
    before, _ = assign_identity_splits(videos, {}, deal)
    after, _ = assign_identity_splits([*videos, *more], before, deal)
    assert {name: after[name] for name in before} == before


def test_a_set_in_which_everybody_lends_a_face_to_everybody_still_has_a_holdout_with_fakes() -> None:
    people = [f"id{i}" for i in range(40)]
    videos = [LinkedVideo(name, "", "", "celeb", "real", "") for name in people for _ in range(4)]
    videos += [LinkedVideo(a, b, "", "celeb", "fake", "") for i, a in enumerate(people) for b in people[i + 1 : i + 9]]
    _, sides = assign_identity_splits(videos, {}, deal)
    counts = Counter((side, video.label) for video, side in zip(videos, sides, strict=True))
    for side in ("train", "val", "holdout"):
        assert counts[side, "real"] > 0
        assert counts[side, "fake"] > 0
    assert counts[None, "real"] == 0  # only fakes that would join two sides are left out


def test_a_pair_of_people_is_dealt_as_one_and_official_lists_are_honoured() -> None:
    videos = [
        LinkedVideo("ff1", "ff2", "", "ffpp", "fake", "train"),
        LinkedVideo("ff2", "", "", "ffpp", "real", "train"),
        LinkedVideo("ff3", "ff4", "", "ffpp", "fake", "test"),
        LinkedVideo("ff4", "", "", "ffpp", "real", ""),
        LinkedVideo("ff5", "", "", "ffpp", "real", "val"),
    ]
    _, sides = assign_identity_splits(videos, {}, deal)
    assert sides == ["train", "train", "holdout", "holdout", "val"]


def test_an_official_test_video_of_somebody_who_trains_already_is_left_out() -> None:
    videos = [LinkedVideo("id1", "", "", "celeb", "real", "test"), LinkedVideo("id1", "", "", "celeb", "real", "")]
    _, sides = assign_identity_splits(videos, {"id1": "train"}, deal)
    assert sides == [None, "train"]


def test_a_copy_without_its_test_list_is_judged_on_the_validation_list() -> None:
    videos = [LinkedVideo(f"ff{i}", "", "", "ffpp", "real", "val" if i < 3 else "train") for i in range(10)]
    _, sides = assign_identity_splits(videos, {}, deal)
    assert sides == ["holdout"] * 3 + ["train"] * 7


def test_the_names_of_the_splits_are_the_same_in_the_database_and_in_training() -> None:
    assert Split.values == [TRAIN, VAL, HOLDOUT]
