"""Evidence reports by the real task: what is in one, for whom, and when it is made anew or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.utils import timezone

from detection.evidence_report import bundle, signing
from detection.evidence_report.verification import check
from detection.models import (
    AuditAction,
    AuditEntry,
    EvidenceJob,
    EvidenceKind,
    ReviewClaim,
    ReviewRole,
    State,
    Video,
)
from detection.services.jobs import evidence
from detection.services.jobs.leases import LeaseLost
from detection.services.ops import audit, retention
from detection.services.reviews.reviews import record_review
from detection.services.uploads.uploads import delete_video
from tests.api.conftest import Factory
from tests.worker.test_runtime import CLIPS, analyse, register, upload
from worker import tasks

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_state", "silent_broker")]
Committed = Callable[..., AbstractContextManager[Any]]


@pytest.fixture
def judged() -> Video:
    """A video with two people, a verdict and no heat maps."""
    return Factory().judged(User.objects.create_user("owner"), people=2, extracted_at=timezone.now())


def user(name: str, *groups: str) -> User:
    made, _ = User.objects.get_or_create(username=name)
    made.groups.set(Group.objects.filter(name__in=groups))
    return User.objects.get(pk=made.pk)


def client_of(who: User) -> Client:
    client = Client()
    client.force_login(who)
    return client


def address(video: Video) -> str:
    return f"/api/v1/videos/{video.pk}/report/"


def fetch(video: Video, who: User) -> bytes:
    """Asked for, made by a worker, and downloaded."""
    client = client_of(who)
    first = client.get(address(video))
    assert (first.status_code, first["Retry-After"]) == (202, "2"), first.content
    assert first.json() == {"state": "queued", "url": f"http://testserver{address(video)}"}
    job = EvidenceJob.objects.get(kind=EvidenceKind.REPORT, requested_by=who, state=State.QUEUED)
    tasks.make_report(str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.last_error) == (State.SUCCEEDED, "")
    answer = client.get(address(video))
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/zip")
    assert f'attachment; filename="report-{video.pk}.zip"' in answer["Content-Disposition"]
    return b"".join(answer.streaming_content)  # type: ignore[attr-defined]


def problems(data: bytes) -> tuple[str, ...]:
    return check(data, known=signing.known_keys()).problems


def opened(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    files = bundle.unpack(data)
    return json.loads(files["report.json"]), json.loads(files["audit.json"])


def stored(video: Video) -> list[Path]:
    root = Path(default_storage.path(video.folder)) / "reports"
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_a_report_tells_all_that_is_known_and_is_signed(tmp_path: Path) -> None:
    register(tmp_path, "first", seed=1)
    judged = upload((CLIPS / "two-people.mp4").read_bytes(), "zwei Leute <b>&.mp4")
    assert analyse(judged).state == State.SUCCEEDED
    judged.refresh_from_db()
    owner = judged.owner
    record_review(video=judged, reviewer=user("rita", "reviewer"), label="fake", comment="the mouth")
    job = evidence.request(video=judged, kind=EvidenceKind.HEATMAPS, by=owner)
    tasks.make_heatmaps(str(job.pk))
    data = fetch(judged, owner)
    assert problems(data) == ()
    files = bundle.unpack(data)
    assert sum(name.startswith("faces/") for name in files) == sum(name.startswith("heatmaps/") for name in files) == 20
    report, trail = opened(data)
    assert report["video"]["name"] == "zwei Leute <b>&.mp4"
    assert report["verdict"]["threshold"] == judged.current_verdict.model_version.threshold  # type: ignore[union-attr]
    assert report["model"]["experimental"] is True
    assert [(person["number"], len(person["faces"])) for person in report["people"]] == [(1, 10), (2, 10)]
    face = report["people"][1]["faces"][3]
    row = judged.faces.get(track=1, position=3)
    assert files[face["picture"]] == Path(row.crop.path).read_bytes()
    assert face["heatmap"] in files
    assert [(review["by"], review["label"], review["comment"]) for review in report["reviews"]] == [
        ("rita", "fake", "the mouth")
    ]
    assert report["looked_at"]["text"].startswith("Looked at:")
    # the entry of this very request is the last of the log
    assert [entry["action"] for entry in trail["entries"]] == ["report_requested"]
    assert trail["scope"] == "own"


def test_who_may_read_the_audit_log_gets_all_entries_and_others_their_own(judged: Video) -> None:
    subject = f"video:{judged.pk}"
    operator, senior = user("olga", "operator"), user("senior")
    first = audit.record(AuditAction.GOLD_SET, subject=subject, by=senior).number
    audit.record(AuditAction.EXPORTED, subject="labels", by=senior)
    _, trail = opened(fetch(judged, operator))
    assert [entry["actor"] for entry in trail["entries"]] == ["senior", "olga"]
    assert (trail["scope"], trail["first"]) == ("all", first)
    assert first + len(trail["hashes"]) - 1 == trail["entries"][-1]["number"]
    assert trail["hashes"][1] == AuditEntry.objects.get(subject="labels").hash
    data = fetch(judged, judged.owner)
    _, trail = opened(data)
    assert [(entry["actor"], entry["action"]) for entry in trail["entries"]] == [("owner", "report_requested")]
    assert b"senior" not in data
    assert b"olga" not in data
    assert problems(data) == ()


def test_a_changed_database_shows_in_the_report(judged: Video) -> None:
    operator = user("olga", "operator")
    number = audit.record(AuditAction.MEDIA_VIEWED, subject=f"video:{judged.pk}", by=operator).number
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {AuditEntry._meta.db_table} SET actor = 'nobody'")
    data = fetch(judged, operator)
    assert problems(data) == (f"Entry {number} of the audit log is not as it was written.",)


def test_each_export_is_audited_and_further_parts_of_a_download_are_not(judged: Video) -> None:
    fetch(judged, judged.owner)
    client = client_of(judged.owner)
    client.head(address(judged))
    client.get(address(judged), headers={"Range": "bytes=10-20"})
    done = AuditEntry.objects.filter(subject=f"video:{judged.pk}")
    assert list(done.order_by("number").values_list("action", "actor")) == [
        ("report_requested", "owner"), ("report_downloaded", "owner"),
    ]  # fmt: skip
    client.get(address(judged), headers={"Range": "bytes=0-"})
    assert done.count() == 3


def test_a_report_is_made_once_and_anew_when_something_it_tells_has_changed(
    judged: Video, django_capture_on_commit_callbacks: Committed
) -> None:
    fetch(judged, judged.owner)
    before = stored(judged)
    assert client_of(judged.owner).get(address(judged)).status_code == 200
    record_review(video=judged, reviewer=user("rita", "reviewer"), label="real", comment="")
    with django_capture_on_commit_callbacks(execute=True):
        report, _ = opened(fetch(judged, judged.owner))
    assert report["label"] == "real"
    assert EvidenceJob.objects.filter(kind=EvidenceKind.REPORT).count() == 1
    assert [path.name for path in stored(judged)] == ["report.pdf", "report.zip"]
    assert stored(judged) != before


def test_a_reader_who_must_still_answer_gets_none_and_nor_does_a_stranger(judged: Video) -> None:
    rita = user("rita", "reviewer")
    fetch(judged, rita)
    ReviewClaim.objects.create(
        video=judged, token=uuid4(), reviewer=rita, queue="audit", role=ReviewRole.FIRST,
        until=timezone.now() + timedelta(seconds=60),
    )  # fmt: skip
    answer = client_of(rita).get(address(judged))
    assert (answer.status_code, answer.json()["code"]) == (409, "not_yet")
    assert client_of(user("stranger")).get(address(judged)).status_code == 404
    # asked for before, and claimed while it waited
    job = EvidenceJob.objects.create(video=judged, kind=EvidenceKind.REPORT, requested_by=rita)
    tasks.make_report(str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.last_error) == (State.FAILED, "not_yet")
    assert len(stored(judged)) == 2


def test_before_the_analysis_there_is_no_report_and_without_a_face_there_is_one(tmp_path: Path) -> None:
    register(tmp_path, "first", seed=1)
    video = upload((CLIPS / "no-face.mp4").read_bytes())
    answer = client_of(video.owner).get(address(video))
    assert (answer.status_code, answer.json()["code"]) == (409, "not_yet")
    assert analyse(video).state == State.NO_FACE
    report, _ = opened(fetch(video, video.owner))
    assert (report["verdict"], report["people"]) == (None, [])
    assert len(report["frames_without_a_face"]) > 0


def test_a_key_that_cannot_be_read_is_said_and_another_try_comes(judged: Video, settings: Any) -> None:
    settings.VAR_DIR.mkdir()
    (settings.VAR_DIR / "signing_key").write_text("nonsense")
    client = client_of(judged.owner)
    assert client.get("/api/v1/signing-keys/").status_code == 503
    client.get(address(judged))
    job = EvidenceJob.objects.get()
    for _ in range(3):
        tasks.make_report(str(job.pk))
    answer = client.get(address(judged))
    assert (answer.status_code, answer.json()["code"]) == (409, "report_failed")
    assert "signing key cannot be read" in answer.json()["detail"]
    assert stored(judged) == []
    (settings.VAR_DIR / "signing_key").unlink()
    EvidenceJob.objects.update(finished_at=timezone.now() - timedelta(minutes=2))
    assert problems(fetch(judged, judged.owner)) == ()
    (key,) = client.get("/api/v1/signing-keys/").json()["results"]
    assert key == {
        "fingerprint": signing.current_key().fingerprint, "algorithm": "Ed25519",
        "public_key": signing.current_key().text, "current": True,
    }  # fmt: skip


def test_a_lost_lease_leaves_no_file(judged: Video) -> None:
    job = evidence.request(video=judged, kind=EvidenceKind.REPORT, by=judged.owner)
    claim = evidence.claim(job_id=job.pk)
    assert claim is not None
    EvidenceJob.objects.update(token=uuid4())
    with pytest.raises(LeaseLost):
        evidence.finish_report(claim=claim, basis="", bundle=b"zip", pdf=b"pdf")
    assert stored(judged) == []


def test_reports_go_with_age_retention_and_the_video(
    judged: Video, settings: Any, django_capture_on_commit_callbacks: Committed
) -> None:
    fetch(judged, judged.owner)
    EvidenceJob.objects.update(created_at=timezone.now() - timedelta(days=6))
    with django_capture_on_commit_callbacks(execute=True):
        assert evidence.delete_old_reports() == 0
        EvidenceJob.objects.update(created_at=timezone.now() - timedelta(days=8))
        assert evidence.delete_old_reports() == 1
    assert (stored(judged), EvidenceJob.objects.count()) == ([], 0)
    Video.objects.update(created_at=timezone.now() - timedelta(days=30))
    for kept in ("DFD_KEEP_ORIGINALS_DAYS", "DFD_KEEP_CROPS_DAYS"):
        fetch(judged, judged.owner)
        setattr(settings, kept, 7)
        with django_capture_on_commit_callbacks(execute=True):
            retention.apply()
        assert (stored(judged), EvidenceJob.objects.count()) == ([], 0)
    report, _ = opened(fetch(judged, judged.owner))
    assert len(report["notes"]) == 2
    with django_capture_on_commit_callbacks(execute=True):
        delete_video(video=judged)
    assert not Path(default_storage.path(judged.folder)).exists()
