"""The batched cascade sees what facenet-pytorch's own detector sees, box for box and point for point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from facenet_pytorch import MTCNN
from numpy.typing import NDArray

from ml.config import VideoConfig
from ml.faces.mtcnn.cascade import Cascade
from ml.faces.mtcnn.networks import FOLDER
from ml.faces.tracking import iou
from ml.video.decode import decode
from tests.ml import mtcnn_export
from tests.ml.clips import DEMO


def frames(name: str, long_side: int = 640) -> list[NDArray[np.uint8]]:
    wanted = range(0, 150, 30)
    return [f.rgb(long_side=long_side) for f in decode(DEMO / name, VideoConfig()) if f.number in wanted]


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return Cascade()


@pytest.mark.parametrize("name", ["one-person.mp4", "two-people.mp4", "no-face.mp4"])
@pytest.mark.parametrize("min_face", [20, 40])
def test_boxes_and_landmarks_are_the_librarys(cascade: Cascade, name: str, min_face: int) -> None:
    pictures = frames(name)
    mtcnn = MTCNN(keep_all=True, min_face_size=min_face, thresholds=[0.6, 0.7, 0.7], post_process=False)
    for picture, found in zip(pictures, cascade.detect(pictures, min_face=min_face), strict=True):
        boxes, probabilities, points = mtcnn.detect(picture, landmarks=True)
        theirs = [] if boxes is None else list(zip(boxes.tolist(), probabilities.tolist(), points, strict=True))
        assert len(found) == len(theirs)
        for box, probability, landmarks in found:
            overlap, other, others = max(
                ((iou(box, tuple(their)), p, its) for their, p, its in theirs), key=lambda each: each[0]
            )
            assert overlap > 0.999
            assert np.abs(np.subtract(landmarks, others)).max() < 0.01 * (box[2] - box[0])
            assert probability == pytest.approx(other, abs=1e-3)
        assert [face.probability for face in found] == sorted((face.probability for face in found), reverse=True)


def test_a_picture_is_seen_alone_as_among_others(cascade: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = frames("two-people.mp4")
    together = cascade.detect(pictures, min_face=20)
    monkeypatch.setattr("ml.faces.mtcnn.cascade.MAX_BATCH_PIXELS", 1)
    alone = cascade.detect(pictures, min_face=20)
    assert [len(found) for found in together] == [len(found) for found in alone]
    for a, b in zip(together, alone, strict=True):
        for (box, p, _), (other, q, _) in zip(a, b, strict=True):
            assert np.allclose(box, other, atol=0.05)
            assert p == pytest.approx(q, abs=1e-4)


def test_nothing_tiny_and_flat_pictures_have_no_face(cascade: Cascade) -> None:
    assert cascade.detect([], min_face=20) == []
    assert cascade.detect([np.zeros((8, 300, 3), np.uint8)] * 2, min_face=20) == [[], []]
    assert cascade.detect([np.full((90, 160, 3), 128, np.uint8)], min_face=20) == [[]]
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    assert len(cascade.detect([noise], min_face=12)) == 1


def test_the_networks_are_the_packages_and_complete() -> None:
    """Made anew from facenet-pytorch's weights they are the files that the detector loads."""
    for name, model in mtcnn_export.networks().items():
        assert (FOLDER / f"{name}.onnx").read_bytes() == model.SerializeToString()


def test_a_card_that_onnx_runtime_cannot_use_is_said_in_a_sentence() -> None:
    with pytest.raises(RuntimeError, match="install onnxruntime-gpu instead of onnxruntime, or use cpu"):
        Cascade("cuda").detect([np.zeros((64, 64, 3), np.uint8)], min_face=20)


def test_where_the_card_can_be_used_the_networks_are_put_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the card: what ONNX Runtime is told is noted, and the processor does the work."""
    told: list[list[str]] = []
    session = onnxruntime.InferenceSession

    def on_the_processor(path: Path, options: object, *, providers: list[str]) -> object:
        told.append(providers)
        return session(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", on_the_processor)
    picture = frames("one-person.mp4")[0]
    assert len(Cascade("cuda").detect([picture], min_face=40)) == 1
    assert told == [["CUDAExecutionProvider"]] * 3


SHORT_OF_MEMORY = """
import resource
import ml
import numpy as np
from ml.resource_limits import Limits, OverLimit, limited
from ml.faces.mtcnn.networks import Networks
networks = Networks()
networks.pnet(np.zeros((1, 64, 64, 3), np.float32))
try:
    with limited(Limits(memory_bytes=100 * 2**20, cpu_s=60)):
        networks.pnet(np.zeros((1, 3000, 3000, 3), np.float32))
except OverLimit as error:
    print(error.code)
networks.pnet(np.zeros((1, 64, 64, 3), np.float32))
print("goes on")
"""


def test_a_shortage_of_memory_is_known_as_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split("\n")[:2] == ["out_of_memory", "goes on"], done.stderr
    assert not done.stderr
