"""The command that measures false alarms on long videos joined from clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ml.bench.joined_clips import FPS, HEIGHT, WIDTH, join, long_videos, measure, normalise, summary
from ml.config import ModelConfig, SegmentConfig, VideoConfig
from ml.model.inference import Classifier, Crop, TrackScore
from ml.model.weights import WeightsInfo
from ml.video.decode import decode
from tests.ml.clips import DEMO, Picture, write_clip

EVERYTHING = VideoConfig(max_frames=10_000)


class Certain(Classifier):
    """Finds everything equally fake."""

    def __init__(self, probability: float) -> None:
        self.info = WeightsInfo("test", ModelConfig(), threshold=0.5, experimental=False)
        self.probability = probability

    def score(self, sequences: Sequence[Sequence[Crop]], *, batch_frames: int = 64) -> list[TrackScore]:
        return [TrackScore(self.probability, (self.probability,) * len(crops)) for crops in sequences]


def plain(level: int) -> Picture:
    return lambda _: np.full((96, 128, 3), level, np.uint8)


def test_clips_of_all_kinds_are_joined_without_loss(tmp_path: Path) -> None:
    tall = write_clip(tmp_path / "tall.mkv", frames=20, picture=lambda n: np.full((96, 64, 3), 10 * n, np.uint8))
    wide = write_clip(tmp_path / "wide.mp4", frames=30, picture=lambda n: np.full((64, 128, 3), 255, np.uint8))
    clips = [normalise(path, tmp_path / f"{number}.mp4") for number, path in enumerate((tall, wide))]
    single = [[frame.rgb() for frame in decode(clip)] for clip in clips]
    assert [len(pictures) for pictures in single] == [20, 30]
    assert single[0][0].shape == (HEIGHT, WIDTH, 3)
    assert single[1][5][HEIGHT // 2].mean() > 240
    assert single[1][5][10].mean() < 20, "black above a wide picture"
    long = list(decode(join([clips[0], clips[1], clips[0]], tmp_path / "long.mp4"), EVERYTHING))
    assert [round(frame.timestamp_s * FPS) for frame in long] == list(range(70))
    for frame, picture in zip(long, [*single[0], *single[1], *single[0]], strict=True):
        assert np.array_equal(frame.rgb(), picture)


def test_each_long_video_is_of_different_clips_in_another_order(tmp_path: Path) -> None:
    clips = []
    for k in range(5):
        raw = write_clip(tmp_path / f"raw{k}.mp4", frames=3, picture=plain(40 * k))
        clips.append(normalise(raw, tmp_path / f"{k}.mp4"))
    orders = [
        [round(float(frame.rgb().mean()) / 40) for frame in list(decode(path))[::3]]
        for path in long_videos(clips, tmp_path, count=3, length=4, seed=1)
    ]
    assert all(len(set(order)) == 4 for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert not (tmp_path / "long.mp4").exists()


def test_the_shares_are_counted_at_the_same_thresholds() -> None:
    singles = [k / 100 for k in range(100)]
    found = summary(singles, [0.0, 0.2, 0.96, 0.99], 0.98)
    own, twentieth = found["at"][:2]
    assert own == {"threshold": 0.98, "single": 0.02, "joined": 0.25}
    assert twentieth["single"] == pytest.approx(0.05, abs=0.011)
    assert twentieth["joined"] == 0.5


@pytest.mark.parametrize(("probability", "share"), [(0.9, 1.0), (0.1, 0.0)])
def test_real_faces_go_through_the_whole_pipeline(probability: float, share: float) -> None:
    files = [DEMO / "one-person.mp4", DEMO / "no-face.mp4"]
    found = measure(files, Certain(probability), count=1, length=2, segments=SegmentConfig(max_segments=2))
    assert (found["single_clips"], found["joined_videos"], found["clips_a_video"]) == (1, 1, 1)
    assert (found["at"][0]["single"], found["at"][0]["joined"], found["at"][0]["joined_without_rule"]) == (share,) * 3
