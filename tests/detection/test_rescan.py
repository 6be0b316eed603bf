"""A second look with lower thresholds: once, only where nobody was found, and never forgotten by a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from detection.errors import Refused
from detection.models import Analysis, ModelVersion, Stage, State, Video
from detection.services.jobs import analyses
from detection.services.learning import rescoring
from detection.services.reviews.rescan import found_by_rescan, request_rescan, rescanned
from tests.detection.conftest import Doorbell, MakeVideo, claimed, extraction, verdict

pytestmark = pytest.mark.django_db


@pytest.fixture
def reviewer(db: None) -> User:
    user = User.objects.create_user("reviewer")
    user.user_permissions.add(Permission.objects.get(codename="add_review"))
    return user


def nobody_found(video: Video, tmp_path: Path) -> None:
    claim = claimed(Analysis.objects.get(video=video, state=State.QUEUED))
    analyses.finish_no_face(claim=claim, result=extraction(tmp_path, tracks=0))
    video.refresh_from_db()


def faces_found(video: Video, tmp_path: Path) -> None:
    claim = claimed(Analysis.objects.get(video=video, state=State.QUEUED))
    analyses.finish_extraction(claim=claim, result=extraction(tmp_path))
    video.refresh_from_db()


def refusal(video: Video, by: User) -> Refused:
    with pytest.raises(Refused) as caught:
        request_rescan(video=video, by=by)
    return caught.value


def test_it_is_queued_for_extraction_with_the_flag_that_the_claim_carries(
    video: Video, reviewer: User, tmp_path: Path, doorbell: Doorbell, django_capture_on_commit_callbacks: Any
) -> None:
    first = analyses.queue_analysis(video=video)
    assert not claimed(first).sensitive
    analyses.finish_no_face(claim=claimed_again(first), result=extraction(tmp_path, tracks=0))
    with django_capture_on_commit_callbacks(execute=True):
        analysis = request_rescan(video=video, by=reviewer)
    assert (analysis.sensitive, analysis.stage, analysis.state) == (True, Stage.EXTRACT, State.QUEUED)
    assert doorbell.rung[-1] == ("worker.tasks.extract_faces", [str(analysis.pk)])
    video.refresh_from_db()
    assert video.status == State.QUEUED
    assert request_rescan(video=video, by=reviewer) == analysis
    assert claimed(analysis).sensitive


def claimed_again(analysis: Analysis) -> analyses.AnalysisClaim:
    analysis.refresh_from_db()
    assert analysis.token is not None
    return analyses.AnalysisClaim(analysis.pk, analysis.token, analysis.attempts, analysis.video_id, analysis.stage)


def test_who_asks_in_vain_is_told_why(video: Video, reviewer: User, model: ModelVersion, tmp_path: Path) -> None:
    open_one = analyses.queue_analysis(video=video)
    assert request_rescan(video=video, by=reviewer) == open_one
    nobody_found(video, tmp_path)
    stranger = User.objects.create_user("stranger")
    assert (refusal(video, stranger).code, refusal(video, stranger).status) == ("permission_denied", 403)
    assert refusal(video, video.owner).code == "permission_denied"
    request_rescan(video=video, by=reviewer)
    assert not rescanned(video)
    nobody_found(video, tmp_path)
    assert rescanned(video)
    assert (refusal(video, reviewer).code, refusal(video, reviewer).status) == ("looked_already", 409)
    analyses.queue_analysis(video=video)
    faces_found(video, tmp_path)
    Analysis.objects.filter(video=video, state=State.QUEUED).update(state=State.SUCCEEDED, finished_at=timezone.now())
    Video.objects.filter(pk=video.pk).update(status=State.SUCCEEDED)
    assert (refusal(video, reviewer).code, refusal(video, reviewer).status) == ("not_no_face", 409)
    assert Analysis.objects.count() == 3


def test_what_it_found_is_known_until_other_faces_take_its_place(
    video: Video, reviewer: User, model: ModelVersion, tmp_path: Path
) -> None:
    analyses.queue_analysis(video=video)
    nobody_found(video, tmp_path)
    request_rescan(video=video, by=reviewer)
    faces_found(video, tmp_path)
    assert found_by_rescan([video.pk]) == {video.pk}
    analysis = Analysis.objects.get(video=video, state=State.QUEUED)
    analyses.finish_classification(claim=claimed(analysis, Stage.CLASSIFY), result=verdict(model))
    again = analyses.queue_analysis(video=video)
    assert (again.stage, again.sensitive) == (Stage.CLASSIFY, False)
    assert found_by_rescan([video.pk]) == {video.pk}, "the faces are the same"
    analyses.finish_failed(claim=claimed(again, Stage.CLASSIFY), code="x", detail="X.")
    anew = analyses.queue_analysis(video=video, reuse_faces=False)
    analyses.finish_failed(claim=claimed(anew), code="corrupt_video", detail="No frame of it can be decoded.")
    assert found_by_rescan([video.pk]) == {video.pk}, "an extraction that failed stores none"
    analyses.queue_analysis(video=video, reuse_faces=False)
    faces_found(video, tmp_path)
    assert found_by_rescan([video.pk]) == set()


def test_one_that_gave_up_is_tried_again_as_it_was_asked_for(video: Video, reviewer: User, tmp_path: Path) -> None:
    analyses.queue_analysis(video=video)
    nobody_found(video, tmp_path)
    analysis = request_rescan(video=video, by=reviewer)
    for state, is_sensitive in ((State.DEAD, True), (State.NO_FACE, False)):
        Analysis.objects.filter(pk=analysis.pk).update(state=state, finished_at=timezone.now(), error_code="gave_up")
        Video.objects.filter(pk=video.pk).update(current_analysis=analysis)
        video.refresh_from_db()
        again = analyses.requeue(video=video)
        assert again.sensitive is is_sensitive
        again.delete()


def test_rescoring_knows_in_one_more_query_whatever_the_size(
    make_video: MakeVideo, reviewer: User, model: ModelVersion, tmp_path: Path
) -> None:
    lowered = set()
    for number in range(6):
        video = make_video()
        analyses.queue_analysis(video=video, sensitive=number % 2 == 0)
        faces_found(video, tmp_path)
        analysis = Analysis.objects.get(video=video, state=State.QUEUED)
        analyses.finish_classification(claim=claimed(analysis, Stage.CLASSIFY), result=verdict(model))
        if number % 2 == 0:
            lowered.add(video.pk)
    other = ModelVersion.objects.create(name="n", sha256="b" * 64, file="models/n.safetensors", threshold=0.5)
    counted = []
    for size in (2, 6):
        with CaptureQueriesContext(connection) as queries:
            batch = rescoring.next_batch(model=other, size=size)
        counted.append(len(queries))
    assert {stored.video_id for stored in batch if stored.sensitive} == lowered
    assert counted == [4, 4]
