"""Training: it resumes to the same weights, stays honest about its folds, and writes weights the product loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ml.config import Label, ModelConfig
from ml.data.crop_pack import CropRow, Pack, PackWriter
from ml.data.frame_batches import BLENDED, FORGED, IGNORE, BatchSchedule, FrameBatches, GroupSampler
from ml.data.splits import split_rows, with_shuffled_labels
from ml.evaluation.report import why_experimental
from ml.model.calibration import (
    AssessmentBorders,
    choose_borders,
    choose_threshold,
    fit_temperature,
    probabilities,
    tempered,
)
from ml.model.decision import FEW_SEGMENTS_PENALTY, combine, means_and_penalties
from ml.model.inference import Classifier
from ml.model.network import FaceSequenceClassifier
from ml.model.weights import WeightsInfo, load_weights, save_weights, strictest
from ml.training import scoring
from ml.training.__main__ import main
from ml.training.fit import FitOptions, splits_of
from ml.training.frame_stage import (
    FrameStageConfig,
    TwoHeadNetwork,
    learning_rate,
    load_checkpoint,
    load_frame_stage,
    seed_everything,
    train_frames,
    two_head_loss,
)
from ml.training.sequence_stage import FeatureSequence, margins_by_video
from tests.ml.packs import drawn_face, small_pack
from tests.weights import SMALL


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return small_pack(tmp_path_factory.mktemp("pack") / "pack.safetensors")


def schedule(**changes: object) -> BatchSchedule:
    values: dict[str, object] = {"batch_size": 8, "total_steps": 4, "seed": 3, "sizes": ((32, 1.0),)} | changes
    return BatchSchedule(**values)  # type: ignore[arg-type]


def trained(
    pack: Pack, checkpoint: Path, *, ema: float, resume: bool = False, stop_after: int | None = None
) -> FaceSequenceClassifier:
    seed_everything(7 if not resume else 99)  # what a resumed run starts from must not matter
    model = FaceSequenceClassifier(SMALL)
    splits = split_rows(pack)
    train, val = splits["train"], splits["val"]
    train_frames(
        model,
        pack,
        train,
        val,
        schedule=schedule(),
        config=FrameStageConfig(steps_per_epoch=10, workers=0, ema=ema),
        checkpoint=checkpoint,
        resume=resume,
        stop_after=stop_after,
    )
    return model


@pytest.mark.slow
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_stopped_after_two_steps_and_resumed_ends_with_the_uninterrupted_runs_weights(
    pack: Pack, tmp_path: Path, ema: float
) -> None:
    whole = trained(pack, tmp_path / "whole.ckpt", ema=ema)
    trained(pack, tmp_path / "cut.ckpt", ema=ema, stop_after=2)
    assert load_checkpoint(tmp_path / "cut.ckpt")["step"] == 2
    resumed = trained(pack, tmp_path / "cut.ckpt", ema=ema, resume=True)
    read = FaceSequenceClassifier(SMALL)
    load_frame_stage(read, tmp_path / "cut.ckpt")
    for name, one in whole.state_dict().items():
        if name.startswith(("backbone.", "frame_head.")):
            assert torch.allclose(one, resumed.state_dict()[name], atol=1e-6), name
            assert torch.allclose(one, read.state_dict()[name], atol=1e-6), name


def test_training_moves_the_backbone_and_the_frame_head_and_leaves_the_recurrence(pack: Pack, tmp_path: Path) -> None:
    seed_everything(7)
    before = FaceSequenceClassifier(SMALL).state_dict()
    after = trained(pack, tmp_path / "f.ckpt", ema=0.0).state_dict()
    assert not torch.equal(before["frame_head.weight"], after["frame_head.weight"])
    assert not torch.equal(before["backbone.conv1.0.weight"], after["backbone.conv1.0.weight"])
    assert torch.equal(before["lstm.weight_ih_l0"], after["lstm.weight_ih_l0"])


def test_every_real_is_self_blended_and_forgeries_come_with_a_real_of_their_clip(pack: Pack) -> None:
    sampler = GroupSampler(pack, split_rows(pack)["train"], schedule())
    rng = np.random.default_rng(0)
    seen: dict[str, set[bool]] = {}
    for _ in range(200):
        real, forged = sampler.draw(rng)
        one = pack.rows[real]
        assert one.label == Label.REAL
        if forged is not None:
            two = pack.rows[forged]
            assert two.label == Label.FAKE
            assert (one.source, one.group) == (two.source, two.group)
            assert one.source == "film" or one.origin == two.origin  # the same clip, where one is known
            if one.sequence:
                assert abs(one.order - two.order) <= 1, "about the same moment"
        seen.setdefault(one.source, set()).add(forged is not None)
    assert seen == {"lab": {True}, "film": {True}, "web": {False}}  # web has no fakes of its own


def test_a_source_with_few_forged_clips_leaves_its_forgery_out_in_proportion(tmp_path: Path) -> None:
    writer = PackWriter()
    for k in range(10):
        writer.add_crop(drawn_face(k), CropRow(0, f"r{k}", "s", origin=f"real{k}", video=f"real{k}"))
    for k in range(20):  # twenty crops of one clip
        writer.add_crop(drawn_face(k), CropRow(1, "f", "s", origin="fake", video="fake"))
    pack = Pack(writer.write(tmp_path / "p.safetensors"))
    sampler = GroupSampler(pack, range(30), schedule())
    rng = np.random.default_rng(0)
    assert sum(sampler.draw(rng)[1] is None for _ in range(1000)) == pytest.approx(900, abs=40)


def test_methods_are_drawn_evenly_however_many_clips_each_has(tmp_path: Path) -> None:
    writer = PackWriter()
    for k in range(12):
        writer.add_crop(drawn_face(k), CropRow(0, f"p{k}", "s", origin=f"c{k}", video=f"c{k}"))
        method = "rare" if k == 0 else "common"
        writer.add_crop(drawn_face(k), CropRow(1, f"p{k}", "s", method=method, origin=f"c{k}", video=f"f{k}"))
    pack = Pack(writer.write(tmp_path / "p.safetensors"))
    sampler, rng = GroupSampler(pack, range(24), schedule()), np.random.default_rng(0)
    drawn = [pack.rows[forged].method for _, forged in (sampler.draw(rng) for _ in range(400)) if forged is not None]
    assert drawn.count("rare") == pytest.approx(200, abs=40)


def test_a_source_with_fakes_only_is_refused(tmp_path: Path) -> None:
    writer = PackWriter()
    writer.add_crop(drawn_face(1), CropRow(0, "a", "good"))
    writer.add_crop(drawn_face(2), CropRow(1, "b", "leaky"))
    pack = Pack(writer.write(tmp_path / "p.safetensors"))
    with pytest.raises(ValueError, match="leaky"):
        GroupSampler(pack, [0, 1], schedule())


def test_a_batch_depends_on_seed_and_step_alone(pack: Pack) -> None:
    train = split_rows(pack)["train"]
    two_sizes = schedule(sizes=((24, 0.5), (32, 0.5)))
    batches = FrameBatches(pack, train, two_sizes, SMALL)
    images, targets = batches[1]
    again, _ = FrameBatches(pack, train, two_sizes, SMALL)[1]
    assert torch.equal(images, again)
    assert not torch.equal(images, batches[0][0])
    assert [batches[k][0].shape[1] for k in range(4)] == [24, 24, 32, 32]
    assert targets.shape == (8, 2)
    loaded = [images for images, _ in batches.loader(range(1, len(batches)), 1)]
    assert torch.equal(loaded[0], images)


def test_each_head_sees_as_many_of_each_label_in_every_source_as_it_can(pack: Pack) -> None:
    batches = FrameBatches(pack, split_rows(pack)["train"], schedule(batch_size=300, total_steps=1), SMALL)
    _, targets = batches[0]
    for head in (BLENDED, FORGED):
        counts = [int((targets[:, head] == label).sum()) for label in (0, 1)]
        assert abs(counts[0] - counts[1]) <= 1
    assert int((targets[:, BLENDED] == IGNORE).sum()) > 50, "forgeries teach the other head"
    plain = schedule(batch_size=60, total_steps=1, self_blend=False)
    _, told = FrameBatches(pack, split_rows(pack)["train"], plain, SMALL)[0]
    assert torch.equal(told[:, BLENDED], told[:, FORGED])
    assert told[:, 0].tolist() == [0, 1] * 30


def test_a_forgery_without_a_self_blended_face_teaches_the_forged_head_alone(pack: Pack) -> None:
    alone = schedule(batch_size=300, total_steps=1, blended_share=0.0, mild_share=1.0)
    images, targets = FrameBatches(pack, split_rows(pack)["train"], alone, SMALL)[0]
    assert images.shape[0] == 300
    only_forged = targets[:, BLENDED] == IGNORE
    assert 50 < int(only_forged.sum()) < 300
    assert targets[only_forged][:, FORGED].tolist() == [0, 1] * (int(only_forged.sum()) // 2)
    assert not (targets[:, FORGED] == IGNORE).any()


def test_training_all_of_a_network_whose_frame_head_has_a_hidden_layer_leaves_nothing_of_that_layer() -> None:
    torch.manual_seed(0)
    model = FaceSequenceClassifier(replace(SMALL, frame_hidden=8)).eval()
    last = model.frame_head.hidden[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.ones_(last.weight)
    network = TwoHeadNetwork(model, (0.5, 0.5))
    assert torch.equal(network.blended.weight, model.frame_head.weight), "it begins at the linear layer"
    network.write_into(model)
    features = torch.randn(5, SMALL.feature_dim)
    expected = (network.blended(features) + network.forged(features)) / 2
    assert torch.allclose(model.frame_head(features), expected, atol=1e-5)


def test_a_head_of_no_weight_is_neither_trained_nor_in_the_result() -> None:
    torch.manual_seed(0)
    model = FaceSequenceClassifier(SMALL)
    network = TwoHeadNetwork(model, (0.0, 1.0))
    with torch.no_grad():
        network.blended.weight.fill_(5.0)
        network.forged.weight.fill_(2.0)
    network.write_into(model)
    assert torch.equal(model.frame_head.weight, network.forged.weight)
    logits = torch.randn(4, 2, 2, requires_grad=True)
    two_head_loss(logits, torch.tensor([[0, 0], [1, 1], [0, 0], [1, 1]]), 0.0, (0.0, 1.0)).backward()
    assert logits.grad is not None
    assert not logits.grad[:, BLENDED].any()
    assert logits.grad[:, FORGED].all()


def test_the_loss_of_a_head_ignores_what_is_not_its_own_and_weighs_both_classes_alike() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 2, 2)
    targets = torch.tensor([[0, 0], [1, IGNORE], [IGNORE, 1], [0, 0], [0, 0], [1, 1]])
    loss = two_head_loss(logits, targets, 0.0)
    expected = 0.0
    for head in (BLENDED, FORGED):
        for label in (0, 1):
            chosen = logits[targets[:, head] == label, head]
            same = torch.full((len(chosen),), label)
            expected += float(torch.nn.functional.cross_entropy(chosen, same)) / 2
    assert float(loss) == pytest.approx(expected, abs=1e-5)
    changed = logits.clone()
    changed[1, FORGED] += 5
    changed[2, BLENDED] -= 5
    assert torch.equal(two_head_loss(changed, targets, 0.0), loss)


def test_learning_rate_warms_up_and_ends_near_zero() -> None:
    rates = [learning_rate(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


def alone(margins: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Videos of one segment each."""
    return means_and_penalties([[margin] for margin in margins])


