"""The job protocol, as two workers, a sweeper and a client would see it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from detection.errors import Refused
from detection.models import Analysis, ModelVersion, Stage, State, Verdict, Video
from detection.services.jobs import analyses
from detection.services.jobs.leases import LeaseLost
from tests.detection.conftest import Doorbell, MakeVideo, claimed, extraction, stored_files, verdict

pytestmark = pytest.mark.django_db


def lease_runs_out(analysis: Analysis) -> None:
    Analysis.objects.filter(id=analysis.id).update(lease_until=timezone.now() - timedelta(seconds=1))


# --- queueing ------------------------------------------------------------------------------------------------------


def test_a_new_video_is_queued_for_extraction_and_a_worker_is_told_after_the_commit(
    video: Video, doorbell: Doorbell, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        analysis = analyses.queue_analysis(video=video)
        assert doorbell.rung == []
    assert doorbell.rung == [("worker.tasks.extract_faces", [str(analysis.id)])]
    analysis.refresh_from_db()
    video.refresh_from_db()
    assert (analysis.state, analysis.stage, video.status) == (State.QUEUED, Stage.EXTRACT, State.QUEUED)
    assert analysis.published_at is not None
    assert video.current_analysis == analysis


def test_a_video_has_one_open_analysis_however_often_it_is_asked_for(video: Video) -> None:
    assert analyses.queue_analysis(video=video) == analyses.queue_analysis(video=video, reuse_faces=False)


def test_with_the_broker_down_the_row_stays_unpublished_and_nothing_fails(
    video: Video, doorbell: Doorbell, django_capture_on_commit_callbacks: Any
) -> None:
    doorbell.down = True
    with django_capture_on_commit_callbacks(execute=True):
        analysis = analyses.queue_analysis(video=video)
    analysis.refresh_from_db()
    assert (analysis.state, analysis.published_at) == (State.QUEUED, None)


def test_a_video_with_faces_is_classified_again_without_a_second_extraction(
    video: Video, model: ModelVersion, tmp_path: Path
) -> None:
    first = analyses.queue_analysis(video=video)
    analyses.finish_extraction(claim=claimed(first), result=extraction(tmp_path))
    analyses.finish_classification(claim=claimed(first, Stage.CLASSIFY), result=verdict(model))
    again = analyses.queue_analysis(video=video)
    assert again != first
    assert again.stage == Stage.CLASSIFY
    analyses.finish_classification(claim=claimed(again, Stage.CLASSIFY), result=verdict(model, 0.2))
    assert [(v.label, v.fake_probability) for v in Verdict.objects.all()] == [("real", 0.2)]
    video.refresh_from_db()
    assert (video.verdict_label, video.fake_probability) == ("real", 0.2)


def test_only_a_finished_analysis_can_be_queued_again(video: Video) -> None:
    analysis = analyses.queue_analysis(video=video)
    with pytest.raises(Refused) as refused:
        analyses.requeue(video=video)
    assert refused.value.code == "still_open"
    analyses.finish_failed(claim=claimed(analysis), code="corrupt_video", detail="It is.")
    video.refresh_from_db()
    assert analyses.requeue(video=video).state == State.QUEUED


# --- claims --------------------------------------------------------------------------------------------------------


def test_a_message_delivered_twice_gives_one_claim(video: Video) -> None:
    analysis = analyses.queue_analysis(video=video)
    claim = claimed(analysis)
    assert analyses.claim(analysis_id=analysis.id, stage=Stage.EXTRACT, worker="other") is None
    analysis.refresh_from_db()
    video.refresh_from_db()
    assert (analysis.state, analysis.attempts, analysis.token) == (State.RUNNING, 1, claim.token)
    assert video.status == State.RUNNING


@pytest.mark.parametrize("stage", [Stage.CLASSIFY, Stage.AWAITING_MODEL])
def test_a_message_for_another_stage_gives_no_claim(video: Video, stage: str) -> None:
    analysis = analyses.queue_analysis(video=video)
    assert analyses.claim(analysis_id=analysis.id, stage=stage, worker="w") is None


def test_a_message_for_a_deleted_analysis_gives_no_claim(db: None) -> None:
    assert analyses.claim(analysis_id=uuid4(), stage=Stage.EXTRACT, worker="w") is None


def test_work_that_backs_off_cannot_be_claimed_before_its_time(video: Video) -> None:
    analysis = analyses.queue_analysis(video=video)
    analyses.release(claim=claimed(analysis), error="boom")
    assert analyses.claim(analysis_id=analysis.id, stage=Stage.EXTRACT, worker="w") is None
    Analysis.objects.update(not_before=timezone.now())
    claim = analyses.claim(analysis_id=analysis.id, stage=Stage.EXTRACT, worker="w")
    assert claim is not None
    assert claim.attempt == 2


def test_an_expired_lease_can_be_claimed_and_the_first_holder_has_lost_it(
    video: Video, model: ModelVersion, tmp_path: Path
) -> None:
    analysis = analyses.queue_analysis(video=video)
    slow = claimed(analysis)
    lease_runs_out(analysis)
    fast = claimed(analysis)
    calls = [
        lambda: analyses.heartbeat(claim=slow, progress=50),
        lambda: analyses.finish_extraction(claim=slow, result=extraction(tmp_path)),
        lambda: analyses.finish_no_face(claim=slow, result=extraction(tmp_path, faces=0)),
        lambda: analyses.finish_failed(claim=slow, code="corrupt_video", detail=""),
        lambda: analyses.finish_classification(claim=slow, result=verdict(model)),
        lambda: analyses.release(claim=slow, error="x"),
        lambda: analyses.release(claim=slow, error="x", counts=False),
        lambda: analyses.await_model(claim=slow),
    ]
    for call in calls:
        with pytest.raises(LeaseLost):
            call()
    assert stored_files(video) == {"original.mp4"}
    assert not Verdict.objects.exists()
    analysis.refresh_from_db()
    assert (analysis.state, analysis.token) == (State.RUNNING, fast.token)


def test_a_heartbeat_extends_the_lease_and_progress_never_goes_back(video: Video) -> None:
    analysis = analyses.queue_analysis(video=video)
    claim = claimed(analysis)
    lease_runs_out(analysis)
    analyses.heartbeat(claim=claim, progress=40)
    analyses.heartbeat(claim=claim, progress=30)
    analysis.refresh_from_db()
    assert analysis.progress == 40
    assert analysis.lease_until is not None
    assert analysis.lease_until > timezone.now()


# --- ends ----------------------------------------------------------------------------------------------------------


def test_extraction_stores_faces_and_facts_and_goes_on_to_classification(
    video: Video, model: ModelVersion, doorbell: Doorbell, tmp_path: Path, django_capture_on_commit_callbacks: Any
) -> None:
    analysis = analyses.queue_analysis(video=video)
    with django_capture_on_commit_callbacks(execute=True):
        analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path, tracks=2))
    analysis.refresh_from_db()
    video.refresh_from_db()
    assert (analysis.state, analysis.stage, analysis.attempts) == (State.QUEUED, Stage.CLASSIFY, 0)
    assert analysis.progress == 80
    assert analysis.public_state == video.status == State.RUNNING
    assert (video.tracks, video.codec, video.frames_decoded) == (2, "h264", 30)
    assert (video.frames_claimed, video.truncated, video.people_left_out) == (150, True, 3)
    assert [(f.track, f.position) for f in video.faces.all()] == [(t, i) for t in (0, 1) for i in range(3)]
    assert video.faces.all()[0].crop.read() == b"png"
    assert doorbell.rung[-1] == ("worker.tasks.classify_video", [str(analysis.id)])


def test_without_a_model_the_task_waits_and_a_sweep_after_the_activation_wakes_it(video: Video, tmp_path: Path) -> None:
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
    analysis.refresh_from_db()
    assert (analysis.public_state, analysis.stage) == (State.QUEUED, Stage.AWAITING_MODEL)
    assert analyses.claim(analysis_id=analysis.id, stage=Stage.CLASSIFY, worker="w") is None


def test_a_claim_without_a_model_goes_back_to_waiting_and_costs_no_attempt(
    video: Video, model: ModelVersion, tmp_path: Path
) -> None:
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
    analyses.await_model(claim=claimed(analysis, Stage.CLASSIFY))
    analysis.refresh_from_db()
    assert (analysis.state, analysis.stage, analysis.attempts) == (State.QUEUED, Stage.AWAITING_MODEL, 0)


def test_no_face_keeps_the_frames_for_a_person_and_asks_for_a_review(video: Video, tmp_path: Path) -> None:
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_no_face(claim=claimed(analysis), result=extraction(tmp_path, faces=0))
    video.refresh_from_db()
    assert (video.status, video.needs_review, video.verdict_label) == (State.NO_FACE, True, "")
    assert [frame.frame_number for frame in video.sampled_frames.all()] == [0, 9]
    assert video.sampled_frames.all()[0].boxes[0]["reason"] == "low_probability"
    assert not video.faces.exists()


def test_a_verdict_is_mirrored_on_the_video(video: Video, model: ModelVersion, tmp_path: Path) -> None:
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
    analyses.finish_classification(claim=claimed(analysis, Stage.CLASSIFY), result=verdict(model, 0.7))
    analysis.refresh_from_db()
    video.refresh_from_db()
    assert (analysis.state, analysis.stage, analysis.progress) == (State.SUCCEEDED, Stage.DONE, 100)
    assert analysis.timings == {"extract": 1.0, "classify": 0.5}
    assert analysis.verdict == video.current_verdict
    assert (video.status, video.verdict_label, video.fake_probability) == (State.SUCCEEDED, "fake", 0.7)
    assert video.needs_review


def test_bad_input_is_a_result_and_never_tried_again(video: Video) -> None:
    analysis = analyses.queue_analysis(video=video)
    analyses.finish_failed(claim=claimed(analysis), code="no_video_stream", detail="Sound only.")
    analysis.refresh_from_db()
    video.refresh_from_db()
    assert (analysis.state, analysis.error_code, video.status) == (State.FAILED, "no_video_stream", State.FAILED)
    assert analyses.claim(analysis_id=analysis.id, stage=Stage.EXTRACT, worker="w") is None


def test_an_extraction_made_again_replaces_faces_and_removes_the_old_files(
    video: Video, model: ModelVersion, tmp_path: Path, django_capture_on_commit_callbacks: Any
) -> None:
    first = analyses.queue_analysis(video=video)
    with django_capture_on_commit_callbacks(execute=True):
        analyses.finish_extraction(claim=claimed(first), result=extraction(tmp_path, faces=5, colour=b"old"))
        analyses.finish_classification(claim=claimed(first, Stage.CLASSIFY), result=verdict(model))
    before = stored_files(video)
    again = analyses.queue_analysis(video=video, reuse_faces=False)
    assert again.stage == Stage.EXTRACT
    with django_capture_on_commit_callbacks(execute=True):
        analyses.finish_extraction(claim=claimed(again), result=extraction(tmp_path, faces=2, colour=b"new"))
    assert [face.crop.read() for face in video.faces.all()] == [b"new", b"new"]
    assert stored_files(video) & before == {"original.mp4"}
    assert len(stored_files(video)) == 1 + 2 + 2  # original, clip and thumbnail, two faces


def test_a_failure_while_storing_leaves_no_file_behind(
    video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **changes: Any) -> None:
        raise OSError("no space left")

    analysis = analyses.queue_analysis(video=video)
    claim = claimed(analysis)
    monkeypatch.setattr(analyses, "_mirror", broken)
    with pytest.raises(OSError, match="no space left"):
        analyses.finish_no_face(claim=claim, result=extraction(tmp_path, faces=0))
    assert stored_files(video) == {"original.mp4"}
    analysis.refresh_from_db()
    assert analysis.state == State.RUNNING


def test_the_files_of_a_killed_attempt_go_when_another_one_finishes(
    video: Video, tmp_path: Path, django_capture_on_commit_callbacks: Any
) -> None:
    analysis = analyses.queue_analysis(video=video)
    killed = claimed(analysis)
    leftover = Path(video.file.path).parent / killed.token.hex / "faces" / "0-00.png"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    lease_runs_out(analysis)
    with django_capture_on_commit_callbacks(execute=True):
        analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
    assert not leftover.exists()
    assert "original.mp4" in stored_files(video)


def test_a_worker_that_is_stopped_gives_its_work_back_at_once_and_uncounted(
    video: Video, doorbell: Doorbell, django_capture_on_commit_callbacks: Any
) -> None:
    analysis = analyses.queue_analysis(video=video)
    with django_capture_on_commit_callbacks(execute=True):
        analyses.release(claim=claimed(analysis), error="", counts=False)
    analysis.refresh_from_db()
    assert (analysis.state, analysis.attempts) == (State.QUEUED, 0)
    assert doorbell.rung == [("worker.tasks.extract_faces", [str(analysis.id)])]
    assert claimed(analysis).attempt == 1


def test_after_three_attempts_it_is_given_up_with_a_sentence_for_the_client(video: Video, settings: Any) -> None:
    settings.DFD_MAX_ATTEMPTS = 3
    analysis = analyses.queue_analysis(video=video)
    waits = []
    for _ in range(3):
        Analysis.objects.update(not_before=timezone.now())
        before = timezone.now()
        analyses.release(claim=claimed(analysis), error="Traceback: secret path", detail="It took longer than 300 s.")
        analysis.refresh_from_db()
        waits.append((analysis.not_before - before).total_seconds())
    assert analysis.state == State.DEAD
    assert (analysis.public_state, analysis.error_code) == (State.FAILED, "gave_up")
    assert analysis.error_detail == "Given up after 3 attempts. It took longer than 300 s."
    assert analysis.last_error == "Traceback: secret path"
    assert settings.DFD_BACKOFF_S * 0.5 <= waits[0] < waits[1] * 3
    video.refresh_from_db()
    assert video.status == State.DEAD


def test_a_deleted_video_takes_the_claim_with_it_and_its_files_are_not_written_again(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    video = make_video()
    claim = claimed(analyses.queue_analysis(video=video))
    Video.objects.get(id=video.id).delete()
    with pytest.raises(LeaseLost):
        analyses.finish_extraction(claim=claim, result=extraction(tmp_path))
    assert stored_files(video) == {"original.mp4"}  # that one is delete_video's to remove
