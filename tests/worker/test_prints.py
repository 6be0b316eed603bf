"""Prints are made while a video is extracted, and for those of before while the sweeper has nothing better to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from django.core.files.storage import default_storage

from detection.models import FaceFrame, Print, PrintKind, Video
from detection.selectors import near_duplicates as near
from detection.selectors.near_duplicates import SAME_FACE, SAME_PICTURE, near_duplicates
from detection.services.jobs import analyses
from detection.services.jobs.perceptual_hashes import NO_PRINT
from ml.video.decode import decode
from tests.ml.clips import DEMO, write_clip
from tests.worker.test_runtime import upload
from worker import tasks
from worker.stages import perceptual_hashes

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]


@pytest.fixture(autouse=True)
def _nothing_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual_hashes, "_after", None)
    monkeypatch.setattr(perceptual_hashes, "_done", False)


def extracted(content: bytes) -> Video:
    video = upload(content)
    Video.objects.filter(pk=video.pk).update(sha256=f"{video.pk.hex:0<64}")  # each upload is a file of its own
    tasks.extract_faces(str(analyses.queue_analysis(video=video).pk))
    video.refresh_from_db()
    return video


def bits_of(video: Video) -> dict[tuple[str, int], str]:
    return {(row.kind, row.track): row.bits for row in Print.objects.filter(video=video)}


def apart(one: dict[tuple[str, int], str], other: dict[tuple[str, int], str]) -> int:
    """The largest distance of prints that both have."""
    assert one.keys() == other.keys()
    return max((int(one[key], 16) ^ int(other[key], 16)).bit_count() for key in one)


def test_copies_are_found_though_they_were_encoded_anew_scaled_and_cropped(tmp_path: Path) -> None:
    original = extracted((DEMO / "two-people.mp4").read_bytes())
    frames = [frame.rgb(long_side=480)[:, 24:-24] for frame in decode(DEMO / "two-people.mp4")]
    copy = write_clip(tmp_path / "copy.mp4", frames=len(frames), picture=lambda n: frames[n], options={"crf": "35"})
    same_portrait, nobody = (extracted((DEMO / name).read_bytes()) for name in ("one-person.mp4", "no-face.mp4"))
    found = extracted(copy.read_bytes())
    assert set(bits_of(original)) == {("picture", 0), ("face", 0), ("face", 1)}
    assert original.fingerprint == bits_of(original)["picture", 0]
    how = {one.video: one.how for one in near_duplicates(found)}
    assert how.pop(original) in (SAME_PICTURE, SAME_FACE)
    assert how in ({}, {same_portrait: SAME_FACE}), "the demo's people are made from one portrait"
    assert set(bits_of(nobody)) == {("picture", 0)}
    assert near_duplicates(nobody) == []


def test_the_sweeper_makes_the_same_prints_for_videos_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual_hashes, "BATCH", 1)
    videos = [extracted((DEMO / name).read_bytes()) for name in ("two-people.mp4", "no-face.mp4")]
    before = [bits_of(video) for video in videos]
    Print.objects.all().delete()
    Video.objects.filter(pk=videos[0].pk).update(fingerprint="")
    for _ in range(4):
        tasks.sweep()
    for video, old in zip(videos, before, strict=True):
        assert apart(bits_of(video), old) <= 12  # the thumbnail was stored as JPEG
        video.refresh_from_db()
        assert video.fingerprint == bits_of(video)["picture", 0]


def test_files_that_cannot_be_read_are_tried_once(tmp_path: Path) -> None:
    gone, damaged, fine = (extracted((DEMO / "one-person.mp4").read_bytes()) for _ in range(3))
    Print.objects.all().delete()
    Video.objects.update(fingerprint="")
    shutil.rmtree(default_storage.path(gone.folder))
    Path(default_storage.path(str(damaged.thumbnail.name))).write_bytes(b"")
    face = FaceFrame.objects.filter(video=damaged).order_by("position").first()
    assert face is not None
    Path(default_storage.path(str(face.crop.name))).write_bytes(b"no picture")
    assert perceptual_hashes.sweep() == 3
    assert bits_of(gone) == {}
    assert set(bits_of(damaged)) == {(PrintKind.FACE, 0)}, "nine crops of ten are enough"
    assert set(bits_of(fine)) == {(PrintKind.PICTURE, 0), (PrintKind.FACE, 0)}
    assert set(Video.objects.exclude(pk=fine.pk).values_list("fingerprint", flat=True)) == {NO_PRINT}
    assert perceptual_hashes.sweep() == 0
    perceptual_hashes._after, perceptual_hashes._done = None, False  # as in another process
    assert perceptual_hashes.sweep() == 0
    distance = (int(bits_of(damaged)["face", 0], 16) ^ int(bits_of(fine)["face", 0], 16)).bit_count()
    assert distance <= near.NEAR_BITS[PrintKind.FACE]
