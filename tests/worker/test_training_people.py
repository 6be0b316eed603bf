"""A retraining learns from the people whom reviewers answered for, each as what they are, and from nobody beside."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from django.contrib.auth.models import Group, User
from django.core.management import call_command

from detection.models import DatasetVideo, FaceFrame, Snapshot, TrainingRun, Verdict, Video
from detection.services.learning.people_taught import PersonFaces, Taught, sequences_of, taught
from detection.services.learning.snapshots import SnapshotItem, read_snapshot
from detection.services.reviews.people import PeopleAnswer
from detection.services.reviews.reviews import record_review
from ml.config import Label
from ml.data.crop_pack import Pack
from ml.training.sequence_stage import FeatureSequence, margins_by_video
from tests.learning import FACES, add_person, dataset, register_blind, stored_video
from worker.training import snapshot_pack

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]

CASES = (
    ({0: "fake", 1: "real"}, {0: "fake", 1: "real"}),
    ({0: "real", 1: "fake"}, {0: "real", 1: "fake"}),
    ({0: "not_a_person", 1: "fake"}, {1: "fake"}),
    ({0: "unsure", 1: "fake"}, {1: "fake"}),
    ({0: "not_a_person", 1: "real"}, {1: "real"}),
)
"""What is said of two people, and who is to teach, as what, in training."""


@pytest.fixture
def reviewer(db: None) -> User:
    user = User.objects.create_user("ada")
    user.groups.add(Group.objects.get(name="reviewer"))
    return user


def with_two_people(number: int, said: dict[int, str], reviewer: User) -> Video:
    """Whoever is said to be forged has a blue face, everybody else has not."""
    video = stored_video(number, fake=said[0] == "fake")
    add_person(video, 1, seed=1000 * number + 500, fake=said[1] == "fake")
    review = record_review(video=video, reviewer=reviewer, people=PeopleAnswer(said))
    named(video, number, review.label)
    return video


def named(video: Video, number: int, label: str) -> None:
    """People of data sets have names: of uploads all these drawn faces would be taken for one person's."""
    DatasetVideo.objects.create(
        video=video, dataset="lab", path=f"{number}.mp4", label=label, identity=f"named {number}"
    )


def blue(pack: Pack, index: int) -> bool:
    return float(pack.crop(index)[:, :, 2].mean()) > 200


@pytest.mark.slow
def test_ten_videos_with_two_people_teach_exactly_what_was_said_of_them(reviewer: User, tmp_path: Path) -> None:
    dataset(14)
    register_blind(tmp_path)
    said = {with_two_people(100 + k, CASES[k % 5][0], reviewer).pk: CASES[k % 5] for k in range(10)}
    whole = stored_video(200, fake=True)
    add_person(whole, 1, seed=200_500, fake=False)
    record_review(video=whole, reviewer=reviewer, label="fake")
    named(whole, 200, "fake")
    call_command("retrain", "--epochs", "1")

    run = TrainingRun.objects.get()
    assert run.snapshot is not None
    items = {item.video: item for item in read_snapshot(snapshot=run.snapshot)}
    # of everything that was trained and judged on: the run's own pack, made of these items
    pack = snapshot_pack.pack_of(list(items.values()))
    packs = list((snapshot_pack.root() / "packs").glob("*.safetensors"))
    assert pack.path in packs
    found: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for index, row in enumerate(pack.rows):
        found[row.video][int(row.sequence.split("#")[1])].add(row.label)
        assert (row.label == Label.FAKE) == blue(pack, index) or items[row.video].split == "holdout"
    counted: dict[str, int] = defaultdict(int)
    for pk, (answers, teach) in said.items():
        item = items[str(pk)]
        if item.split == "holdout":  # judged as any upload is: by everybody
            wanted = [item.label, item.label]
        elif item.split == "val":
            wanted = [label for label in teach.values() if label == item.label]
        else:
            wanted = list(teach.values())
        labels = [{int(Label[label.upper()])} for label in wanted]
        assert [found[item.video][k] for k in range(len(item.tracks))] == labels, (answers, item.split)
        for label in item.people:
            counted[label] += 1
    assert found[str(whole.pk)] == {0: {int(Label.FAKE)}} or items[str(whole.pk)].split == "holdout"
    assert dict(counted) == Snapshot.objects.get(pk=run.snapshot.pk).summary["by_person"]
    assert sum(len(one) for one in found.values()) * FACES == len(pack)


