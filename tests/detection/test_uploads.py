"""Services of videos and reviews, called as commands, the admin and workers call them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import transaction

from detection import dispatch
from detection.errors import Refused
from detection.models import Analysis, Review, UploadKey, Video
from detection.services.reviews.reviews import record_review
from detection.services.uploads import uploads
from detection.services.uploads.uploads import analyze_again, delete_video, submit_video

pytestmark = pytest.mark.django_db
CONTENT = b"\x00\x00\x00\x20ftypisom" + b"x" * 100_000


@pytest.fixture(autouse=True)
def _own_storage(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    monkeypatch.setattr(dispatch, "wake", lambda **kwargs: None)


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner")


def submit(owner: User, content: bytes = CONTENT, name: str = "a.mp4", **facts: Any) -> uploads.Submission:
    return submit_video(owner=owner, upload=ContentFile(content, name=name), **facts)


def refusal(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(Refused) as caught:
        call(*args, **kwargs)
    return caught.value.code


def test_a_file_of_any_kind_is_hashed_stored_and_queued(owner: User) -> None:
    submission = submit(owner, external_id="x", metadata={"a": [1, None]})
    video = Video.objects.get(pk=submission.video.pk)
    assert submission.created
    assert video.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert video.size_bytes == len(CONTENT)
    assert (video.external_id, video.metadata, video.status) == ("x", {"a": [1, None]}, "queued")
    assert video.file.name == f"{video.folder}/original.mp4"
    assert video.current_analysis == Analysis.objects.get()
    with video.file.open() as file:
        assert file.read() == CONTENT


def test_an_open_file_of_the_disk_is_copied_and_left_where_it_is(owner: User, tmp_path: Path) -> None:
    path = tmp_path / "mine.mov"
    path.write_bytes(CONTENT)
    with path.open("rb") as handle:
        video = submit_video(owner=owner, upload=File(handle)).video
    assert video.original_name == "mine.mov"
    assert path.read_bytes() == CONTENT


def test_the_same_content_again_is_the_same_video(owner: User) -> None:
    first, again = submit(owner), submit(owner, name="b.avi")
    assert (first.created, again.created) == (True, False)
    assert again.video == first.video


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"content": b""}, "empty_file"),
        ({"content": b"#EXTM3U\n"}, "not_a_video"),
        ({"external_id": "x" * 201}, "invalid_external_id"),
        ({"external_id": "a\x00"}, "invalid_external_id"),
        ({"external_id": "\ud800"}, "invalid_external_id"),
        ({"metadata": {"a": float("nan")}}, "invalid_metadata"),
        ({"metadata": {"a": object()}}, "invalid_metadata"),
        ({"metadata": {"a": "\x00"}}, "invalid_metadata"),
        ({"metadata": {"a": "x" * 20_000}}, "invalid_metadata"),
        ({"idempotency_key": "ü"}, "invalid_idempotency_key"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_stored(
    owner: User, facts: dict[str, Any], code: str
) -> None:
    assert refusal(submit, owner, **facts) == code
    assert Video.objects.count() == 0
    assert not default_storage.exists("videos")


def test_a_file_above_the_limit_is_refused_with_the_limit(owner: User, settings: Any) -> None:
    settings.DFD_MAX_UPLOAD_BYTES = 1000
    with pytest.raises(Refused, match="1,000 bytes"):
        submit(owner)


def test_of_uploads_that_arrive_together_none_exceeds_the_quota(
    owner: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DFD_MAX_VIDEOS_IN_FLIGHT = 1

    def meanwhile(name: str, content: Any) -> str:
        monkeypatch.setattr(uploads, "default_storage", default_storage)
        submit(owner, CONTENT + b"another")  # takes the last place while our file is being stored
        return default_storage.save(name, content)

    monkeypatch.setattr(uploads, "default_storage", SimpleNamespace(save=meanwhile))
    assert refusal(submit, owner) == "quota_exceeded"
    assert Video.objects.count() == 1
    assert len(default_storage.listdir("videos")[0]) == 1


def test_analysing_again_gives_the_open_task_or_a_new_one(owner: User, settings: Any) -> None:
    video = submit(owner).video
    assert analyze_again(video=video) == video.current_analysis
    settings.DFD_MAX_VIDEOS_IN_FLIGHT = 1
    assert analyze_again(video=video) == video.current_analysis
    other = submit(User.objects.create_user("other")).video
    Analysis.objects.filter(video=other).delete()
    assert analyze_again(video=other).video == other


def test_deleting_removes_rows_keys_and_files(owner: User, django_capture_on_commit_callbacks: Any) -> None:
    video = submit(owner, idempotency_key="k").video
    record_review(video=video, reviewer=owner, label="fake")
    default_storage.save(f"{video.folder}/attempt/faces/0-00.png", ContentFile(b"x"))
    with django_capture_on_commit_callbacks(execute=True):
        delete_video(video=video)
    for table in (Video, Analysis, Review, UploadKey):
        assert table.objects.count() == 0
    assert not default_storage.exists(video.folder)
    delete_video(video=video)  # twice is fine


def test_when_a_deletion_is_rolled_back_the_files_stay(owner: User) -> None:
    video = submit(owner).video

    def broken() -> None:
        with transaction.atomic():
            delete_video(video=video)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert Video.objects.filter(pk=video.pk).exists()
    assert default_storage.exists(f"{video.folder}/original.mp4")


# --- reviews ---------------------------------------------------------------------------------------------------------


def test_a_review_is_a_row_more_and_the_newest_label_of_a_reviewer_counts(owner: User) -> None:
    video = submit(owner).video
    reviewer = User.objects.create_user("reviewer")
    reviewer.groups.add(Group.objects.get(name="reviewer"))
    record_review(video=video, reviewer=reviewer, label="fake", comment="seam at the chin")
    record_review(video=video, reviewer=reviewer, label="real")
    assert video.label == "real"
    record_review(video=video, reviewer=owner, label="fake")
    assert video.label == "real"
    video.refresh_from_db()
    assert video.label == "real"
    assert [(r.label, r.comment) for r in video.reviews.order_by("created_at")] == [
        ("fake", "seam at the chin"), ("real", ""), ("fake", ""),
    ]  # fmt: skip


def test_who_is_neither_owner_nor_reviewer_may_not_label(owner: User) -> None:
    video = submit(owner).video
    for somebody in (User.objects.create_user("other"), AnonymousUser()):
        assert refusal(record_review, video=video, reviewer=somebody, label="fake") == "permission_denied"
    assert video.label == ""


def test_a_review_that_cannot_be_is_refused(owner: User) -> None:
    video = submit(owner).video
    assert refusal(record_review, video=video, reviewer=owner, label="FAKE") == "invalid_label"
    assert refusal(record_review, video=video, reviewer=owner, label="") == "invalid_label"
    for comment in ("x" * 2001, "\x00", "\ud800"):
        assert refusal(record_review, video=video, reviewer=owner, label="real", comment=comment) == "invalid_comment"
    delete_video(video=Video.objects.get(pk=video.pk))
    assert refusal(record_review, video=video, reviewer=owner, label="real") == "not_found"
