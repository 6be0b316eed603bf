"""Patterns and drawings are no face: a video of nothing else has none, and says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml.faces.extract import Extraction, extract_faces
from tests.ml.clips import write_clip
from tests.ml.patterns import Image, damask, drawn_face


def clip_of(picture: Image, path: Path) -> Path:
    """The picture, swaying a little."""
    return write_clip(path, frames=8, picture=lambda n: np.roll(picture, round(2 * np.sin(n / 3)), axis=1))


def reasons(found: Extraction) -> set[str]:
    return {box.reason for frame in found.sampled_frames for box in frame.boxes}


@pytest.mark.parametrize(
    "picture",
    [damask(np.random.default_rng(157)), drawn_face(np.random.default_rng(104))],
    ids=["wallpaper", "drawing"],
)
def test_what_is_drawn_is_nobody(picture: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip_of(picture, tmp_path / "drawn.mp4")
    found = extract_faces(path)
    assert found.tracks == ()
    assert "not_a_face" in reasons(found)
    monkeypatch.setattr("ml.faces.frame_search.is_face", lambda embedding: True)
    assert extract_faces(path).tracks, "it is this rule that tells: the detector takes it for a person"