def test_temperature_softens_overconfident_margins_and_sharpens_timid_ones() -> None:
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 2, size=4000)
    labels = (rng.random(4000) < 1 / (1 + np.exp(-margins))).astype(np.int64)
    assert fit_temperature(*alone(margins), labels) == pytest.approx(1.0, abs=0.15)
    assert fit_temperature(*alone(margins * 5), labels) == pytest.approx(5.0, rel=0.15)
    assert fit_temperature(*alone(margins / 4), labels) == pytest.approx(0.25, rel=0.15)
    assert probabilities(np.array([0.0, 2.0]), 2.0).tolist() == pytest.approx([0.5, 0.731], abs=1e-3)


def judged(margins: Sequence[float], labels: Sequence[int], videos: Sequence[str], segments: Sequence[int]) -> Any:
    rows = [CropRow(label, "a", "b", video=v, segment=s) for label, v, s in zip(labels, videos, segments, strict=True)]
    items = [FeatureSequence(torch.zeros(1, 1), row.label, "b", row) for row in rows]
    return margins_by_video(items, np.array(margins))


def test_a_video_counts_once_and_each_segment_with_its_most_suspicious_person() -> None:
    found = judged([-3.0, 1.0, -1.0, 2.0, 4.0, -2.0], [0, 0, 0, 1, 1, 0], list("aabcca"), [0, 0, 0, 0, 2, 1])
    assert [video.segments for video in found] == [{0: 1.0, 1: -2.0}, {0: -1.0}, {0: 2.0, 2: 4.0}]
    assert [video.label for video in found] == [0, 0, 1]
    rng = np.random.default_rng(0)
    people = rng.normal(-1.5, 1.0, (2000, 3))  # three people in each real video, and one fake more in the others
    fakes = np.maximum(people.max(axis=1), rng.normal(1.5, 1.0, 2000))
    names = [str(k // 3) for k in range(6000)]
    reals = [max(video.segments.values()) for video in judged(people.ravel().tolist(), [0] * 6000, names, [0] * 6000)]
    truth = np.concatenate([np.zeros(2000, dtype=np.int64), np.ones(2000, dtype=np.int64)])
    level = choose_threshold(probabilities(np.concatenate([reals, fakes]), 1.0), truth)
    of_one = choose_threshold(probabilities(np.concatenate([people[:, 0], fakes]), 1.0), truth)
    assert level > of_one + 0.05, "fitted on single people, a video of three would be called fake too often"


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_many_videos_at_once_score_as_each_by_itself(temperature: float) -> None:
    rng = np.random.default_rng(2)
    margins = [rng.normal(0, 3, count).tolist() for count in (1, 2, 8, 5)]
    log_odds = tempered(*means_and_penalties(margins), temperature)
    expected = [combine(probabilities(np.array(one), temperature).tolist()) for one in margins]
    assert (1 / (1 + np.exp(-log_odds))).tolist() == pytest.approx(expected, abs=1e-5)


def test_a_held_out_video_is_scored_as_an_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    """One segment of eight at 0.65 is what chance gives: it is no fake."""
    fake = np.array([0.65, *[0.2] * 7, 0.65])
    monkeypatch.setattr(scoring, "sequence_margins", lambda *_: (np.log(fake / (1 - fake)) * 2, None))
    rows = [CropRow(0, "a", "b", video="long", segment=k) for k in range(8)] + [CropRow(0, "a", "b", video="short")]
    items = [FeatureSequence(torch.zeros(1, 1), 0, "b", row) for row in rows]
    model = FaceSequenceClassifier(SMALL)
    long, short = scoring.scored_videos(model, items, lambda item: "a", temperature=2.0)
    assert long.score == pytest.approx(combine(fake[:8].tolist()))
    assert long.score < 0.3
    assert short.score == pytest.approx(0.65)


def test_the_temperature_of_long_videos_counts_what_is_taken_off_for_looking_often() -> None:
    rng = np.random.default_rng(3)
    log_odds = rng.normal(0, 2, size=3000)
    labels = (rng.random(3000) < 1 / (1 + np.exp(-log_odds))).astype(np.int64)
    passage = log_odds[:1500] + FEW_SEGMENTS_PENALTY * np.log(6)  # one of six segments decides
    videos = [[x, *[-20.0] * 5] for x in passage] + [[x] * 6 for x in log_odds[1500:]]
    means, penalties = means_and_penalties([[2.5 * x for x in video] for video in videos])
    assert tempered(means, penalties, 2.5).tolist() == pytest.approx(log_odds.tolist())
    assert fit_temperature(means, penalties, labels) == pytest.approx(2.5, rel=0.15)


def test_threshold_parts_the_classes_where_it_can() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.5, 0.9])
    assert choose_threshold(scores, np.array([0, 0, 1, 1, 1])) == pytest.approx(0.25)
    assert choose_threshold(scores, np.array([0, 1, 0, 1, 1]), fake_recall=1.0) == pytest.approx(0.15)
    assert choose_threshold(scores, np.array([0, 1, 0, 1, 1]), fake_recall=0.6) == pytest.approx(0.4)
    with pytest.raises(ValueError, match="real and fake"):
        choose_threshold(scores, np.ones(5, dtype=np.int64))


