"""Recalibrating from a month of traffic: every figure against numpy and scikit-learn."""

from __future__ import annotations

import json
import math
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.utils import timezone
from sklearn import metrics as sk

from detection.models import (
    AUDIT_RANKS,
    DatasetVideo,
    LocalFigures,
    ModelVersion,
    Promotion,
    ReviewNext,
    RunState,
    TrainingRun,
    Video,
)
from detection.selectors.local_figures import here
from detection.selectors.random_audit import audit_sample
from detection.services.jobs import training_runs
from detection.services.learning import local_figures, registry
from ml.evaluation.recalibration import JudgedVideo, cross_fitted, fit
from ml.model.weights import load_weights, read_info
from tests.learning import register_blind
from tests.traffic import Upload, answer, month
from worker import tasks
from worker.management.commands import recalibrate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]


@pytest.fixture
def model(tmp_path: Path, settings: Any) -> ModelVersion:
    settings.DFD_REVIEW_AUDIT_SHARE = 0.5
    return register_blind(tmp_path)


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def drawn(uploads: list[Upload], share: float = 0.5) -> list[Upload]:
    return sorted((u for u in uploads if u.rank < share * AUDIT_RANKS), key=lambda u: str(u.id))


def arrays(uploads: list[Upload]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return np.array([u.fake for u in uploads], dtype=int), np.array([u.score for u in uploads])


def same(value: float, expected: float) -> None:
    assert value == round(float(expected), 6)


def test_a_recalibration_of_a_month_is_right_to_the_last_digit_and_goes_live_by_the_gate(model: ModelVersion) -> None:
    uploads = drawn(month(model))
    said = run("recalibrate", "--false-alarms", "0.1")
    row = TrainingRun.objects.get()
    assert row.state == RunState.SUCCEEDED, row.message + row.last_error
    version = row.candidate
    assert version is not None
    assert version.parent == model == row.parent
    assert not version.active
    # before: straight from the rows
    labels, scores = arrays(uploads)
    before, after = version.metrics["before"], version.metrics["videos"]
    for figures, s, threshold in (
        (before, scores, model.threshold),
        (after, _crossed(uploads), version.threshold),
    ):
        assert (figures["n"], figures["n_fake"]) == (len(uploads), int(labels.sum()))
        assert figures["n_groups"] == len({u.group for u in uploads})
        same(figures["auc"]["value"], sk.roc_auc_score(labels, s))
        same(figures["brier"]["value"], sk.brier_score_loss(labels, s))
        same(figures["accuracy"]["value"], ((s >= threshold) == labels).mean())
        same(figures["recall_fake"]["value"], (s >= threshold)[labels == 1].mean())
        assert figures["accuracy"]["low"] < figures["accuracy"]["value"] < figures["accuracy"]["high"]
    assert after["brier"]["value"] < before["brier"]["value"]
    # the new calibration is the fit, on top of the old one
    fitted = fit([_judged(u) for u in uploads])
    assert version.temperature == pytest.approx(model.temperature / fitted.scale, rel=1e-12)
    assert version.shift == pytest.approx(fitted.shift, rel=1e-12)
    assert fitted.scale == pytest.approx(1 / 3 * 2.15, rel=0.35)  # log-odds of two normals 2.6 apart, three times
    new = np.array([fitted.scores([_judged(u)])[0] for u in uploads])
    assert (new >= version.threshold)[labels == 0].mean() <= 0.1
    borders = version.metrics["assessment"]
    assert borders["likely_real_below"] <= version.threshold <= borders["likely_fake_from"]
    # the same weights, in a file that says so
    path = registry.local_weights(model=version)
    info = read_info(path)
    assert (info.temperature, info.shift, info.threshold) == (version.temperature, version.shift, version.threshold)
    old, fresh = (load_weights(registry.local_weights(model=m))[0].state_dict() for m in (model, version))
    assert all((old[name] == fresh[name]).all() for name in old)
    # its report
    html = default_storage.open(str(row.report)).read().decode()
    assert "Reliability before" in html
    assert "Reliability after" in html
    report = json.loads(default_storage.open(str(row.report).replace(".html", ".json")).read())
    for curves, s in ((report["before"]["curves"], scores), (report["curves"], _crossed(uploads))):
        for k, b in enumerate(curves["reliability"]):
            inside = np.minimum((s * 10).astype(int), 9) == k
            assert b["n"] == inside.sum()
            if b["n"]:
                assert b["share_fake"] == pytest.approx(labels[inside].mean(), rel=1e-12)
                assert b["mean_score"] == pytest.approx(s[inside].mean(), rel=1e-12)
        assert any(b["low"] is not None for b in curves["reliability"])
    # the gate
    assert row.gate["passed"]
    assert row.gate["champion"] == str(model.id)
    assert row.gate["sentence"] in said
    brier = row.gate["figures"]["brier"]
    same(brier["difference"], sk.brier_score_loss(labels, _crossed(uploads)) - sk.brier_score_loss(labels, scores))
    run("promote", str(version.id))
    assert ModelVersion.objects.get(active=True) == version
    assert Promotion.objects.first().kind == "gate"  # type: ignore[union-attr]
    # once more: the parent's second look, on the same labels
    run("recalibrate", str(model.id), "--name", "again")
    again = TrainingRun.objects.get(candidate__name="again")
    assert again.gate["look"] == 2
    assert again.candidate is not None
    assert again.candidate.threshold == pytest.approx(fitted.apply(model.threshold), rel=1e-12)


def _judged(upload: Upload) -> JudgedVideo:
    parts = tuple(1 / (1 + math.exp(-x)) for x in upload.log_odds)
    return JudgedVideo(str(upload.id), int(upload.fake), f"face {upload.group}", parts)


def _crossed(uploads: list[Upload]) -> np.ndarray[Any, Any]:
    """Cross-fitted under the names that the product gives to groups."""
    from worker.training.local_audit import people

    names = people([u.id for u in uploads])
    videos = [JudgedVideo(j.key, j.label, names[u.id], j.segments) for u in uploads for j in [_judged(u)]]
    return cross_fitted(videos)


def test_how_good_the_active_model_is_here_is_measured_and_said(model: ModelVersion) -> None:
    assert local_figures.sweep() == 0  # nothing is labelled
    assert "not known yet" in here(model=model).sentence
    uploads = drawn(month(model))
    assert local_figures.sweep() == 1
    assert local_figures.sweep() == 0  # once an hour
    tasks.measure_here(str(model.id))
    labels, scores = arrays(uploads)
    found = here(model=model)
    assert found.enough
    right = (scores >= 0.5) == labels
    same(found.figures["accuracy"]["value"], right.mean())
    same(found.figures["recall_fake"]["value"], right[labels == 1].mean())
    assert f"right about {100 * round(right.mean(), 6):.1f} % (95 % interval" in found.sentence
    assert f"{len(uploads)} of the random audit ({(1 - labels).sum()} real, {labels.sum()} fake)" in found.sentence
    tasks.measure_here("00000000-0000-0000-0000-000000000000")  # a model that is gone by now
    assert LocalFigures.objects.count() == 1


def test_few_labels_are_said_to_be_few(model: ModelVersion) -> None:
    month(model, videos=30)
    tasks.measure_here(str(model.id))
    found = here(model=model)
    assert not found.enough
    assert "Not enough labels yet" in found.sentence
    assert "it takes 20 of 5 groups" in found.sentence
    with pytest.raises(CommandError, match="Too few labels"):
        run("recalibrate")
    row = TrainingRun.objects.get()
    assert row.state == RunState.REFUSED
    assert ModelVersion.objects.count() == 1


def test_only_videos_that_chance_drew_and_people_settled_blindly_count(model: ModelVersion) -> None:
    uploads = month(model, videos=200, labelled=False)
    reader = User.objects.get(username="reader")
    sample = sorted(drawn(uploads), key=lambda u: (u.rank, str(u.id)))
    answer(sample, reader)
    others = [u for u in uploads if u.rank >= 0.5 * AUDIT_RANKS]
    answer(others, reader)  # labelled, but not drawn
    assert {v.video_id for v in audit_sample(model=model).videos} == {u.id for u in sample}
    # a data set's video is nobody's traffic
    first = Video.objects.get(id=sample[0].id)
    DatasetVideo.objects.create(video=first, dataset="lab", path="a", label="real", identity="a")
    assert len(audit_sample(model=model).videos) == len(sample) - 1
    # one that waits for a second reader is not settled; while nineteen in twenty are, the sample is read on
    Video.objects.filter(id=sample[-1].id).update(review_next=ReviewNext.SECOND)
    found = audit_sample(model=model)
    assert len(found.videos) == len(sample) - 2
    assert found.waiting == 1
    # from some rank on nobody has come to it: what is labelled there was met for other reasons
    late = [u.id for u in sample[len(sample) // 2 :]]
    Video.objects.filter(id__in=late[::2]).update(label="")
    found = audit_sample(model=model)
    assert len(sample) // 2 - 1 <= len(found.videos) < 0.6 * len(sample)
    assert found.settled >= 0.95 * found.drawn


def test_videos_that_lost_their_pictures_unanswered_do_not_silence_the_audit_for_good(model: ModelVersion) -> None:
    """Of months in which nobody reviewed, each rank had some, and no later answer brought 95 % together."""
    uploads = drawn(month(model, videos=300, labelled=False))
    early = sorted(uploads, key=lambda upload: upload.judged_at)[: len(uploads) // 3]
    late = [upload for upload in uploads if upload not in early]
    removed = timezone.now()
    Video.objects.filter(id__in=[upload.id for upload in early]).update(pictures_removed_at=removed, needs_review=False)
    answer(late, User.objects.get(username="reader"))
    found = audit_sample(model=model)
    assert {video.video_id for video in found.videos} == {upload.id for upload in late}
    assert (found.drawn, found.settled, found.waiting) == (len(late), len(late), 0)
    # so it is with those that one person has answered and the second reader came too late for
    ids = [upload.id for upload in early]
    answer(early, User.objects.get(username="reader"))
    Video.objects.filter(id__in=ids).update(review_next=ReviewNext.SECOND)
    assert {video.video_id for video in audit_sample(model=model).videos} == {upload.id for upload in late}
    Video.objects.filter(id__in=ids).update(label="", review_next=ReviewNext.NOBODY)
    # a few such are within the rest of 5 %: nothing is given up for them
    Video.objects.filter(id__in=[upload.id for upload in early[2:]]).update(pictures_removed_at=None)
    answer(early[2:], User.objects.get(username="reader"))
    Video.objects.filter(id=late[-1].id).update(label="", pictures_removed_at=removed)
    assert len(audit_sample(model=model).videos) > 0.9 * len(uploads)


def test_answers_of_people_who_had_seen_the_score_do_not_count(model: ModelVersion) -> None:
    uploads = month(model, videos=100, labelled=False)
    answer(drawn(uploads), User.objects.get(username="reader"), shown=True)
    assert audit_sample(model=model).videos == ()


def test_one_that_is_interrupted_says_how_to_go_on(model: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(recalibrate, "run", interrupted)
    with pytest.raises(CommandError, match=r"Interrupted\. .*--resume.*--give-up"):
        run("recalibrate")


def test_who_queues_one_leaves_it_to_a_worker_and_a_model_that_is_gone_ends_it(model: ModelVersion) -> None:
    month(model)
    run("recalibrate", "--queue", "--fake-recall", "0.8")
    row = TrainingRun.objects.get()
    assert row.state == RunState.QUEUED
    tasks.train_model(str(row.id))
    row.refresh_from_db()
    assert row.state == RunState.SUCCEEDED
    assert row.candidate is not None
    gone = training_runs.request_run(options={"recalibrate": "00000000-0000-0000-0000-000000000000"})
    tasks.train_model(str(gone.id))
    gone.refresh_from_db()
    assert (gone.state, gone.message) == (RunState.REFUSED, "The model that was to be recalibrated is gone.")
