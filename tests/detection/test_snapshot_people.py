"""One person in many uploads is one group: stored face prints are asked when a snapshot is dealt."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from detection.models import DatasetVideo, FaceFrame, IdentitySide, Print, PrintKind, Video
from detection.selectors.near_duplicates import bands_of
from detection.services.learning.linked_videos import NEAR_FACE_BITS
from detection.services.learning.snapshots import SnapshotItem, freeze_snapshot, read_snapshot
from detection.services.reviews.reviews import record_review
from ml.data.splits import assign_splits
from tests.detection.conftest import MakeVideo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state")]


@pytest.fixture
def reviewer(db: None) -> User:
    user = User.objects.create_user("ada")
    user.groups.add(Group.objects.get(name="reviewer"))
    return user


def flipped(bits: str, count: int, rng: random.Random) -> str:
    """The print with `count` of its bits turned: the same face in another compression."""
    value = int(bits, 16)
    for place in rng.sample(range(256), count):
        value ^= 1 << place
    return f"{value:064x}"


def labelled(make_video: MakeVideo, reviewer: User, number: int, *faces: str, fake: bool = False) -> Video:
    """A video with a scene of its own, stored faces with these prints, and a reviewer's answer."""
    video = make_video()
    scene = f"{random.Random(f'scene {number}').getrandbits(256):064x}"
    sha256 = hashlib.sha256(f"content {number}".encode()).hexdigest()
    Video.objects.filter(pk=video.pk).update(sha256=sha256, fingerprint=scene)
    prints = [(PrintKind.PICTURE, 0, scene), *((PrintKind.FACE, track, bits) for track, bits in enumerate(faces))]
    for kind, track, bits in prints:
        Print.objects.create(video=video, kind=kind, track=track, bits=bits, **bands_of(bits))
    FaceFrame.objects.create(
        video=video, track=0, position=0, frame_number=0, timestamp_s=0, x1=0, y1=0, x2=40, y2=50, probability=0.99,
        crop=f"{number}.png",
    )  # fmt: skip
    record_review(video=video, reviewer=reviewer, label="fake" if fake else "real")
    return video


def dealt(units: Sequence[str], strata: Sequence[Any], fixed: Mapping[str, str]) -> list[str]:
    return assign_splits(units, strata, fixed=fixed, seed=0)


def frozen() -> dict[str, SnapshotItem]:
    return {item.video: item for item in read_snapshot(snapshot=freeze_snapshot(assign=dealt))}


def test_uploads_of_one_person_are_one_group_on_one_side(make_video: MakeVideo, reviewer: User) -> None:
    rng = random.Random(1)
    face = f"{rng.getrandbits(256):064x}"
    for number in range(40):
        labelled(make_video, reviewer, number, flipped(face, number % 9, rng), fake=number % 2 == 1)
    items = frozen().values()
    assert len(items) == 40
    assert len({item.component for item in items}) == 1
    assert len({item.split for item in items}) == 1


def test_other_people_stay_apart_and_who_is_in_two_videos_links_them(make_video: MakeVideo, reviewer: User) -> None:
    rng = random.Random(2)
    a, b, c = (f"{rng.getrandbits(256):064x}" for _ in range(3))
    alone = labelled(make_video, reviewer, 1, a)
    both = labelled(make_video, reviewer, 2, b, c)
    later = labelled(make_video, reviewer, 3, flipped(c, 8, rng))
    far = labelled(make_video, reviewer, 4, flipped(a, NEAR_FACE_BITS + 1, rng))
    group = {key: item.component for key, item in frozen().items()}
    assert group[str(both.pk)] == group[str(later.pk)]
    assert len({group[str(video.pk)] for video in (alone, both, far)}) == 3


@pytest.mark.parametrize(("uploads", "groups"), [(0, 2), (1, 1)])
def test_data_sets_name_their_people_and_an_upload_that_shows_two_of_them_tells_that_they_are_one(
    make_video: MakeVideo, reviewer: User, uploads: int, groups: int
) -> None:
    face = f"{random.Random(3).getrandbits(256):064x}"
    videos = [labelled(make_video, reviewer, number, face) for number in range(2 + uploads)]
    for video, name in zip(videos, ("one", "two"), strict=False):
        DatasetVideo.objects.create(video=video, dataset="set", path=f"{name}.mp4", label="real", identity=name)
    items = frozen().values()
    assert len(items) == 2 + uploads
    assert len({item.component for item in items}) == groups