def test_a_threshold_by_false_alarms_is_the_lowest_that_keeps_to_them() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7])
    truth = np.array([0, 0, 1, 0, 1, 0])
    assert choose_threshold(scores, truth, false_alarms=0.25) == pytest.approx(0.5)
    assert choose_threshold(scores, truth, false_alarms=0.5) == pytest.approx(0.25)
    assert choose_threshold(scores, truth, false_alarms=0.0) == pytest.approx(0.85), "above every score that was seen"
    assert choose_threshold(scores, truth, false_alarms=1.0) == pytest.approx(0.05)


def test_a_score_is_said_in_four_words_whose_borders_are_rates() -> None:
    fakes, reals = np.linspace(0.05, 0.99, 100), np.linspace(0.01, 0.9, 100)
    scores, truth = np.concatenate([fakes, reals]), np.repeat([1, 0], 100)
    borders = choose_borders(scores, truth, 0.5)
    assert borders.fakes_below == pytest.approx(0.1, abs=0.011)
    assert borders.reals_from <= 0.02
    assert borders.videos == 200
    words = [borders.assess(p, 0.5) for p in (0.01, borders.likely_real_below, 0.4999, 0.5, borders.likely_fake_from)]
    assert words == ["likely_real", "unclear", "unclear", "suspicious", "likely_fake"]
    again = AssessmentBorders.from_metrics({"assessment": borders.to_metrics()}, 0.5)
    assert again == borders
    sure = choose_borders(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]), 0.5)
    assert sure.likely_real_below == sure.likely_fake_from == 0.5, "never across the threshold"


