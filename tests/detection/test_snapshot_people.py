"""One person in many uploads is one group: stored face prints are asked when a snapshot is dealt."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.contrib.auth.models import Group, User

from detection.models import DatasetVideo, FaceFrame, Print, PrintKind, Video
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
