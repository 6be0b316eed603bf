"""A version in shadow: it never stands in a client's way, its failures are its own, and its figures are right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone
from sklearn import metrics as sk

from detection.models import (
    AUDIT_RANKS,
    Analysis,
    AuditAction,
    AuditEntry,
    ModelVersion,
    ShadowScore,
    ShadowState,
    ShadowTrial,
    State,
    Verdict,
    Video,
)
from detection.selectors.live_traffic import live_traffic
from detection.services.learning import registry, shadow
from detection.services.uploads.uploads import delete_video
from tests.learning import register_blind, stored_video
from tests.traffic import Upload, month
from worker import tasks
from worker.stages import shadow as stage
from worker.training import measuring

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]


@pytest.fixture
def champion(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> ModelVersion:
    settings.DFD_REVIEW_AUDIT_SHARE = 0.5
    monkeypatch.setattr(stage, "_loaded", None)
    return register_blind(tmp_path)


@pytest.fixture
def candidate(tmp_path: Path, champion: ModelVersion) -> ModelVersion:
    return register_blind(tmp_path, active=False, seed=1)


def judged(number: int, model: ModelVersion, *, score: float = 0.3, ago_s: float = 0.0) -> Video:
    """A video with stored faces whose client was given a verdict so many seconds ago."""
    video = stored_video(number, fake=False)
    verdict = Verdict.objects.create(
        video=video, model_version=model, label="fake" if score >= 0.5 else "real", fake_probability=score,
        threshold=0.5, track=0,
    )  # fmt: skip
    Analysis.objects.filter(video=video).update(
        verdict=verdict, finished_at=timezone.now() - timedelta(seconds=ago_s), timings={"classify": 0.25}
    )
    Video.objects.filter(id=video.id).update(current_verdict=verdict, verdict_model=model)
    return video


def turn(trial: ShadowTrial) -> ShadowTrial:
    tasks.score_shadow(str(trial.id))
    trial.refresh_from_db()
    return trial


def test_new_videos_are_scored_and_older_ones_and_clients_verdicts_are_left_alone(
    champion: ModelVersion, candidate: ModelVersion
) -> None:
    judged(0, champion, ago_s=60)
    trial = shadow.start(model=candidate)
    videos = [judged(number, champion) for number in (1, 2)]
    before = list(Verdict.objects.order_by("id").values())
    trial = turn(trial)
    assert (trial.state, trial.attempts, trial.last_error) == (ShadowState.QUEUED, 0, "")
    scores = {row.video_id: row for row in ShadowScore.objects.all()}
    assert set(scores) == {video.id for video in videos}
    row = scores[videos[0].id]
    assert row.fake_probability == pytest.approx(0.5)  # it has no opinion
    assert (row.label, row.champion, row.champion_probability) == ("fake", champion, 0.3)
    assert (row.champion_label, row.champion_seconds) == ("real", 0.25)
    assert row.seconds is not None
    assert list(Verdict.objects.order_by("id").values()) == before
    turn(trial)  # nothing is scored twice
    assert ShadowScore.objects.count() == 2
    # analysed again: scored again, in the same row
    Analysis.objects.filter(video=videos[0]).update(finished_at=timezone.now())
    turn(trial)
    assert ShadowScore.objects.get(video=videos[0]).scored_at > row.scored_at
    assert ShadowScore.objects.count() == 2


def test_both_are_asked_about_the_same_people(champion: ModelVersion, candidate: ModelVersion) -> None:
    """A poster that reviewers left out of the verdict counted for the version in shadow only."""
    trial = shadow.start(model=candidate)
    video = judged(1, champion, score=0.2)
    own = {"label": "fake", "fake_probability": 0.9}
    Verdict.objects.filter(video=video).update(left_out=[1], with_everybody=own)
    turn(trial)
    row = ShadowScore.objects.get()
    assert (row.champion_probability, row.champion_label) == (0.9, "fake")


def test_a_waiting_client_comes_first(champion: ModelVersion, candidate: ModelVersion) -> None:
    trial = shadow.start(model=candidate)
    judged(1, champion)
    waiting = stored_video(2, fake=True)
    Analysis.objects.filter(video=waiting).update(state=State.QUEUED, stage="extract", finished_at=None)
    assert shadow.sweep() == 0  # nobody is even told
    turn(trial)
    assert not ShadowScore.objects.exists()
    Analysis.objects.filter(video=waiting).update(state=State.SUCCEEDED, stage="done", finished_at=timezone.now())
    ShadowTrial.objects.update(published_at=timezone.now() - timedelta(hours=1))  # told in vain
    assert shadow.sweep() == 1
    turn(trial)
    assert ShadowScore.objects.count() == 1


def test_a_shadow_that_fails_is_contained_counted_and_switched_off(
    champion: ModelVersion, candidate: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = shadow.start(model=candidate)
    for number in range(7):
        judged(number, champion)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the candidate divides by zero")

    monkeypatch.setattr("worker.process.runtime.score_people", broken)
    trial = turn(trial)
    assert (trial.state, trial.open) == (ShadowState.ENDED, False)
    assert trial.ended_because == "Switched off after 5 failures in a row; the worker's log says why."
    assert ShadowScore.objects.filter(fake_probability=None).count() == 5
    found = live_traffic(model=candidate, champion=champion)
    assert (found.n, found.failed) == (0, 5)
    assert AuditEntry.objects.filter(action=AuditAction.SHADOW_ENDED).count() == 1
    assert Verdict.objects.count() == 7
    assert shadow.sweep() == 0


def test_one_failure_among_successes_switches_nothing_off(
    champion: ModelVersion, candidate: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = shadow.start(model=candidate)
    for number in range(6):
        judged(number, champion)
    from worker.process import runtime

    score, calls = runtime.score_people, iter(range(100))

    def every_other(*arguments: Any) -> Any:
        if next(calls) % 2:
            raise RuntimeError("now and then")
        return score(*arguments)

    monkeypatch.setattr(runtime, "score_people", every_other)
    trial = turn(trial)
    assert trial.open
    assert ShadowScore.objects.filter(fake_probability=None).count() == 3
    assert ShadowScore.objects.filter(fake_probability__isnull=False).count() == 3


def test_weights_that_cannot_be_loaded_end_it_after_a_few_turns(
    champion: ModelVersion, candidate: ModelVersion, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = shadow.start(model=candidate)
    judged(1, champion)

    def gone(*, model: ModelVersion) -> Path:
        raise OSError("storage has no such file")

    monkeypatch.setattr(registry, "local_weights", gone)
    for _ in range(settings.DFD_MAX_ATTEMPTS):
        assert trial.open
        trial = turn(trial)
    assert not trial.open
    assert "Switched off after 3 turns that broke" in trial.ended_because
    assert "cannot be loaded" in trial.ended_because


def test_a_worker_that_dies_in_it_each_time_ends_it(
    champion: ModelVersion, candidate: ModelVersion, settings: Any
) -> None:
    trial = shadow.start(model=candidate)
    for _ in range(settings.DFD_MAX_ATTEMPTS):
        assert shadow.claim(trial_id=trial.id) is not None
        ShadowTrial.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        shadow.sweep()
    trial.refresh_from_db()
    assert not trial.open
    assert "ended without a word" in trial.ended_because


def test_it_ends_when_its_version_becomes_active_and_one_is_at_a_time(
    champion: ModelVersion, candidate: ModelVersion, tmp_path: Path
) -> None:
    trial = shadow.start(model=candidate)
    other = register_blind(tmp_path, active=False, seed=2)
    for model, why in ((other, "is in shadow; one version is at a time"), (champion, "It is the active model")):
        with pytest.raises(CommandError, match=why):
            call_command("shadow", str(model.id))
    registry.activate_model(model=candidate, reason="test")
    shadow.sweep()
    trial.refresh_from_db()
    assert trial.ended_because == "It has become the active model."


def test_what_it_said_goes_with_the_video_with_the_version_and_when_asked(
    champion: ModelVersion, candidate: ModelVersion, tmp_path: Path
) -> None:
    shadow.start(model=candidate)
    videos = [judged(number, champion) for number in range(3)]
    for model in (candidate, other := register_blind(tmp_path, active=False, seed=2)):
        for video in videos:
            ShadowScore.objects.create(
                video=video, model_version=model, fake_probability=0.7, label="fake", champion=champion,
                champion_probability=0.3, champion_label="real",
            )  # fmt: skip
    delete_video(video=videos[0])
    assert ShadowScore.objects.count() == 4
    other.delete()
    assert ShadowScore.objects.count() == 2
    out = StringIO()
    call_command("shadow", str(candidate.id), "--forget", stdout=out)
    assert "2 scores" in out.getvalue()
    assert not ShadowScore.objects.exists()
    assert not ShadowTrial.objects.exists()
    assert [entry.facts for entry in AuditEntry.objects.filter(action=AuditAction.SHADOW_ENDED)] == [
        {"scores_removed": 2}
    ]


def scored(uploads: list[Upload], champion: ModelVersion, candidate: ModelVersion) -> dict[Any, float]:
    """The month as the candidate scored it: better than the champion, and failing at every fiftieth."""
    rng = np.random.default_rng(5)
    rows, found = [], {}
    for k, upload in enumerate(uploads):
        score = (
            None if k % 50 == 0 else float(np.clip(0.5 + (0.2 if upload.fake else -0.2) + rng.normal(0, 0.15), 0, 1))
        )
        if score is not None:
            found[upload.id] = score
        rows.append(
            ShadowScore(
                video_id=upload.id, model_version=candidate, fake_probability=score,
                label="" if score is None else "fake" if score >= 0.5 else "real",
                seconds=None if score is None else 0.1 + 0.001 * (k % 7), champion=champion,
                champion_probability=upload.score, champion_label="fake" if upload.score >= 0.5 else "real",
                champion_seconds=0.25, scored_at=upload.judged_at + timedelta(seconds=30),
            )
        )  # fmt: skip
    ShadowScore.objects.bulk_create(rows)
    return found


def test_the_comparison_of_a_month_is_right_to_the_last_digit(
    champion: ModelVersion, candidate: ModelVersion, same: Callable[[float, float], None]
) -> None:
    uploads = month(champion)
    trial = shadow.start(model=candidate)
    new = scored(uploads, champion, candidate)
    known = [upload for upload in uploads if upload.id in new]
    old_scores, new_scores = np.array([u.score for u in known]), np.array([new[u.id] for u in known])
    # on the live traffic
    live = live_traffic(model=candidate, champion=champion)
    old_fake, new_fake = old_scores >= 0.5, new_scores >= 0.5
    assert (live.n, live.failed) == (len(known), len(uploads) - len(known))
    assert live.agreed == int((old_fake == new_fake).sum())
    assert live.to_fake == int((~old_fake & new_fake).sum())
    assert live.to_real == int((old_fake & ~new_fake).sum())
    assert live.agreement == (old_fake == new_fake).mean()
    assert live.mean_difference == pytest.approx((new_scores - old_scores).mean(), rel=1e-12)
    edges = np.linspace(0, 1, 11)
    assert live.scores == tuple(np.histogram(new_scores, edges)[0])
    assert live.champion_scores == tuple(np.histogram(old_scores, edges)[0])
    seconds = [0.1 + 0.001 * (k % 7) for k, u in enumerate(uploads) if u.id in new]
    assert live.cost.median == np.median(seconds)
    assert live.cost.mean == pytest.approx(np.mean(seconds), rel=1e-12)
    assert live.champion_cost.mean == 0.25
    # on the random audit
    figures = measuring.compared(candidate)
    drawn = [upload for upload in known if upload.rank < 0.5 * AUDIT_RANKS]
    y = np.array([u.fake for u in drawn], dtype=int)
    assert (figures["n"], figures["enough"], figures["champion"]) == (len(drawn), True, str(champion.id))
    for name, s in (
        ("active", np.array([u.score for u in drawn])),
        ("candidate", np.array([new[u.id] for u in drawn])),
    ):
        called = s >= 0.5
        same(figures[name]["auc"]["value"], sk.roc_auc_score(y, s))
        same(figures[name]["accuracy"]["value"], (called == y).mean())
        same(figures[name]["recall_fake"]["value"], called[y == 1].mean())
        same(figures[name]["brier"]["value"], sk.brier_score_loss(y, s))
        assert figures[name]["auc"]["low"] < figures[name]["auc"]["value"] < figures[name]["auc"]["high"]
        for k, entry in enumerate(figures["reliability"][name]):
            inside = np.minimum((s * 10).astype(int), 9) == k
            assert entry["n"] == inside.sum()
            if entry["n"]:
                assert entry["share_fake"] == pytest.approx(y[inside].mean(), rel=1e-12)
    for name in ("auc", "accuracy", "recall_fake"):
        difference = figures["difference"][name]
        expected = figures["candidate"][name]["value"] - figures["active"][name]["value"]
        assert difference["value"] == pytest.approx(expected, abs=2e-6)
        assert difference["low"] < difference["value"] < difference["high"]
    # a worker keeps it with the trial
    trial = turn(trial)
    assert trial.measured_at is not None
    assert trial.figures["candidate"]["auc"] == figures["candidate"]["auc"]


def test_few_labels_make_no_comparison(champion: ModelVersion, candidate: ModelVersion) -> None:
    scored(month(champion, videos=20), champion, candidate)
    figures = measuring.compared(candidate)
    assert not figures["enough"]
    assert "candidate" not in figures


@pytest.fixture
def same() -> Callable[[float, float], None]:
    def check(value: float, expected: float) -> None:
        assert value == round(float(expected), 6)

    return check


def test_from_the_terminal(champion: ModelVersion, candidate: ModelVersion) -> None:
    out = StringIO()
    call_command("shadow", str(candidate.id), stdout=out)
    uploads = month(champion, videos=50, labelled=False)
    scored(uploads, champion, candidate)
    call_command("shadow", str(candidate.id), "--show", stdout=out)
    call_command("shadow", str(candidate.id), "--off", stdout=out)
    assert "49 videos scored, 1 failed" in out.getvalue()
    assert "kept until --forget" in out.getvalue()
    with pytest.raises(CommandError, match="is not in shadow"):
        call_command("shadow", str(candidate.id), "--off")
    trial = ShadowTrial.objects.get()
    assert trial.ended_because == "Switched off."
    actions = list(AuditEntry.objects.order_by("number").values_list("action", "subject"))
    assert ("shadow_started", f"model:{candidate.id}") in actions
    assert ("shadow_ended", f"model:{candidate.id}") in actions
    assert User.objects.filter(username="newsroom").exists()