def test_the_person_keeps_the_side_when_more_uploads_come(make_video: MakeVideo, reviewer: User) -> None:
    rng = random.Random(4)
    face = f"{rng.getrandbits(256):064x}"
    labelled(make_video, reviewer, 0, face)
    (side,) = {item.split for item in frozen().values()}
    for number in range(1, 12):
        labelled(make_video, reviewer, number, flipped(face, 5, rng), fake=number % 2 == 1)
    assert {item.split for item in frozen().values()} == {side}


def test_a_file_that_several_have_sent_counts_once_and_not_where_its_labels_differ(
    make_video: MakeVideo, reviewer: User
) -> None:
    faces = [f"{random.Random(f'face {k}').getrandbits(256):064x}" for k in range(3)]
    agreed = [labelled(make_video, reviewer, number, faces[0], fake=True) for number in (0, 1)]
    differing = [labelled(make_video, reviewer, number, faces[1]) for number in (2, 3)]
    alone = labelled(make_video, reviewer, 4, faces[2])
    for number, copies in enumerate((agreed, differing)):
        for copy in copies:  # an owner has a content once
            owner = User.objects.create_user(f"owner of {copy.pk}")
            Video.objects.filter(pk=copy.pk).update(owner=owner, sha256=f"{number}" * 64)
    record_review(video=differing[1], reviewer=reviewer, label="fake")
    snapshot = freeze_snapshot(assign=dealt)
    assert {item.video for item in read_snapshot(snapshot=snapshot)} == {str(agreed[0].pk), str(alone.pk)}
    assert snapshot.summary["left_out"] == {
        "labelled otherwise where the same file was sent again": 2, "the same file as another": 1,
    }  # fmt: skip


@pytest.mark.parametrize("own_name", ["", "holdout"])
def test_an_upload_that_was_learnt_from_is_not_held_out_as_a_data_sets_video(
    make_video: MakeVideo, reviewer: User, own_name: str
) -> None:
    """Imported later, it had a new name, and models were judged on it that had learnt from it."""
    upload = labelled(make_video, reviewer, 1, f"{random.Random(6).getrandbits(256):064x}")
    upload.refresh_from_db()
    first = read_snapshot(snapshot=freeze_snapshot(assign=lambda units, strata, fixed: ["train" for _ in units]))
    assert [item.identity for item in first] == [f"upload {upload.sha256[:32]}"]
    copy = labelled(make_video, reviewer, 2, f"{random.Random(7).getrandbits(256):064x}")
    importer = User.objects.create_user("importer")
    Video.objects.filter(pk=copy.pk).update(owner=importer, sha256=upload.sha256)
    DatasetVideo.objects.create(video=copy, dataset="set", path="a.mp4", label="real", identity="set_a")
    if own_name:  # who is in it was held out already: then it is in neither
        IdentitySide.objects.create(name="set_a", side=own_name)
    later = read_snapshot(
        snapshot=freeze_snapshot(assign=lambda units, strata, fixed: [fixed.get(unit, "holdout") for unit in units])
    )
    assert [(item.identity, item.split) for item in later] == ([] if own_name else [("set_a", "train")])


@pytest.mark.parametrize("lost", [True, False])
def test_a_manifest_that_storage_has_lost_or_damaged_is_written_anew(
    make_video: MakeVideo, reviewer: User, lost: bool
) -> None:
    labelled(make_video, reviewer, 0, f"{random.Random(5).getrandbits(256):064x}")
    snapshot = freeze_snapshot(assign=dealt)
    items = read_snapshot(snapshot=snapshot)
    name = str(snapshot.manifest.name)
    default_storage.delete(name)
    if not lost:
        default_storage.save(name, ContentFile(b"half a li"))
    again = freeze_snapshot(assign=dealt)
    assert again.pk == snapshot.pk
    assert read_snapshot(snapshot=again) == items
