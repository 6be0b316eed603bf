"""Cancelling: whatever a task is at, it ends at once, and whoever is at it can change nothing any more."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from detection.errors import Refused
from detection.models import (
    Analysis,
    FaceFrame,
    FolderCheck,
    ModelVersion,
    Stage,
    State,
    Verdict,
    Video,
    WebhookDelivery,
)
from detection.services.jobs import analyses, attempt_files, sweeper
from detection.services.jobs.analyses import AnalysisClaim
from detection.services.jobs.cancellation import cancel_analysis
from detection.services.jobs.leases import LeaseLost
from detection.services.jobs.webhook_deliveries import register
from detection.services.reviews.queues import queue_parts
from tests.at_once import at_once
from tests.detection.conftest import MakeVideo, claimed, extraction, stored_files, verdict

pytestmark = pytest.mark.django_db


def test_a_task_that_waits_is_cancelled_at_once_and_cannot_be_claimed_any_more(video: Video) -> None:
    analysis = analyses.queue_analysis(video=video)
    cancelled = cancel_analysis(analysis_id=analysis.id)
    assert (cancelled.state, cancelled.public_state, cancelled.error_code) == (State.CANCELLED, "failed", "cancelled")
    assert cancelled.finished_at is not None
    assert analyses.claim(analysis_id=analysis.id, stage=Stage.EXTRACT, worker="w") is None
    video.refresh_from_db()
    assert video.status == State.CANCELLED


def test_a_worker_at_it_has_lost_its_lease_and_can_settle_nothing(
    video: Video, model: ModelVersion, tmp_path: Path
) -> None:
    analysis = analyses.queue_analysis(video=video)
    claim = claimed(analysis)
    cancel_analysis(analysis_id=analysis.id)
    calls = [
        lambda: analyses.heartbeat(claim=claim, progress=50),
        lambda: analyses.finish_extraction(claim=claim, result=extraction(tmp_path)),
        lambda: analyses.finish_no_face(claim=claim, result=extraction(tmp_path, faces=0)),
        lambda: analyses.finish_failed(claim=claim, code="corrupt_video", detail=""),
        lambda: analyses.finish_classification(claim=claim, result=verdict(model)),
        lambda: analyses.release(claim=claim, error="x"),
        lambda: analyses.await_model(claim=claim),
    ]
    for call in calls:
        with pytest.raises(LeaseLost):
            call()
    assert stored_files(video) == {"original.mp4"}
    assert Analysis.objects.get().state == State.CANCELLED
    assert not FaceFrame.objects.exists()
    assert not Verdict.objects.exists()


def test_what_the_worker_has_written_so_far_is_removed_and_looked_for_once_more(
    video: Video, tmp_path: Path, django_capture_on_commit_callbacks: Any
) -> None:
    analysis = analyses.queue_analysis(video=video)
    claim = claimed(analysis)
    attempt_files.store(attempt_files.attempt_folder(video.id, claim.token), video.id, extraction(tmp_path))
    assert len(stored_files(video)) > 1
    with django_capture_on_commit_callbacks(execute=True):
        cancel_analysis(analysis_id=analysis.id)
    assert stored_files(video) == {"original.mp4"}
    assert FolderCheck.objects.filter(video_id=video.id).exists()  # the worker may write on for a moment, and die


def test_to_cancel_again_changes_nothing(video: Video) -> None:
    analysis = analyses.queue_analysis(video=video)
    first = cancel_analysis(analysis_id=analysis.id)
    again = cancel_analysis(analysis_id=analysis.id)
    assert (again.state, again.finished_at) == (State.CANCELLED, first.finished_at)


def test_what_has_ended_or_is_gone_cannot_be_cancelled(video: Video) -> None:
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_failed(claim=claimed(analysis), code="corrupt_video", detail="It is.")
    with pytest.raises(Refused) as refused:
        cancel_analysis(analysis_id=analysis.id)
    assert (refused.value.code, refused.value.status) == ("already_ended", 409)
    with pytest.raises(Refused) as refused:
        cancel_analysis(analysis_id=uuid4())
    assert (refused.value.code, refused.value.status) == ("not_found", 404)


def test_faces_that_are_stored_stay_whole_and_a_new_task_scores_them(
    video: Video, model: ModelVersion, tmp_path: Path, django_capture_on_commit_callbacks: Any
) -> None:
    first = analyses.queue_analysis(video=video)
    with django_capture_on_commit_callbacks(execute=True):
        analyses.finish_extraction(claim=claimed(first), result=extraction(tmp_path))
        claimed(first, Stage.CLASSIFY)
        cancel_analysis(analysis_id=first.id)
    crops = {str(face.crop.name).removeprefix(f"{video.folder}/") for face in FaceFrame.objects.all()}
    assert len(crops) == 3
    assert crops < stored_files(video)
    again = analyses.queue_analysis(video=video)
    assert (again.pk != first.pk, again.stage) == (True, Stage.CLASSIFY)
    analyses.finish_classification(claim=claimed(again, Stage.CLASSIFY), result=verdict(model))
    video.refresh_from_db()
    assert (video.status, video.verdict_label) == (State.SUCCEEDED, "fake")


def _cancel(claim: AnalysisClaim) -> None:
    cancel_analysis(analysis_id=claim.id)


def _fail(claim: AnalysisClaim) -> None:
    analyses.finish_failed(claim=claim, code="corrupt_video", detail="It is.")


def _give_up(claim: AnalysisClaim) -> None:
    analyses.release(claim=replace(claim, attempt=1000), error="x")


def _die(claim: AnalysisClaim) -> None:
    Analysis.objects.filter(pk=claim.id).update(attempts=1000, lease_until=timezone.now() - timedelta(hours=1))
    sweeper.sweep()


@pytest.mark.parametrize("replaced", [False, True], ids=["faces as before", "faces replaced"])
@pytest.mark.parametrize(
    ("end", "state"),
    [(_cancel, State.CANCELLED), (_fail, State.FAILED), (_give_up, State.DEAD), (_die, State.DEAD)],
)
def test_a_verdict_stays_unless_the_faces_that_it_was_on_are_gone(
    end: Callable[[AnalysisClaim], None],
    state: State,
    replaced: bool,
    video: Video,
    model: ModelVersion,
    tmp_path: Path,
) -> None:
    first = analyses.queue_analysis(video=video)
    analyses.finish_extraction(claim=claimed(first), result=extraction(tmp_path))
    analyses.finish_classification(claim=claimed(first, Stage.CLASSIFY), result=verdict(model))
    again = analyses.queue_analysis(video=video, reuse_faces=False)
    claim = claimed(again)
    if replaced:
        analyses.finish_extraction(claim=claim, result=extraction(tmp_path))
        claim = claimed(again, Stage.CLASSIFY)
    end(claim)
    video.refresh_from_db()
    assert video.status == state
    assert (video.verdict_label, video.needs_review) == (("", False) if replaced else ("fake", True))
    assert (video.current_verdict is None) == replaced


def test_the_owners_webhooks_are_told(video: Video) -> None:
    register(owner=video.owner, url="https://example.org/")
    cancel_analysis(analysis_id=analyses.queue_analysis(video=video).id)
    told = json.loads(WebhookDelivery.objects.get().body)["data"]
    assert (told["state"], told["error"]["code"], told["verdict"]) == ("failed", "cancelled", None)


def test_nobody_is_asked_to_review_what_its_owner_cancelled_and_no_sweep_brings_it_back(video: Video) -> None:
    cancel_analysis(analysis_id=analyses.queue_analysis(video=video).id)
    for queue in ("uncertain", "audit", "no_face", "failed", "disagreement"):
        assert [row for part in queue_parts(queue=queue, reviewer=None) for row in part] == []
    report = sweeper.sweep()
    assert (report.given_back, report.published) == (0, 0)
    assert Analysis.objects.get().state == State.CANCELLED


@pytest.mark.django_db(transaction=True)
def test_of_a_cancellation_and_a_verdict_at_once_one_wins_whole(
    make_video: MakeVideo, model: ModelVersion, tmp_path: Path
) -> None:
    """Eight tasks at their last step: each thread cancels one and settles its neighbour's."""
    claims = []
    for _ in range(8):
        analysis = analyses.queue_analysis(video=make_video())
        analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
        claims.append(claimed(analysis, Stage.CLASSIFY))

    def both(number: int) -> tuple[int, bool, bool]:
        mine, other = claims[number], claims[(number + 1) % 8]
        try:
            cancel_analysis(analysis_id=mine.id)
            cancelled = True
        except Refused:
            cancelled = False
        try:
            analyses.finish_classification(claim=other, result=verdict(model))
            settled = True
        except LeaseLost:
            settled = False
        return number, cancelled, settled

    answers = at_once(both)
    cancelled = {number for number, won, _ in answers if won}
    settled = {(number + 1) % 8 for number, _, won in answers if won}
    assert cancelled | settled == set(range(8))
    assert not cancelled & settled
    for number, claim in enumerate(claims):
        row = Analysis.objects.get(id=claim.id)
        assert row.state == (State.CANCELLED if number in cancelled else State.SUCCEEDED)
        assert (row.verdict is None, row.token) == (number in cancelled, None)
        assert Video.objects.get(id=claim.video_id).status == row.state
