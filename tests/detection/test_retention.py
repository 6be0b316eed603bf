"""The retention policy: what goes after how many days, what never does, and what is said of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db.models import QuerySet
from django.test import Client
from django.utils import timezone

from detection.errors import Refused
from detection.models import (
    Analysis,
    AuditAction,
    AuditEntry,
    DatasetVideo,
    EvidenceJob,
    EvidenceKind,
    ModelVersion,
    Print,
    Removal,
    Review,
    Stage,
    State,
    Verdict,
    Video,
)
from detection.services.jobs import analyses, evidence
from detection.services.learning import rescoring
from detection.services.ops import pending_deletions, retention
from detection.services.reviews import queues
from detection.services.uploads import uploads
from tests.detection.conftest import MakeVideo, claimed, extraction, stored_files, verdict

pytestmark = pytest.mark.django_db
Capture = Callable[..., Any]


@pytest.fixture
def old(
    make_video: MakeVideo, model: ModelVersion, tmp_path: Path, django_capture_on_commit_callbacks: Capture
) -> Callable[..., Video]:
    """A video that went all the way `days` ago, with a preview and heat maps."""

    def make(days: float = 10, **fields: Any) -> Video:
        video = make_video()
        with django_capture_on_commit_callbacks(execute=True):
            analysis = analyses.queue_analysis(video=video)
            analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
            analyses.finish_classification(claim=claimed(analysis, Stage.CLASSIFY), result=verdict(model))
        preview = default_storage.save(f"{video.folder}/preview/p.mp4", ContentFile(b"preview"))
        default_storage.save(f"{video.folder}/heatmaps/h/1.jpg", ContentFile(b"heat"))
        when = timezone.now() - timedelta(days=days)
        Video.objects.filter(pk=video.pk).update(created_at=when, preview=preview, **fields)
        video.refresh_from_db()
        return video

    return make


@pytest.fixture
def apply(django_capture_on_commit_callbacks: Capture) -> Callable[[], retention.Removed]:
    def call() -> retention.Removed:
        with django_capture_on_commit_callbacks(execute=True):
            return retention.apply()

    return call


Apply = Callable[[], retention.Removed]
Old = Callable[..., Video]


def names(video: Video) -> set[str]:
    return {Path(name).name for name in stored_files(video)}


ORIGINALS = {"original.mp4", "clip.mp4", "p.mp4"}
PICTURES = {"thumbnail.jpg", "0-00.png", "0-01.png", "0-02.png", "1.jpg"}


def test_by_default_everything_is_kept(old: Old, apply: Apply) -> None:
    video = old(days=10_000)
    assert apply() == retention.Removed()
    assert names(video) == ORIGINALS | PICTURES
    assert not AuditEntry.objects.filter(action=AuditAction.RETENTION).exists()


def test_originals_go_and_faces_verdict_and_a_new_verdict_stay(old: Old, apply: Apply, settings: Any) -> None:
    settings.DFD_KEEP_ORIGINALS_DAYS = 7
    video, young = old(), old(days=6)
    assert apply() == retention.Removed(originals=1)
    video.refresh_from_db()
    assert names(video) == PICTURES
    assert names(young) == ORIGINALS | PICTURES
    assert (video.file.name, video.clip.name, video.preview.name) == ("", "", "")
    assert apply() == retention.Removed()
    entry = AuditEntry.objects.get(action=AuditAction.RETENTION)
    assert (entry.facts, entry.actor) == ({"originals": 1, "crops": 0, "videos": 0}, "retention (program)")
    assert not Removal.objects.exists()

    with pytest.raises(Refused, match=r"removed by the retention policy on .* upload the file again") as refused:
        uploads.analyze_again(video=video, reuse_faces=False)
    assert (refused.value.code, refused.value.status) == ("original_expired", 409)
    with pytest.raises(Refused, match="retention policy"):
        evidence.request(video=video, kind=EvidenceKind.PREVIEW, by=video.owner)
    assert uploads.analyze_again(video=video).stage == Stage.CLASSIFY


def test_what_is_gone_is_said_over_rest_and_in_the_admin(old: Old, apply: Apply, settings: Any) -> None:
    settings.DFD_KEEP_ORIGINALS_DAYS = settings.DFD_KEEP_CROPS_DAYS = 7
    video = old()
    face = video.faces.first()
    apply()
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="a long enough pass phrase"))
    today = timezone.now().strftime("%-d %B %Y")
    for kind in ("original", "clip", "preview"):
        answer = client.get(f"/api/v1/videos/{video.pk}/media/{kind}")
        assert (answer.status_code, answer.json()["code"]) == (410, "original_expired")
        assert answer.json()["detail"] == f"The original was removed by the retention policy on {today}."
    answer = client.get(f"/api/v1/videos/{video.pk}/media/thumbnail")
    assert (answer.status_code, answer.json()["code"]) == (410, "pictures_expired")
    assert face is not None
    assert client.get(f"/api/v1/faces/{face.pk}/image").status_code == 404
    body = client.get(f"/api/v1/videos/{video.pk}/").json()
    assert body["media"] == {"original": None, "clip": None, "thumbnail": None}
    assert body["original_removed_at"]
    assert body["pictures_removed_at"]
    assert body["verdict"]["label"] == "fake"
    page = client.get(f"/admin/detection/video/{video.pk}/change/").content.decode()
    assert f"The original was removed by the retention policy on {today}." in page
    assert f"The pictures were removed by the retention policy on {today}." in page
    assert "<video" not in page
    analyse = client.post(f"/api/v1/videos/{video.pk}/analyze/", {}, content_type="application/json")
    assert (analyse.status_code, analyse.json()["code"]) == (409, "original_expired")


def test_pictures_go_the_verdict_stays_and_nothing_waits_for_what_cannot_be_seen(
    old: Old, apply: Apply, settings: Any, model: ModelVersion
) -> None:
    settings.DFD_KEEP_CROPS_DAYS = 7
    video = old()
    EvidenceJob.objects.create(
        video=video, kind=EvidenceKind.HEATMAPS, state=State.SUCCEEDED, finished_at=timezone.now()
    )
    assert apply() == retention.Removed(crops=1)
    video.refresh_from_db()
    assert names(video) == ORIGINALS
    assert (video.faces.count(), Print.objects.filter(video=video).count(), video.evidence_jobs.count()) == (0, 0, 0)
    assert (video.verdict_label, video.needs_review, video.fingerprint) == ("fake", False, "-")
    reader = User.objects.create_superuser("root", password="a long enough pass phrase")
    settings.DFD_REVIEW_AUDIT_SHARE = 1.0
    assert not any(
        part.exists() for queue in queues.QUEUES for part in queues.queue_parts(queue=queue, reviewer=reader)
    )
    # no model can be asked again from stored faces
    newer = ModelVersion.objects.create(name="n", sha256="b" * 64, file="models/n", threshold=0.5)
    assert rescoring.next_batch(model=newer, size=10) == []
    with pytest.raises(Refused, match="no heat map"):
        evidence.request(video=video, kind=EvidenceKind.HEATMAPS, by=reader)
    # nor does a queue tell how long it has waited
    Video.objects.filter(pk=video.pk).update(status="failed", verdict_label="")
    assert [queues.oldest_in(queue=queue) for queue in queues.QUEUES] == [None] * len(queues.QUEUES)


def test_pictures_that_are_gone_come_back_with_a_new_look_at_the_original(
    old: Old, apply: Apply, settings: Any, tmp_path: Path, django_capture_on_commit_callbacks: Capture
) -> None:
    settings.DFD_KEEP_CROPS_DAYS = 7
    video = old()
    apply()
    settings.DFD_KEEP_CROPS_DAYS = 0
    video.refresh_from_db()
    analysis = uploads.analyze_again(video=video)
    assert analysis.stage == Stage.EXTRACT
    with django_capture_on_commit_callbacks(execute=True):
        analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
    video.refresh_from_db()
    assert video.pictures_removed_at is None
    assert {"thumbnail.jpg", "0-00.png", "clip.mp4", "original.mp4"} <= names(video)
    assert sum(name.endswith("clip.mp4") for name in stored_files(video)) == 1


def test_a_failed_look_leaves_the_clip_of_a_video_whose_pictures_are_gone(
    old: Old, apply: Apply, settings: Any, django_capture_on_commit_callbacks: Capture
) -> None:
    settings.DFD_KEEP_CROPS_DAYS = 7
    video = old()
    apply()
    video.refresh_from_db()
    with django_capture_on_commit_callbacks(execute=True):
        claim = claimed(uploads.analyze_again(video=video))
        analyses.finish_failed(claim=claim, code="corrupt_video", detail="No.")
    assert "clip.mp4" in names(video)


@pytest.mark.parametrize(("keep", "gone"), [(True, 1), (False, 3)])
def test_crops_that_teach_are_kept_unless_the_setting_says_otherwise(
    old: Old, apply: Apply, settings: Any, keep: bool, gone: int
) -> None:
    settings.DFD_KEEP_CROPS_DAYS, settings.DFD_KEEP_LABELLED = 7, keep
    for label in ("real", "fake", "unsure"):
        old(label=label)
    assert apply().crops == gone


def test_a_video_at_work_and_a_data_sets_video_lose_nothing(
    old: Old, apply: Apply, settings: Any, make_video: MakeVideo
) -> None:
    settings.DFD_KEEP_ORIGINALS_DAYS = settings.DFD_KEEP_CROPS_DAYS = settings.DFD_KEEP_VIDEOS_DAYS = 1
    at_work, asked, of_set = old(), old(), old()
    analyses.queue_analysis(video=at_work)
    EvidenceJob.objects.create(video=asked, kind=EvidenceKind.PREVIEW)
    DatasetVideo.objects.create(video=of_set, dataset="lab", path="a.mp4", label="fake", identity="ada")
    assert apply() == retention.Removed()
    assert Video.objects.count() == 3
    Analysis.objects.filter(video=at_work, state=State.QUEUED).delete()
    assert apply() == retention.Removed(videos=1)


def test_whole_videos_go_with_labels_and_files_and_it_is_told_who_did_it(old: Old, apply: Apply, settings: Any) -> None:
    settings.DFD_KEEP_VIDEOS_DAYS = 7
    video = old(label="fake")
    Review.objects.create(video=video, reviewer=video.owner, label="fake")
    assert apply() == retention.Removed(videos=1)
    assert names(video) == set()
    assert [rows.objects.count() for rows in (Video, Verdict, Review)] == [0, 0, 0]
    assert AuditEntry.objects.get(action=AuditAction.VIDEO_DELETED).actor == "retention (program)"


def test_it_goes_in_batches_oldest_first(
    old: Old, apply: Apply, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DFD_KEEP_ORIGINALS_DAYS = 7
    monkeypatch.setattr(retention, "BATCH", 2)
    videos = [old(days=8 + k) for k in range(3)]
    assert apply() == retention.Removed(originals=2, more=True)
    videos[0].refresh_from_db()
    assert videos[0].file
    assert apply() == retention.Removed(originals=1)
    out = StringIO()
    settings.DFD_KEEP_CROPS_DAYS = 9
    call_command("retain", "--dry-run", stdout=out)
    assert "would go: originals of 0 videos, pictures of 2, whole videos 0" in out.getvalue()


def test_a_policy_that_comes_first_makes_an_analysis_look_again_at_what_is_left(
    old: Old, apply: Apply, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the reading of the video and the lock; from there on the policy waits (tests/many/test_locks.py)."""
    settings.DFD_KEEP_CROPS_DAYS = 7
    video = old()
    real = QuerySet.select_for_update

    def after_the_policy(rows: Any, *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(QuerySet, "select_for_update", real)
        apply()
        return real(rows, *arguments, **options)

    monkeypatch.setattr(QuerySet, "select_for_update", after_the_policy)
    assert analyses.queue_analysis(video=video).stage == Stage.EXTRACT
    assert video.analyses.filter(state=State.QUEUED).count() == 1


# --- files that are to be gone ---


def test_files_that_could_not_be_removed_are_removed_by_the_sweeper(
    old: Old, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Capture
) -> None:
    video = old()
    with monkeypatch.context() as patch, django_capture_on_commit_callbacks(execute=True):
        patch.setattr(pending_deletions, "remove_tree", lambda folder: (_ for _ in ()).throw(OSError("no disk")))
        uploads.delete_video(video=video)
    assert names(video)
    assert pending_deletions.sweep() == 0  # a worker may still be at it
    Removal.objects.update(created_at=timezone.now() - timedelta(hours=1))
    assert pending_deletions.sweep() == 1
    assert names(video) == set()
    (row,) = pending_deletions.waiting_for_packs()
    pending_deletions.packs_gone(removals=[row])
    assert not Removal.objects.exists()


def test_the_second_removal_leaves_what_has_been_made_meanwhile(
    old: Old, apply: Apply, settings: Any, model: ModelVersion, tmp_path: Path
) -> None:
    settings.DFD_KEEP_CROPS_DAYS = 1
    video = old()
    assert apply().crops == 1
    analysis = analyses.queue_analysis(video=video, reuse_faces=False)
    analyses.finish_extraction(claim=claimed(analysis), result=extraction(tmp_path))
    analyses.finish_classification(claim=claimed(analysis, Stage.CLASSIFY), result=verdict(model))
    video.refresh_from_db()
    reviewer = User.objects.create_user("r")
    job = evidence.request(video=video, kind=EvidenceKind.HEATMAPS, by=reviewer)
    claim = evidence.claim(job_id=job.pk)
    assert claim is not None
    jpegs = {face.pk: b"jpeg" for face in video.faces.all()}
    evidence.finish_heatmaps(claim=claim, model_sha256=model.sha256, jpegs=jpegs)
    Removal.objects.update(created_at=timezone.now() - timedelta(hours=1))
    assert pending_deletions.sweep() == 1
    names = evidence.heatmap_names(Video.objects.get())
    assert len(names) == 3
    assert all(default_storage.exists(name) for name in names.values())
    assert "h" not in default_storage.listdir(f"{video.folder}/heatmaps")[0]