ONE, TWO, THREE = (PersonFaces(str(track), ((f"{track}.png", 40.0),)) for track in range(3))


@pytest.mark.parametrize(
    ("label", "people", "split", "teach"),
    [
        ("fake", {}, "train", {"0": "fake"}),
        ("real", {}, "train", {"0": "real", "1": "real", "2": "real"}),
        ("fake", {"1": "fake"}, "train", {"1": "fake"}),
        ("fake", {"1": "fake", "2": "real"}, "train", {"1": "fake", "2": "real"}),
        ("fake", {"1": "fake", "2": "real"}, "val", {"1": "fake"}),
        ("fake", {"1": "fake", "2": "real"}, "holdout", {"0": "fake", "1": "fake", "2": "fake"}),
        ("fake", {"0": "real", "1": "real"}, "train", {"0": "real", "1": "real", "2": "fake"}),
        ("fake", {"0": "real", "1": "unsure"}, "train", {"0": "real", "2": "fake"}),
        ("fake", {"0": "real"}, "train", {}),
        ("real", {"1": "not_a_person"}, "train", {"0": "real", "2": "real"}),
        ("real", {"1": "not_a_person"}, "val", {"0": "real", "2": "real"}),
        ("fake", {"0": "unsure", "1": "unsure", "2": "unsure"}, "train", {}),
    ],
)
def test_who_teaches(label: str, people: dict[str, str], split: str, teach: dict[str, str]) -> None:
    found = taught((ONE, TWO, THREE), label, people, split)
    names = {"0.png": "0", "1.png": "1", "2.png": "2"}
    assert {names[faces[0][0]]: own for faces, own in zip(found.tracks, found.labels, strict=True)} == teach


def long(track: int, *margins: float | None) -> list[PersonFaces]:
    """A person in several segments; the margins are what the verdict has in each."""
    return [
        PersonFaces(str(track), ((f"{track}/{segment}.png", 40.0),), segment, margin)
        for segment, margin in enumerate(margins)
    ]


@pytest.mark.parametrize(
    ("people", "teach"),
    [
        ({}, {"0/2": "fake"}),
        ({"1": "fake"}, {"1/1": "fake", "1/2": "fake"}),
        ({"0": "fake", "1": "real"}, {"0/2": "fake", "1/0": "real", "1/1": "real", "1/2": "real"}),
    ],
)
def test_of_a_forged_person_the_segments_teach_that_look_forged(people: dict[str, str], teach: dict[str, str]) -> None:
    sequences = long(0, -0.5, -0.4, -0.2) + long(1, -0.3, 0.1, 0.3)
    found = taught(sequences, "fake", people, "train")
    assert {
        faces[0][0].removesuffix(".png"): own for faces, own in zip(found.tracks, found.labels, strict=True)
    } == teach


def test_what_no_verdict_tells_apart_teaches_as_before() -> None:
    unjudged = long(0, None, None) + long(1, None)
    assert [faces[0][0] for faces in taught(unjudged, "fake", {}, "train").tracks] == ["0/0.png"]
    assert len(taught(unjudged, "fake", {"0": "fake"}, "train").tracks) == 2


def names(found: Taught) -> list[str]:
    return [faces[0][0].removesuffix(".png") for faces in found.tracks]


def test_validation_has_all_segments_of_who_is_forged_and_the_holdout_everybody() -> None:
    sequences = long(0, -0.5, -0.4, -0.2) + long(1, -0.3, 0.1, 0.3)
    for people, kept in (({}, "0/0 0/1 0/2"), ({"1": "fake", "0": "real"}, "1/0 1/1 1/2")):
        found = taught(sequences, "fake", people, "val")
        assert names(found) == kept.split()
        assert (found.segments, set(found.labels)) == ((0, 1, 2), {"fake"})
    everybody = taught(sequences, "fake", {"1": "fake"}, "holdout")
    assert everybody.segments == (0, 1, 2, 0, 1, 2)


def test_a_still_picture_is_judged_only_where_nobody_is_beside_it() -> None:
    poster, alive = PersonFaces("0", (("poster.png", 40.0),), still=True), ONE
    for split in ("val", "holdout"):
        assert names(taught((poster, alive), "real", {}, split)) == ["0"]
        assert names(taught((poster,), "real", {}, split)) == ["poster"]
    assert len(taught((poster, alive), "real", {}, "train").tracks) == 2