@pytest.mark.parametrize("metrics", [{}, {"assessment": 3}, {"assessment": {"likely_real_below": 0.9}}])
def test_weights_that_do_not_say_where_a_word_begins_say_none(metrics: dict[str, object]) -> None:
    assert AssessmentBorders.from_metrics(metrics, 0.5) is None


def test_terms_of_data_and_start_the_stricter_ones_hold() -> None:
    assert strictest("", "") == ""
    assert strictest("", "Apache-2.0") == "Apache-2.0"
    assert strictest("CC-BY-NC-4.0", "Apache-2.0") == strictest("MIT", "CC-BY-NC-4.0") == "CC-BY-NC-4.0"


COMMAND = ["--start", "scratch", "--backbone", SMALL.backbone, "--crops", "320", "--batch-size", "16"]
COMMAND += ["--size", "32", "--workers", "0", "--steps-per-epoch", "10", "--sequence-epochs", "4", "--ema", "0.8"]
COMMAND += ["--sequence-draws", "128", "--pseudo-sequences", "10", "--bootstrap", "50"]


@pytest.mark.slow
def test_one_command_trains_both_stages_and_the_product_loads_the_result(pack: Pack, tmp_path: Path) -> None:
    command = [str(pack.path), "--out", str(tmp_path), *COMMAND]
    assert main(command) == 0
    classifier = Classifier.load(tmp_path / "weights.safetensors", device="cpu")
    info = classifier.info
    splits = split_rows(pack)
    assert info.config.backbone == SMALL.backbone
    assert info.training_data_sha256 == pack.content_sha256()
    held = {pack.rows[i].video for i in splits["holdout"] if pack.rows[i].sequence}
    assert info.metrics["videos"]["n"] == len(held) > 0  # self-blended copies are not counted
    people = {pack.rows[i].group for i in (*splits["train"], *splits["val"])}
    assert set(info.trained_on) == people
    assert not people & {pack.rows[i].group for i in splits["holdout"]}
    assert why_experimental(info.metrics)  # there are far fewer people than it takes
    assert info.experimental
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("features/**/*.npy")}
    assert kept
    metrics = info.metrics
    assert main([*command, "--stage", "sequence"]) == 0  # again, on the cached features
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("features/**/*.npy")} == kept
    assert Classifier.load(tmp_path / "weights.safetensors", device="cpu").info.metrics == metrics
    history = json.loads((tmp_path / "history.json").read_text())["history"]
    frames = [entry for entry in history if entry["stage"] == "frames"]
    assert [entry["step"] for entry in frames] == [10, 20]
    assert {"train_loss", "train_accuracy", "val_auc"} <= frames[0].keys()
    assert {"train_loss", "train_accuracy"} <= next(e for e in history if e["stage"] == "sequence").keys()
    score = classifier.score([[pack.crop(i) for i in next(iter(pack.sequences().values()))]])[0]
    assert 0 <= score.fake_probability <= 1


