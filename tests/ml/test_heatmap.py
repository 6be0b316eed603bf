"""Occlusion maps: of the right size, and where the score comes from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ml.config import Alignment, Label, ModelConfig
from ml.model.heatmap import blend, face_heatmaps
from ml.model.inference import Classifier, TrackScore
from ml.model.network import FaceSequenceClassifier
from ml.model.weights import WeightsInfo

CONFIG = ModelConfig(backbone="resnet18", feature_dim=512, lstm_hidden=8, input_size=128, alignment=Alignment.NONE)
CPU = torch.device("cpu")
Crop = NDArray[np.uint8]


def crops(number: int, *, size: int = 224, seed: int = 0) -> list[Crop]:
    return list(np.random.default_rng(seed).integers(0, 255, (number, size, size, 3), dtype=np.uint8))


def random_classifier(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(FaceSequenceClassifier(CONFIG), WeightsInfo(name="tiny", config=CONFIG), CPU)


class Planted(torch.nn.Module):
    """Channel 0 is how red each place is, the others are 0; at most one face can be told by its redness."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        cells = torch.nn.functional.avg_pool2d(frames, 32)  # (N, 3, 4, 4)
        red = torch.relu(cells[:, :1] - cells[:, 1:2])
        return torch.cat([red, red.new_zeros(red.shape[0], 511, 4, 4)], dim=1)


def planted(sign: float = 1.0) -> Classifier:
    """The more red there is anywhere, the more FAKE (or with -1 the less)."""
    model = FaceSequenceClassifier(CONFIG)
    for part in ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3"):
        setattr(model.backbone, part, torch.nn.Identity())
    model.backbone.layer4 = Planted()
    with torch.no_grad():
        for parameter in model.lstm.parameters():
            parameter.zero_()
        hidden = CONFIG.lstm_hidden
        dict(model.lstm.named_parameters())["weight_ih_l0"][2 * hidden, 0] = 1.0  # the content of cell 0
        model.head.weight.zero_()
        model.head.weight[int(Label.FAKE), 0] = sign
    return Classifier(model, WeightsInfo(name="planted", config=CONFIG), CPU)


def test_each_face_has_a_map_of_its_own_size_from_0_to_1() -> None:
    faces = [*crops(4), *crops(1, size=180, seed=1)]
    maps = face_heatmaps(random_classifier(), faces)
    assert [one.shape for one in maps] == [(224, 224)] * 4 + [(180, 180)]
    assert {one.dtype for one in maps} == {np.dtype(np.float32)}
    assert min(float(one.min()) for one in maps) >= 0.0
    assert 0.9 < max(float(one.max()) for one in maps) <= 1.0


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_score_that_comes_from_one_corner_lights_that_corner(corner: tuple[int, int]) -> None:
    faces = [np.full((224, 224, 3), 90, np.uint8) for _ in range(3)]
    for face in faces:
        face[corner[0] * 112 :][:112, corner[1] * 112 :][:, :112] = (230, 20, 20)
    for one in face_heatmaps(planted(), faces):
        quarters = cv2.resize(one, (2, 2), interpolation=cv2.INTER_AREA)
        assert quarters[corner] > 0.15  # the recurrence forgets early faces by and by
        assert quarters[corner] > 4 * max(quarters[k] for k in ((0, 0), (0, 1), (1, 0), (1, 1)) if k != corner)


def test_the_face_that_moved_the_score_is_the_brightest_of_its_sequence() -> None:
    grey = np.full((224, 224, 3), 90, np.uint8)
    red = grey.copy()
    red[:112, :112] = (230, 20, 20)
    maps = face_heatmaps(planted(), [grey, red, grey])
    assert [float(one.max()) > 0.5 for one in maps] == [False, True, False]


def test_where_nothing_speaks_for_fake_all_is_dark() -> None:
    red = np.full((224, 224, 3), 90, np.uint8)
    red[:112, :112] = (230, 20, 20)
    assert all(not one.any() for one in face_heatmaps(planted(-1.0), [red, red]))


def test_the_same_faces_have_the_same_maps_and_the_model_still_scores_as_before() -> None:
    classifier, faces = random_classifier(), crops(3)
    before: list[TrackScore] = classifier.score([faces])
    first, second = face_heatmaps(classifier, faces), face_heatmaps(classifier, faces)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert classifier.score([faces]) == before
    assert not classifier.model.training
    assert all(parameter.grad is None for parameter in classifier.model.parameters())


def test_a_sequence_without_a_face_has_no_map() -> None:
    with pytest.raises(ValueError, match="at least one face"):
        face_heatmaps(random_classifier(), [])


def test_the_blend_colours_what_is_lit_and_leaves_the_rest_alone() -> None:
    (crop,) = crops(1)
    heatmap = np.zeros((224, 224), np.float32)
    heatmap[:50, :50] = 1.0
    picture = blend(crop, heatmap)
    assert picture.shape == (224, 224, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture[50:], crop[50:])
    assert np.array_equal(picture[:, 50:], crop[:, 50:])
    red, green, blue = picture[:50, :50].reshape(-1, 3).mean(0)
    assert red > green  # the warm end of the scale, and not BGR
    assert red > blue
    with pytest.raises(ValueError, match="does not lie over"):
        blend(crop, heatmap[:100])
