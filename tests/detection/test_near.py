"""What looks the same is found by its bands and judged by its bits; prints come and go with their videos."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from detection.models import DatasetVideo, Print, PrintKind, Video
from detection.selectors import near_duplicates as near
from detection.selectors.near_duplicates import (
    NEAR_BITS,
    SAME_FACE,
    SAME_FILE,
    SAME_PICTURE,
    bands_of,
    near_duplicates,
)
from detection.services.jobs import analyses, perceptual_hashes
from detection.services.uploads.uploads import delete_video
from tests.detection.conftest import MakeVideo, claimed, extraction

BITS = st.integers(0, 2**256 - 1).map(lambda value: f"{value:064x}")
PLACES = [255 - place for places in near._BAND_BITS for place in places]


def flipped(bits: str, places: Any) -> str:
    """`places` count from the right."""
    value = int(bits, 16)
    for place in places:
        value ^= 1 << place
    return f"{value:064x}"


def some_bits(seed: int) -> str:
    return f"{random.Random(seed).getrandbits(256):064x}"


def store(video: Video, *, picture: str = "", faces: dict[int, str] | None = None) -> Video:
    perceptual_hashes.store_prints(video_id=video.pk, picture=picture, faces=faces or {})
    return video


def found(video: Video, **options: Any) -> list[tuple[UUID, str]]:
    return [(one.video.pk, one.how) for one in near_duplicates(video, **options)]


# --- bands -----------------------------------------------------------------------------------------------------------


def test_the_bands_are_48_different_bits_of_the_whole_print() -> None:
    assert len(PLACES) == len(set(PLACES)) == 48
    assert {place // 64 for place in PLACES} == {0, 1, 2, 3}


@given(bits=BITS, places=st.sets(st.integers(0, 255), max_size=3))
def test_three_bits_can_spoil_three_bands_at_most(bits: str, places: set[int]) -> None:
    one, other = bands_of(bits), bands_of(flipped(bits, places))
    assert all(0 <= value < 4096 for value in one.values())
    assert any(one[band] == other[band] for band in one)


@given(bits=BITS, places=st.sets(st.integers(0, 255), max_size=60))
def test_a_band_changes_with_its_own_bits_and_with_no_others(bits: str, places: set[int]) -> None:
    one, other = bands_of(bits), bands_of(flipped(bits, places))
    for k, own in enumerate(near._BAND_BITS):
        assert (one[f"band{k}"] == other[f"band{k}"]) == (not {255 - place for place in own} & places)


@pytest.mark.parametrize(("distance", "least", "most"), [(10, 0.96, 1.0), (20, 0.78, 0.9), (50, 0.15, 0.32)])
def test_how_many_are_found_when_bits_flip_at_random(distance: int, least: float, most: float) -> None:
    """The worst case: the bits of real copies do not flip at random; detection.selectors.near_duplicates says what was
    measured.
    """
    lots, shared = random.Random(0), 0
    for _ in range(1000):
        bits = f"{lots.getrandbits(256):064x}"
        one, other = bands_of(bits), bands_of(flipped(bits, lots.sample(range(256), distance)))
        shared += any(one[band] == other[band] for band in one)
    assert least <= shared / 1000 <= most


# --- finding ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_same_file_picture_and_face_are_found_nearest_first_and_called_so(make_video: MakeVideo) -> None:
    video, far, near_one, face, twin, another = (make_video() for _ in range(6))
    store(video, picture=some_bits(1), faces={0: some_bits(2), 1: some_bits(3)})
    loose = [place for place in range(256) if place not in PLACES]
    store(far, picture=flipped(some_bits(1), loose[:50]))
    store(near_one, picture=flipped(some_bits(1), loose[:6]), faces={0: some_bits(9)})
    store(face, picture=some_bits(8), faces={3: flipped(some_bits(3), loose[:20])})
    store(another, picture=some_bits(7), faces={0: flipped(some_bits(2), loose[:51])})
    Video.objects.filter(pk=twin.pk).update(sha256=video.sha256, owner=User.objects.create_user("other"))
    assert found(video) == [
        (twin.pk, SAME_FILE), (near_one.pk, SAME_PICTURE), (face.pk, SAME_FACE), (far.pk, SAME_PICTURE),
    ]  # fmt: skip
    assert found(video, limit=2) == [(twin.pk, SAME_FILE), (near_one.pk, SAME_PICTURE)]
    assert found(face) == [(video.pk, SAME_FACE)]
    assert found(another) == []
    twin.refresh_from_db()
    assert found(twin) == [(video.pk, SAME_FILE)]


@pytest.mark.django_db
@pytest.mark.parametrize("kind", PrintKind)
def test_near_is_up_to_the_threshold_and_needs_a_band(make_video: MakeVideo, kind: PrintKind) -> None:
    video, other = make_video(), make_video()
    loose = [place for place in range(256) if place not in PLACES]

    def with_bits(one: Video, bits: str) -> Video:
        return store(one, picture=bits) if kind == PrintKind.PICTURE else store(one, faces={0: bits})

    with_bits(video, some_bits(1))
    for places, is_found in (
        (loose[: NEAR_BITS[kind]], True),
        (loose[: NEAR_BITS[kind] + 1], False),
        ([255 - own[0] for own in near._BAND_BITS], False),  # four bits only, but one in each band
        ([255 - own[0] for own in near._BAND_BITS[:3]], True),
    ):
        with_bits(other, flipped(some_bits(1), places))
        assert bool(found(video)) is is_found


@pytest.mark.django_db
def test_as_many_questions_among_three_as_among_three_hundred(make_video: MakeVideo, settings: Any) -> None:
    video, first = make_video(), make_video()
    store(video, picture=some_bits(1), faces={track: some_bits(10 + track) for track in range(8)})
    counted = []
    for more in (3, 300):
        rows = [
            Video(owner=video.owner, original_name="x", sha256=f"{more}-{k}", size_bytes=1, tracks=1)
            for k in range(more)
        ]
        Video.objects.bulk_create(rows)
        Print.objects.bulk_create(
            Print(video=row, kind=kind, bits=bits, **bands_of(bits))
            for row in rows
            for kind, bits in (("picture", some_bits(1)), ("face", some_bits(10)))
        )
        with CaptureQueriesContext(connection) as queries:
            assert len(near_duplicates(video)) == (3 if more == 3 else 12)
        counted.append(len(queries))
    assert counted == [12, 12]
    with CaptureQueriesContext(connection) as queries:
        assert near_duplicates(first) == []
    assert len(queries) == 2


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's words for a plan")
def test_a_band_is_looked_up_in_its_index(video: Video) -> None:
    for k in range(4):
        rows = Print.objects.filter(kind=PrintKind.FACE, **{f"band{k}__in": {1, 2}})
        assert f"USING INDEX print_band{k} (kind=? AND band{k}=?)" in rows.values_list("pk", "bits")[:10].explain()


@pytest.mark.django_db
def test_a_crowded_band_is_not_walked_to_its_end(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "PER_BAND", 3)
    video = store(make_video(), picture=some_bits(1))
    for _ in range(6):
        store(make_video(), picture=some_bits(1))
    assert len(near_duplicates(video)) <= 3


@pytest.mark.django_db
def test_a_data_sets_video_comes_with_its_data_set(make_video: MakeVideo) -> None:
    video, other = store(make_video(), picture=some_bits(1)), store(make_video(), picture=some_bits(1))
    DatasetVideo.objects.create(video=other, dataset="set", path="fake/1.mp4", label="fake", identity="set_a")
    (one,) = near_duplicates(video)
    with CaptureQueriesContext(connection) as queries:
        assert one.video.dataset_video.dataset == "set"
        assert one.video.current_verdict is None
    assert len(queries) == 0


# --- prints come and go ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_extraction_stores_prints_in_place_of_older_ones(video: Video, tmp_path: Path) -> None:
    for number in (1, 2):
        analysis = analyses.queue_analysis(video=video, reuse_faces=False)
        faces = {track: some_bits(10 * number + track) for track in range(3 - number)}
        result = replace(extraction(tmp_path, tracks=3 - number), picture_print=some_bits(number), face_prints=faces)
        analyses.finish_extraction(claim=claimed(analysis), result=result)
        analysis.delete()  # or it would still be the open one
        video.refresh_from_db()
        assert video.fingerprint == some_bits(number)
        rows = [(row.kind, row.track, row.bits) for row in video.prints.order_by("-kind", "track")]
        assert rows == [("picture", 0, some_bits(number)), *(("face", track, bits) for track, bits in faces.items())]


@pytest.mark.django_db
def test_a_picture_without_structure_has_no_row_and_deleting_a_video_deletes_its_prints(video: Video) -> None:
    store(video, picture=perceptual_hashes.NO_PRINT, faces={0: some_bits(1), 1: perceptual_hashes.NO_PRINT})
    video.refresh_from_db()
    assert video.fingerprint == perceptual_hashes.NO_PRINT
    assert [(row.kind, row.track) for row in video.prints.all()] == [("face", 0)]
    delete_video(video=video)
    assert not Print.objects.exists()


@pytest.mark.django_db
def test_prints_of_a_thumbnail_that_is_gone_meanwhile_are_not_stored(video: Video) -> None:
    Video.objects.filter(pk=video.pk).update(thumbnail="new.jpg", fingerprint=some_bits(1))
    perceptual_hashes.store_prints(
        video_id=video.pk, picture=some_bits(2), faces={0: some_bits(3)}, thumbnail="old.jpg"
    )
    video.refresh_from_db()
    assert video.fingerprint == some_bits(1)
    assert not Print.objects.exists()


@pytest.mark.django_db
def test_the_walk_over_videos_without_prints_ends(make_video: MakeVideo) -> None:
    videos = [make_video() for _ in range(7)]
    Video.objects.update(thumbnail="t.jpg", extracted_at="2026-01-01T00:00:00Z")
    store(videos[0], picture=some_bits(1))
    store(videos[1], picture=perceptual_hashes.NO_PRINT)
    Video.objects.filter(pk=videos[2].pk).update(fingerprint="0" * 64)  # of another kind, from before prints
    Video.objects.filter(pk=videos[3].pk).update(extracted_at=None)
    seen: list[UUID] = []
    after, calls = None, 0
    while True:
        batch, after = perceptual_hashes.next_unprinted(after=after, batch=2, look_at=3)
        seen += [one.video_id for one in batch]
        calls += 1
        if after is None:
            break
    assert sorted(seen) == sorted(video.pk for video in (videos[2], *videos[4:]))
    assert calls <= 6