@pytest.mark.slow
def test_training_can_start_from_the_features_of_earlier_weights(
    pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = FaceSequenceClassifier(replace(SMALL, lstm_hidden=ModelConfig.lstm_hidden))
    start = tmp_path / "given.safetensors"
    save_weights(given, WeightsInfo(name="given", config=given.config, trained_on=("somebody",)), start, half=False)
    command = [str(pack.path), "--out", str(tmp_path / "run"), *COMMAND]
    command += ["--crops", "32", "--weights", str(start), "--lr", "0"]
    assert main(command) == 0
    model, info = load_weights(tmp_path / "run" / "weights.safetensors")
    assert "somebody" in info.trained_on
    first = "backbone.conv1.0.weight"
    assert torch.allclose(model.state_dict()[first], given.state_dict()[first], atol=1e-3)
    second = "lstm.weight_ih_l0"
    assert not torch.allclose(model.state_dict()[second], given.state_dict()[second], atol=1e-3)
    assert main([*command, "--backbone", "resnet34"]) == 1
    assert SMALL.backbone in capsys.readouterr().err


def test_shuffled_labels_are_told_to_training_alone(pack: Pack) -> None:
    splits = split_rows(pack)
    told = with_shuffled_labels(pack, splits, seed=1)
    assert [told.rows[i].label for i in splits["holdout"]] == [pack.rows[i].label for i in splits["holdout"]]
    inside = [*splits["train"], *splits["val"]]
    assert [told.rows[i].label for i in inside] != [pack.rows[i].label for i in inside]
    for source in ("lab", "film"):  # as many of each label as before
        rows = [i for i in splits["train"] if pack.rows[i].source == source]
        assert sum(told.rows[i].label for i in rows) == sum(pack.rows[i].label for i in rows)
    for indices in told.sequences().values():  # one label a video
        assert len({told.rows[i].label for i in indices}) == 1


def test_sources_that_the_start_has_seen_are_not_held_out(pack: Pack) -> None:
    before, after = (splits_of(pack, FitOptions(seen_sources=seen)) for seen in ((), ("lab",)))
    assert any(pack.rows[i].source == "lab" for i in before["val"])
    assert not any(pack.rows[i].source == "lab" for name in ("val", "holdout") for i in after[name])
    assert {i for rows in after.values() for i in rows} == set(range(len(pack)))


def test_a_file_that_is_no_pack_ends_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pack.safetensors"
    path.write_bytes(b"nothing of the kind")
    assert main([str(path), "--out", str(tmp_path)]) == 1
    assert "cannot be read as a pack" in capsys.readouterr().err