def test_the_holdout_scores_a_long_video_as_the_verdict_does(reviewer: User) -> None:
    video = stored_video(1, fake=False)
    late = video.faces.order_by("position")[FACES // 2 :]
    FaceFrame.objects.filter(pk__in=[face.pk for face in late]).update(segment=3)
    item = SnapshotItem(
        video=str(video.pk), sha256="s", label="real", split="holdout", component="c", identity="i", donor="",
        dataset="uploads", path="p", method="", compression="", height=1, labelled_by=(),
        tracks=(one := taught(sequences_of([video])[video.pk], "real", {}, "holdout")).tracks, segments=one.segments,
    )  # fmt: skip
    assert one.segments == (0, 3)
    pack = snapshot_pack.pack_of([item])
    assert {row.sequence[-2:]: row.segment for row in pack.rows} == {"#0": 0, "#1": 3}
    items = [
        FeatureSequence(torch.zeros(1, 1), 0, "uploads", pack.rows[indices[0]]) for indices in pack.sequences().values()
    ]
    (judged,) = margins_by_video(items, np.array([2.0, -1.0]))
    assert judged.segments == {0: 2.0, 3: -1.0}


def test_a_retraining_takes_the_faces_of_the_later_segment(reviewer: User, tmp_path: Path) -> None:
    video = stored_video(1, fake=True)
    calm, forged = {"track": 0, "fake_probability": 0.1}, {"track": 0, "fake_probability": 0.9}
    late = video.faces.order_by("position")[FACES // 2 :]
    FaceFrame.objects.filter(pk__in=[face.pk for face in late]).update(segment=3)
    verdict = Verdict.objects.create(
        video=video, model_version=register_blind(tmp_path), label="fake", fake_probability=0.8, threshold=0.5, track=0,
        people=[], needs_review=False,
        segments=[
            {"segment": 0, "fake_probability": 0.1, "people": [calm]},
            {"segment": 3, "fake_probability": 0.9, "people": [forged]},
        ],
    )  # fmt: skip
    Video.objects.filter(pk=video.pk).update(current_verdict=verdict)
    record_review(video=video, reviewer=reviewer, label="fake")
    named(video, 1, "fake")
    snapshot = snapshot_pack.freeze(seed=0, seen=())
    (item,) = read_snapshot(snapshot=snapshot)
    if item.split == "train":
        assert [[name for name, _ in faces] for faces in item.tracks] == [[str(face.crop.name) for face in late]]
    assert sequences_of([video])[video.pk][1].margin == pytest.approx(0.4)


def test_people_who_were_found_anew_since_teach_nothing_of_before(reviewer: User) -> None:
    kept = with_two_people(1, {0: "real", 1: "fake"}, reviewer)
    other = with_two_people(2, {0: "real", 1: "fake"}, reviewer)
    Video.objects.filter(pk=other.pk).update(people_version=1)
    snapshot = snapshot_pack.freeze(seed=0, seen=())
    assert [item.video for item in read_snapshot(snapshot=snapshot)] == [str(kept.pk)]
    assert snapshot.summary["left_out"] == {"people found anew since they were answered for": 1}


def test_a_line_without_people_is_as_it_was_before_there_were_any() -> None:
    item = SnapshotItem(
        video="v", sha256="s", label="fake", split="train", component="c", identity="i", donor="", dataset="uploads",
        path="p", method="", compression="", height=1, labelled_by=("ada",), tracks=((("a.png", 1.0),),),
    )  # fmt: skip
    assert "people" not in item.to_line()
    assert SnapshotItem.from_line(item.to_line()) == item
    apart = SnapshotItem(**{**item.__dict__, "people": ("real",)})
    assert SnapshotItem.from_line(apart.to_line()) == apart
    assert (item.label_of(0), apart.label_of(0)) == ("fake", "real")
    assert "segments" not in item.to_line()
    later = SnapshotItem(**{**item.__dict__, "segments": (3,)})
    assert SnapshotItem.from_line(later.to_line()) == later
    assert (item.segment_of(0), later.segment_of(0)) == (0, 3)
