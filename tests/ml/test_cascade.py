"""The batched cascade sees what facenet-pytorch's own detector sees, box for box."""

from __future__ import annotations

import numpy as np
import pytest
from facenet_pytorch import MTCNN
from numpy.typing import NDArray

from ml.cascade import Cascade
from ml.config import VideoConfig
from ml.tracks import iou
from ml.video import decode
from tests.ml.clips import DEMO


def frames(name: str, long_side: int = 640) -> list[NDArray[np.uint8]]:
    wanted = range(0, 150, 30)
    return [f.rgb(long_side=long_side) for f in decode(DEMO / name, VideoConfig()) if f.number in wanted]


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return Cascade()


@pytest.mark.parametrize("name", ["one-person.mp4", "two-people.mp4", "no-face.mp4"])
@pytest.mark.parametrize("min_face", [20, 40])
def test_the_boxes_are_the_librarys(cascade: Cascade, name: str, min_face: int) -> None:
    pictures = frames(name)
    mtcnn = MTCNN(keep_all=True, min_face_size=min_face, thresholds=[0.6, 0.7, 0.7], post_process=False)
    for picture, found in zip(pictures, cascade.detect(pictures, min_face=min_face), strict=True):
        boxes, probabilities = mtcnn.detect(picture)
        theirs = [] if boxes is None else list(zip(boxes.tolist(), probabilities.tolist(), strict=True))
        assert len(found) == len(theirs)
        for box, probability in found:
            overlap, other = max((iou(box, tuple(their)), p) for their, p in theirs)
            assert overlap > 0.999
            assert probability == pytest.approx(other, abs=1e-3)
        assert [p for _, p in found] == sorted((p for _, p in found), reverse=True)


def test_a_picture_is_seen_alone_as_among_others(cascade: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = frames("two-people.mp4")
    together = cascade.detect(pictures, min_face=20)
    monkeypatch.setattr("ml.cascade.MOST_PIXELS", 1)
    alone = cascade.detect(pictures, min_face=20)
    assert [len(found) for found in together] == [len(found) for found in alone]
    for a, b in zip(together, alone, strict=True):
        for (box, p), (other, q) in zip(a, b, strict=True):
            assert np.allclose(box, other, atol=0.05)
            assert p == pytest.approx(q, abs=1e-4)


def test_nothing_tiny_and_flat_pictures_have_no_face(cascade: Cascade) -> None:
    assert cascade.detect([], min_face=20) == []
    assert cascade.detect([np.zeros((8, 300, 3), np.uint8)] * 2, min_face=20) == [[], []]
    assert cascade.detect([np.full((90, 160, 3), 128, np.uint8)], min_face=20) == [[]]
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    assert len(cascade.detect([noise], min_face=12)) == 1
