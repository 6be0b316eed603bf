"""Heat maps and previews on demand: one job at a time, claims that are fenced, and no file that no row names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from detection import dispatch
from detection.errors import Refused
from detection.models import (
    EvidenceJob,
    EvidenceKind,
    ModelVersion,
    Review,
    ReviewClaim,
    ReviewRole,
    Stage,
    State,
    Verdict,
    Video,
)
from detection.services.jobs import analyses, attempt_files, evidence
from detection.services.jobs.evidence import EvidenceClaim
from detection.services.jobs.leases import LeaseLost
from detection.services.uploads.uploads import delete_video
from tests.at_once import MANY, at_once
from tests.detection.conftest import Doorbell, MakeVideo, claimed, extraction, stored_files, verdict

pytestmark = pytest.mark.django_db
Committed = Callable[..., AbstractContextManager[Any]]
HEATMAPS, PREVIEW = EvidenceKind.HEATMAPS, EvidenceKind.PREVIEW
LONG_AGO = timedelta(hours=1)


@pytest.fixture
def maria(db: None) -> User:
    return User.objects.create_user("maria")


@pytest.fixture
def judged(video: Video, model: ModelVersion, tmp_path: Path, django_capture_on_commit_callbacks: Committed) -> Video:
    """A video with three faces, a clip and a verdict."""
    return judge(video, model, tmp_path, django_capture_on_commit_callbacks)


def judge(video: Video, model: ModelVersion, tmp_path: Path, committed: Committed) -> Video:
    with committed(execute=True):
        analysis = analyses.queue_analysis(video=video, reuse_faces=False)
        analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
        analyses.finish_classification(claim=claimed(analysis, Stage.CLASSIFY), result=verdict(model))
    return fresh(video)


def fresh(video: Video) -> Video:
    return Video.objects.select_related("current_verdict__model_version").get(pk=video.pk)


def take(job: EvidenceJob) -> EvidenceClaim:
    claim = evidence.claim(job_id=job.id)
    assert claim is not None
    return claim


def pictures(video: Video) -> dict[Any, bytes]:
    return {face.id: b"jpeg" for face in video.faces.all()}


def make_heatmaps(video: Video, by: User, committed: Committed, sha256: str = "a" * 64) -> EvidenceJob:
    job = evidence.request(video=video, kind=HEATMAPS, by=by)
    with committed(execute=True):
        evidence.finish_heatmaps(claim=take(job), model_sha256=sha256, jpegs=pictures(video))
    job.refresh_from_db()
    return job


def make_preview(video: Video, by: User, tmp_path: Path, committed: Committed) -> EvidenceJob:
    path = tmp_path / "preview.mp4"
    path.write_bytes(b"h264")
    job = evidence.request(video=video, kind=PREVIEW, by=by)
    with committed(execute=True):
        evidence.finish_preview(claim=take(job), path=path)
    job.refresh_from_db()
    return job


def evidence_files(video: Video) -> set[str]:
    return {name for name in stored_files(video) if name.startswith(("heatmaps/", "preview/"))}


# --- asking ----------------------------------------------------------------------------------------------------------


def test_a_request_makes_one_job_and_rings_the_queue_of_its_kind(
    judged: Video, maria: User, doorbell: Doorbell, django_capture_on_commit_callbacks: Committed
) -> None:
    doorbell.rung.clear()
    with django_capture_on_commit_callbacks(execute=True):
        heat = evidence.request(video=judged, kind=HEATMAPS, by=maria)
        again = evidence.request(video=judged, kind=HEATMAPS, by=maria)
        preview = evidence.request(video=judged, kind=PREVIEW, by=maria)
    assert again == heat
    assert doorbell.rung == [
        ("worker.tasks.make_heatmaps", [str(heat.id)]),
        ("worker.tasks.make_preview", [str(preview.id)]),
    ]
    heat.refresh_from_db()
    assert (heat.state, heat.requested_by) == (State.QUEUED, maria)
    assert heat.published_at is not None


@pytest.mark.django_db(transaction=True)
def test_many_requests_at_once_make_one_job(video: Video) -> None:
    maria = User.objects.create_user("maria")
    made = at_once(lambda n: evidence.request(video=Video.objects.get(pk=video.pk), kind=PREVIEW, by=maria))
    assert len({job.id for job in made}) == 1
    claims = at_once(lambda n: evidence.claim(job_id=made[0].id))
    assert [claim is None for claim in claims].count(False) == 1
    assert len(claims) == MANY


def test_without_a_verdict_there_is_nothing_to_show(video: Video, maria: User) -> None:
    with pytest.raises(Refused, match="no heat map") as refusal:
        evidence.request(video=video, kind=HEATMAPS, by=maria)
    assert (refusal.value.code, refusal.value.status) == ("nothing_to_show", 409)
    assert evidence.heatmap_names(video) == {}


def test_a_reviewer_is_refused_heat_maps_until_the_answer_but_may_have_a_preview(judged: Video, maria: User) -> None:
    ReviewClaim.objects.create(
        video=judged, token=uuid4(), reviewer=maria, queue="audit", role=ReviewRole.FIRST,
        until=timezone.now() + timedelta(seconds=60),
    )  # fmt: skip
    with pytest.raises(Refused, match="after your answer") as refusal:
        evidence.request(video=judged, kind=HEATMAPS, by=maria)
    assert (refusal.value.code, refusal.value.status) == ("not_yet", 409)
    assert evidence.request(video=judged, kind=PREVIEW, by=maria).state == State.QUEUED
    other = User.objects.create_user("ben")
    assert evidence.request(video=judged, kind=HEATMAPS, by=other).state == State.QUEUED
    Review.objects.create(video=judged, reviewer=maria, label="fake", role=ReviewRole.FIRST)
    assert evidence.request(video=judged, kind=HEATMAPS, by=maria).requested_by == other


def test_fifty_open_jobs_a_user_and_no_more(make_video: MakeVideo, maria: User) -> None:
    videos = [make_video() for _ in range(evidence.MAX_OPEN + 1)]
    opened = [evidence.request(video=video, kind=PREVIEW, by=maria) for video in videos[:-1]]
    with pytest.raises(Refused) as refusal:
        evidence.request(video=videos[-1], kind=PREVIEW, by=maria)
    assert (refusal.value.code, refusal.value.status) == ("too_many_requests", 429)
    assert evidence.request(video=videos[0], kind=PREVIEW, by=maria) == opened[0]  # that is no new one
    evidence.request(video=videos[-1], kind=PREVIEW, by=User.objects.create_user("ben"))
    evidence.finish_failed(claim=take(opened[0]), code="corrupt_video", detail="It breaks off.")
    evidence.request(video=make_video(), kind=PREVIEW, by=maria)


def test_what_was_made_is_given_again_until_the_verdict_is_another_models(
    judged: Video, maria: User, model: ModelVersion, django_capture_on_commit_callbacks: Committed
) -> None:
    job = make_heatmaps(judged, maria, django_capture_on_commit_callbacks)
    assert job.state == State.SUCCEEDED
    assert evidence.request(video=fresh(judged), kind=HEATMAPS, by=maria) == job
    names = evidence.heatmap_names(fresh(judged))
    assert set(names) == {str(face.id) for face in judged.faces.all()}
    assert all(default_storage.exists(name) for name in names.values())

    other = ModelVersion.objects.create(name="other", sha256="b" * 64, file="models/o", threshold=0.5)
    second = Verdict.objects.create(
        video=judged, model_version=other, label="fake", fake_probability=0.8, threshold=0.5, track=0
    )
    Video.objects.filter(pk=judged.pk).update(current_verdict=second)
    assert evidence.heatmap_names(fresh(judged)) == {}
    newer = make_heatmaps(fresh(judged), maria, django_capture_on_commit_callbacks, sha256=other.sha256)
    assert newer != job
    assert newer.token is not None
    assert evidence_files(judged) == {f"heatmaps/{newer.token.hex}/{face.id}.jpg" for face in judged.faces.all()}


def test_a_failed_one_stands_until_somebody_asks_again_or_the_verdict_changes(
    judged: Video, maria: User, model: ModelVersion
) -> None:
    for kind in (PREVIEW, HEATMAPS):
        job = evidence.request(video=judged, kind=kind, by=maria)
        evidence.finish_failed(claim=take(job), code="corrupt_video", detail="It breaks off.")
        same = evidence.request(video=judged, kind=kind, by=maria)
        assert (same, same.state, same.error_detail) == (job, State.FAILED, "It breaks off.")
    again = evidence.request(video=judged, kind=PREVIEW, by=maria, again=True)
    assert (again.state, EvidenceJob.objects.filter(kind=PREVIEW).count()) == (State.QUEUED, 2)
    Verdict.objects.update(created_at=timezone.now() + timedelta(seconds=1))
    assert evidence.request(video=fresh(judged), kind=HEATMAPS, by=maria).state == State.QUEUED


# --- claims and leases -----------------------------------------------------------------------------------------------


def test_a_preview_becomes_the_videos_and_a_duplicate_message_does_nothing(
    judged: Video, maria: User, tmp_path: Path, django_capture_on_commit_callbacks: Committed
) -> None:
    job = make_preview(judged, maria, tmp_path, django_capture_on_commit_callbacks)
    video = fresh(judged)
    assert job.token is not None
    assert video.preview.name == f"{video.folder}/preview/{job.token.hex}.mp4"
    assert default_storage.open(str(video.preview.name)).read() == b"h264"
    assert evidence.request(video=video, kind=PREVIEW, by=maria) == job
    assert evidence.claim(job_id=job.id) is None
    assert evidence.claim(job_id=uuid4()) is None


def test_who_lost_the_lease_changes_nothing_and_leaves_no_file(
    judged: Video, maria: User, tmp_path: Path, django_capture_on_commit_callbacks: Committed
) -> None:
    path = tmp_path / "preview.mp4"
    path.write_bytes(b"h264")
    heat = evidence.request(video=judged, kind=HEATMAPS, by=maria)
    preview = evidence.request(video=judged, kind=PREVIEW, by=maria)
    late = [take(heat), take(preview)]
    EvidenceJob.objects.update(lease_until=timezone.now() - LONG_AGO)
    ours = [take(heat), take(preview)]
    with pytest.raises(LeaseLost):
        evidence.heartbeat(claim=late[0])
    with pytest.raises(LeaseLost):
        evidence.finish_heatmaps(claim=late[0], model_sha256="a" * 64, jpegs=pictures(judged))
    with pytest.raises(LeaseLost):
        evidence.finish_preview(claim=late[1], path=path)
    with pytest.raises(LeaseLost):
        evidence.finish_failed(claim=late[0], code="x", detail="x")
    with pytest.raises(LeaseLost):
        evidence.release(claim=late[0], error="x")
    assert evidence_files(judged) == set()
    assert not fresh(judged).preview
    evidence.heartbeat(claim=ours[0])
    with django_capture_on_commit_callbacks(execute=True):
        evidence.finish_heatmaps(claim=ours[0], model_sha256="a" * 64, jpegs=pictures(judged))
        evidence.finish_preview(claim=ours[1], path=path)
    assert len(evidence_files(judged)) == 4
    assert set(EvidenceJob.objects.values_list("state", "attempts")) == {(State.SUCCEEDED, 2)}


def test_files_of_a_storage_that_breaks_off_do_not_stay(
    judged: Video, maria: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = evidence.request(video=judged, kind=HEATMAPS, by=maria)
    claim, save = take(job), default_storage.save
    saved: list[str] = []

    def full(name: str, content: Any) -> str:
        if len(saved) == 2:
            raise OSError("disk full")
        saved.append(name)
        return save(name, content)

    monkeypatch.setattr(default_storage, "save", full)
    with pytest.raises(OSError, match="disk full"):
        evidence.finish_heatmaps(claim=claim, model_sha256="a" * 64, jpegs=pictures(judged))
    assert len(saved) == 2
    assert evidence_files(judged) == set()


def test_what_a_killed_attempt_left_goes_with_the_next_one(
    judged: Video, maria: User, tmp_path: Path, django_capture_on_commit_callbacks: Committed
) -> None:
    heat = evidence.request(video=judged, kind=HEATMAPS, by=maria)
    preview = evidence.request(video=judged, kind=PREVIEW, by=maria)
    for job, name in ((heat, "heatmaps/{}/half.jpg"), (preview, "preview/{}.mp4")):
        killed = take(job)
        default_storage.save(f"{judged.folder}/{name.format(killed.token.hex)}", ContentFile(b"half"))
    attempt_files.prune_evidence(judged.pk)
    assert len(evidence_files(judged)) == 2  # for all anybody knows they are being written
    EvidenceJob.objects.update(lease_until=timezone.now() - LONG_AGO)
    with django_capture_on_commit_callbacks(execute=True):
        evidence.sweep()
    assert evidence_files(judged) == set()
    make_heatmaps(judged, maria, django_capture_on_commit_callbacks)
    make_preview(judged, maria, tmp_path, django_capture_on_commit_callbacks)
    assert len(evidence_files(judged)) == 4


def test_deleting_the_video_takes_the_evidence_along_and_who_is_at_it_leaves_nothing(
    judged: Video, maria: User, tmp_path: Path, django_capture_on_commit_callbacks: Committed
) -> None:
    make_preview(judged, maria, tmp_path, django_capture_on_commit_callbacks)
    late, jpegs = take(evidence.request(video=judged, kind=HEATMAPS, by=maria)), pictures(judged)
    root = Path(default_storage.path(judged.folder))
    with django_capture_on_commit_callbacks(execute=True):
        delete_video(video=judged)
    assert not EvidenceJob.objects.exists()
    with pytest.raises(LeaseLost):
        evidence.finish_heatmaps(claim=late, model_sha256="a" * 64, jpegs=jpegs)
    assert [path for path in root.rglob("*") if path.is_file()] == []


# --- a new extraction ------------------------------------------------------------------------------------------------


def test_a_new_extraction_makes_all_of_it_stale_and_removes_the_files(
    judged: Video, maria: User, model: ModelVersion, tmp_path: Path, django_capture_on_commit_callbacks: Committed
) -> None:
    make_heatmaps(judged, maria, django_capture_on_commit_callbacks)
    make_preview(judged, maria, tmp_path, django_capture_on_commit_callbacks)
    assert len(evidence_files(judged)) == 4
    video = judge(judged, model, tmp_path, django_capture_on_commit_callbacks)
    assert (video.preview.name, evidence.heatmap_names(video), evidence_files(video)) == ("", {}, set())
    heat = make_heatmaps(video, maria, django_capture_on_commit_callbacks)
    make_preview(video, maria, tmp_path, django_capture_on_commit_callbacks)
    attempt_files.prune(video.pk)
    assert set(evidence.heatmap_names(fresh(video))) == {str(face.id) for face in video.faces.all()}
    assert len(evidence_files(video)) == 4  # what is current stays
    assert heat.state == State.SUCCEEDED


def test_what_was_being_made_of_the_old_faces_begins_anew(
    judged: Video, maria: User, model: ModelVersion, tmp_path: Path, django_capture_on_commit_callbacks: Committed
) -> None:
    job = evidence.request(video=judged, kind=HEATMAPS, by=maria)
    late, old = take(job), pictures(judged)
    video = judge(judged, model, tmp_path, django_capture_on_commit_callbacks)
    with pytest.raises(LeaseLost):
        evidence.finish_heatmaps(claim=late, model_sha256="a" * 64, jpegs=old)
    job.refresh_from_db()
    assert (job.state, job.attempts, evidence_files(video)) == (State.QUEUED, 0, set())
    assert make_heatmaps(video, maria, django_capture_on_commit_callbacks) == job


# --- giving back, and the sweeper ------------------------------------------------------------------------------------


def test_work_given_back_is_tried_three_times_and_then_failed_with_a_sentence(judged: Video, maria: User) -> None:
    job = evidence.request(video=judged, kind=PREVIEW, by=maria)
    for attempt in (1, 2):
        evidence.release(claim=take(job), error="Traceback: /secret", detail="No room.")
        job.refresh_from_db()
        assert (job.state, job.attempts, job.token, job.published_at) == (State.QUEUED, attempt, None, None)
    evidence.release(claim=take(job), error="Traceback: /secret", detail="No room.")
    job.refresh_from_db()
    assert (job.state, job.error_detail) == (State.FAILED, "Given up after 3 attempts. No room.")
    assert job.last_error == "Traceback: /secret"
    assert job.finished_at is not None


def test_a_worker_that_is_stopped_gives_it_back_uncounted_and_at_once(
    judged: Video, maria: User, doorbell: Doorbell, django_capture_on_commit_callbacks: Committed
) -> None:
    job = evidence.request(video=judged, kind=PREVIEW, by=maria)
    doorbell.rung.clear()
    with django_capture_on_commit_callbacks(execute=True):
        evidence.release(claim=take(job), error="", counts=False)
    job.refresh_from_db()
    assert (job.state, job.attempts) == (State.QUEUED, 0)
    assert doorbell.rung == [("worker.tasks.make_preview", [str(job.id)])]


def test_the_sweeper_gives_back_what_the_dead_held_and_gives_up_after_three(
    judged: Video, maria: User, doorbell: Doorbell, django_capture_on_commit_callbacks: Committed
) -> None:
    job = evidence.request(video=judged, kind=HEATMAPS, by=maria)
    EvidenceJob.objects.update(created_at=timezone.now() - LONG_AGO)
    for attempt in (1, 2, 3):
        take(job)
        doorbell.rung.clear()
        assert evidence.sweep() == 0  # its lease is alive
        EvidenceJob.objects.update(lease_until=timezone.now() - LONG_AGO)
        assert evidence.sweep() == (2 if attempt < 3 else 1)  # given back, and published at once
        assert len(doorbell.rung) == (attempt < 3)
    job.refresh_from_db()
    assert job.state == State.FAILED
    assert job.error_detail.startswith("Given up after 3 attempts. Each time the process")
    assert "lease ran out" in job.last_error


def test_the_sweeper_publishes_what_was_never_heard_and_not_more(
    judged: Video, maria: User, doorbell: Doorbell, settings: Any
) -> None:
    job = evidence.request(video=judged, kind=PREVIEW, by=maria)
    doorbell.rung.clear()
    assert evidence.sweep() == 0  # made just now: its own request publishes it
    EvidenceJob.objects.update(created_at=timezone.now() - LONG_AGO)
    doorbell.down = True
    assert evidence.sweep() == 0
    doorbell.down = False
    assert evidence.sweep() == 1
    assert evidence.sweep() == 0
    EvidenceJob.objects.update(published_at=timezone.now() - timedelta(seconds=settings.DFD_REPUBLISH_S + 1))
    assert evidence.sweep() == 1
    assert doorbell.rung == [("worker.tasks.make_preview", [str(job.id)])] * 2


def test_what_waits_in_a_long_queue_is_not_sent_again_and_what_is_lost_is(
    judged: Video, maria: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (PREVIEW, HEATMAPS):
        evidence.request(video=judged, kind=kind, by=maria)
    for waiting, told in ((1, 0), (70, 0), (0, 2)):
        EvidenceJob.objects.update(published_at=timezone.now() - LONG_AGO)
        monkeypatch.setattr(dispatch, "backlog", lambda *, stage, waiting=waiting: waiting)
        assert evidence.sweep() == told
