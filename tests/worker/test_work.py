"""What a video costs in work and not in seconds: the same counts on every machine, so a loss of speed fails here."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ml.config import FaceConfig
from ml.faces.mtcnn.boxes import PNET_CELL_PX
from ml.faces.mtcnn.cascade import PYRAMID_FACTOR
from ml.faces.mtcnn.networks import Networks
from ml.faces.recognition.embedding import FaceEmbedder
from ml.faces.recognition.identity import PROBES
from ml.model.inference import Classifier
from ml.model.weights import BASELINE
from ml.video import decode as video
from ml.video import frame_source
from tests.ml.clips import DEMO, faces_of, write_clip
from worker.bench.in_process import Product
from worker.process import runtime
from worker.stages import extracted

pytestmark = pytest.mark.slow
FRAMES = 150
SIZES = {"1080p": (1920, 1080), "720p": (1280, 720), "480p": (854, 480)}
FULL_SEARCH = {"1080p": 400, "720p": 180, "480p": 80}
"""As many times the product's pixels does MTCNN see that looks at every frame at full size, or more."""


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts frames decoded and converted, pixels that MTCNN sees, faces embedded and scored, pictures encoded."""
    done: Counter[str] = Counter()
    one_at_a_time = threading.Lock()  # frames are looked at in several threads

    def counted(owner: Any, name: str, count: Callable[..., dict[str, int]]) -> None:
        inner = getattr(owner, name)

        def outer(*args: Any, **options: Any) -> Any:
            with one_at_a_time:
                done.update(count(*args, **options))
            return inner(*args, **options)

        monkeypatch.setattr(owner, name, outer)

    decode = video.decode

    def decoded(*args: Any, **options: Any) -> Iterator[video.DecodedFrame]:
        for frame in decode(*args, **options):
            with one_at_a_time:
                done["decoded"] += 1
            yield frame

    monkeypatch.setattr(frame_source, "decode", decoded)
    counted(video.DecodedFrame, "rgb", lambda *_, long_side=None: {"full" if long_side is None else "small": 1})
    counted(Networks, "_run", lambda _, name, pixels: {name: pixels[..., 0].size})
    counted(Classifier, "features_of", lambda _, frames: {"forward": 1, "scored": len(frames)})
    counted(FaceEmbedder, "embed", lambda *_: {"embedded": 1})
    counted(extracted, "encode", lambda suffix, _: {f"encoded {suffix}": 1})
    return done


@pytest.fixture(scope="module")
def product() -> Product:
    runtime.prepare()
    return Product(BASELINE)


@pytest.fixture(scope="module")
def person() -> list[NDArray[np.uint8]]:
    frames = faces_of("one-person.mp4")
    return [frames[k % len(frames)] for k in range(FRAMES)]


def pyramid(size: tuple[int, int], min_face: int) -> int:
    """Pixels of all the copies of one picture that the first network looks at."""
    scale, pixels = PNET_CELL_PX / min_face, 0
    while min(size) * scale >= PNET_CELL_PX:
        pixels += int(size[0] * scale + 1) * int(size[1] * scale + 1)
        scale *= PYRAMID_FACTOR
    return pixels


@pytest.mark.parametrize("name", SIZES)
def test_a_video_costs_its_ten_frames_and_nothing_twice(
    name: str, person: list[NDArray[np.uint8]], product: Product, work: Counter[str], tmp_path: Path
) -> None:
    config, size = FaceConfig(), SIZES[name]
    clip = write_clip(
        tmp_path / f"{name}.mp4",
        frames=FRAMES,
        picture=lambda number: np.asarray(cv2.resize(person[number], size), dtype=np.uint8),
        options={"preset": "ultrafast", "bf": "3"},
    )

    found, _ = product.run(clip, tmp_path)

    assert [len(track.faces) for track in found.tracks] == [10]
    assert found.frames_decoded == FRAMES
    assert work.pop("decoded") <= 0.8 * FRAMES, "those that no other frame needs are left out"
    first, second, third = (work.pop(network) for network in ("pnet", "rnet", "onet"))
    assert work.pop("embedded") <= PROBES
    assert work == {
        "small": 10, "full": 10, "encoded .png": 10, "encoded .jpg": 1, "forward": 1, "scored": 10,
    }  # fmt: skip
    small = (640, 360)
    coarse, fine = pyramid(small, config.min_face_coarse), pyramid(small, config.min_face_detect)
    assert first == (10 - config.fine_probes) * coarse + config.fine_probes * fine
    assert second + third < first
    assert FRAMES * pyramid(size, config.min_face_detect) > FULL_SEARCH[name] * first


def test_two_people_are_found_in_one_decoding_and_scored_in_one_pass(
    product: Product, work: Counter[str], tmp_path: Path
) -> None:
    found, _ = product.run(DEMO / "two-people.mp4", tmp_path)
    assert [len(track.faces) for track in found.tracks] == [10, 10]
    assert work["decoded"] < found.frames_decoded
    assert (work["small"], work["full"]) == (10, 10)
    assert (work["forward"], work["scored"]) == (1, 20)
    assert work["embedded"] <= 2 * PROBES


def test_that_nobody_is_there_takes_a_bounded_search_and_no_network(
    product: Product, work: Counter[str], tmp_path: Path
) -> None:
    """Looked at coarsely, finely and turned before it is said, but in few frames, which are decoded once."""
    config = FaceConfig()
    found, _ = product.run(DEMO / "no-face.mp4", tmp_path)
    assert (found.tracks, work["forward"], work["full"], work["embedded"]) == ((), 0, 0, 0)
    assert work["decoded"] <= found.frames_decoded
    frames = 2 * config.first_pass_frames + len(range(0, found.frames_decoded, config.dense_stride))
    assert work["small"] <= frames + 3 * config.turned_frames


def test_many_videos_share_passes_through_the_network(product: Product, work: Counter[str]) -> None:
    """As `rescore` does it."""
    crop = np.zeros((224, 224, 3), np.uint8)
    assert len(product.classifier.score([[crop] * 10] * 13, batch_frames=64)) == 13
    assert (work["forward"], work["scored"]) == (3, 130)
