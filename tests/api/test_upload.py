"""POST /api/v1/videos/"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile as Upload
from django.db import IntegrityError
from django.test import Client

from detection.models import Analysis, UploadKey, Video
from detection.services.jobs import leases
from detection.services.uploads import uploads
from tests.api.conftest import UUID_PATTERN, Caller, mp4

pytestmark = pytest.mark.django_db
Problem = Callable[..., dict[str, Any]]
Files = Callable[[], list[str]]


def test_an_upload_is_stored_queued_and_answered_with_its_task(
    owner: Caller, stored_files: Files, bells: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    content = mp4(size=300_000)
    with django_capture_on_commit_callbacks(execute=True):
        response = owner.upload(content, name="holiday.avi", external_id="case 7", metadata='{"camera": 3}')
    assert response.status_code == 202
    body = response.json()
    assert UUID_PATTERN.fullmatch(body["id"])
    assert body["sha256"] == hashlib.sha256(content).hexdigest()
    assert body["size_bytes"] == len(content)
    assert body["original_name"] == "holiday.avi"
    assert (body["external_id"], body["metadata"]) == ("case 7", {"camera": 3})
    assert (body["status"], body["verdict"], body["label"]) == ("queued", None, None)
    assert body["task"]["state"] == "queued"
    assert response["Location"].endswith(f"/api/v1/tasks/{body['task']['id']}/")
    assert owner.get(response["Location"]).json()["video"] == body["id"]
    assert bells == [body["task"]["id"]]
    assert stored_files() == [f"media/videos/{body['id']}/original.mp4"]
    with default_storage.open(f"videos/{body['id']}/original.mp4") as file:
        assert file.read() == content


def test_the_same_content_again_answers_200_with_the_video_that_is_there(owner: Caller, stored_files: Files) -> None:
    content = mp4()
    first = owner.upload(content, external_id="one")
    again = owner.upload(content, name="copy.mov", external_id="two")
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["external_id"] == "one"
    assert again["Location"] == first["Location"]
    assert len(stored_files()) == 1
    assert Analysis.objects.count() == 1


def test_two_owners_of_the_same_content_have_a_video_each(owner: Caller, other: Caller) -> None:
    content = mp4()
    assert owner.upload(content).json()["id"] != other.upload(content).json()["id"]


def test_an_idempotency_key_makes_a_retry_safe_and_is_refused_with_other_content(
    owner: Caller, other: Caller, problem: Problem, stored_files: Files
) -> None:
    content = mp4()
    first = owner.upload(content, key="order-1")
    assert first.status_code == 202
    again = owner.upload(content, key="order-1")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    problem(owner.upload(key="order-1"), 422, "idempotency_key_reused")
    assert len(stored_files()) == 1
    assert other.upload(key="order-1").status_code == 202  # a key is its owner's


def test_a_key_that_first_came_with_content_already_here_is_kept_for_it(owner: Caller, problem: Problem) -> None:
    content = mp4()
    owner.upload(content)
    assert owner.upload(content, key="late").status_code == 200
    problem(owner.upload(key="late"), 422, "idempotency_key_reused")


@pytest.mark.parametrize("key", ["x" * 201, "schlüssel", "a\tb"])
def test_a_key_that_is_no_key_is_refused(owner: Caller, problem: Problem, key: str) -> None:
    problem(owner.upload(key=key), 400, "invalid_idempotency_key")


def test_of_the_same_content_twice_at_once_the_second_finds_the_first(
    owner: Caller, stored_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = mp4()
    first = owner.upload(content)
    look, answers = uploads._existing, iter([None])  # the second looked before the first had committed
    monkeypatch.setattr(uploads, "_existing", lambda *args: next(answers, "again") and look(*args))
    second = owner.upload(content)
    assert (second.status_code, second.json()["id"]) == (200, first.json()["id"])
    assert len(stored_files()) == 1


def test_of_one_key_with_two_contents_at_once_the_second_is_refused_and_leaves_no_file(
    owner: Caller, problem: Problem, stored_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.upload(key="k")
    look, answers = uploads._existing, iter([None])
    monkeypatch.setattr(uploads, "_existing", lambda *args: next(answers, "again") and look(*args))
    problem(owner.upload(key="k"), 422, "idempotency_key_reused")
    assert len(stored_files()) == 1
    assert Video.objects.count() == 1


def test_when_the_rows_cannot_be_written_the_file_goes_again(
    owner: Caller, stored_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**kwargs: Any) -> None:
        raise RuntimeError("the database is gone")

    monkeypatch.setattr(uploads, "queue_analysis", broken)
    with pytest.raises(RuntimeError):
        owner.upload()
    assert stored_files() == []
    assert Video.objects.count() == 0


def test_another_broken_rule_of_the_database_is_not_taken_for_a_duplicate(
    owner: Caller, stored_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**kwargs: Any) -> None:
        raise IntegrityError("some other constraint")

    monkeypatch.setattr(uploads, "queue_analysis", broken)
    with pytest.raises(IntegrityError):
        owner.upload()
    assert stored_files() == []


# --- what is refused ---------------------------------------------------------------------------------------------

PART = b"--b\r\nContent-Disposition: form-data; "
GIF_HEAD = b"GIF89a\x02\x00\x02\x00\x80\x00\x00" + b"\x00" * 6
GIF_PICTURE = b"\x2c\x00\x00\x00\x00\x02\x00\x02\x00\x00\x02\x02\x44\x01\x00"
NOT_VIDEOS = {
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\nhttp://169.254.169.254/latest\n",
    "ffconcat": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    "script": b"#!/bin/sh\nrm -rf /\n",
    "text": b"dear sir " * 1000,
    "html": b"<!doctype html><script>alert(1)</script>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "zip": b"PK\x03\x04" + b"\x00" * 100,
    "elf": b"\x7fELF\x02\x01\x01" + b"\x00" * 100,
    "pickle": b"\x80\x04\x95\x00\x00",
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"\x00" * 100,
    "png": b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\x00IDAT" + b"\x00" * 100,
    "still gif": GIF_HEAD + GIF_PICTURE + b"\x3b",
    "webp": b"RIFF\x10\x00\x00\x00WEBPVP8 " + b"\x00" * 100,
    "wav": b"RIFF\x10\x00\x00\x00WAVEfmt " + b"\x00" * 100,
    "heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
    "icon": b"\x00\x00\x01\x00\x01\x00\x10\x10\x00\x00" + b"\x00" * 100,
    "one byte": b"\x00",
    "zeros": b"\x00" * 10_000,
}


@pytest.mark.parametrize("content", NOT_VIDEOS.values(), ids=NOT_VIDEOS.keys())
def test_what_is_no_video_is_refused_whatever_its_name(
    owner: Caller, problem: Problem, stored_files: Files, content: bytes
) -> None:
    problem(owner.upload(content, name="video.mp4"), 415, "not_a_video")
    assert stored_files() == []


def test_a_gif_that_moves_is_taken(owner: Caller) -> None:
    response = owner.upload(GIF_HEAD + GIF_PICTURE * 2 + b"\x3b", name="x.gif")
    assert response.status_code == 202


def test_an_empty_file_is_refused(owner: Caller, problem: Problem, stored_files: Files) -> None:
    problem(owner.upload(b""), 400, "empty_file")
    assert stored_files() == []


def test_a_file_above_the_limit_is_refused_and_not_kept(
    owner: Caller, problem: Problem, stored_files: Files, settings: Any
) -> None:
    settings.DFD_MAX_UPLOAD_BYTES = 100_000
    problem(owner.upload(mp4(size=100_001)), 413, "file_too_large")
    assert stored_files() == []
    assert owner.upload(mp4(size=100_000)).status_code == 202


class Endless:
    """A request's body that goes on for ever; counts what is read of it, and what of that is on disk."""

    def __init__(self, start: bytes, *, folder: Path) -> None:
        self.start, self.folder = start, folder
        self.taken = self.most_stored = 0

    def read(self, size: int = -1) -> bytes:
        self.most_stored = max(self.most_stored, sum(path.stat().st_size for path in self.folder.iterdir()))
        piece, self.start = self.start, b""
        piece = piece or b"\x00" * min(size, 65536)
        self.taken += len(piece)
        return piece

    readline = read


@pytest.mark.parametrize("announced", [10**9, 3_500_000], ids=["far above", "a little above"])
def test_an_upload_is_stopped_soon_after_the_limit_and_never_stored_beyond_it(
    owner: Caller, problem: Problem, stored_files: Files, settings: Any, announced: int
) -> None:
    settings.DFD_MAX_UPLOAD_BYTES = 3_000_000
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    body = Endless(form + mp4(), folder=Path(settings.FILE_UPLOAD_TEMP_DIR))
    response = owner.client.request(
        REQUEST_METHOD="POST",
        PATH_INFO="/api/v1/videos/",
        CONTENT_TYPE="multipart/form-data; boundary=b",
        CONTENT_LENGTH=str(announced),
        HTTP_AUTHORIZATION=owner.headers["Authorization"],
        **{"wsgi.input": body},
    )
    problem(response, 413, "file_too_large")
    assert body.taken < 25_000_000  # the limit, and what is drained so that the client sees the answer
    assert body.most_stored <= 3_000_000
    assert stored_files() == []


def test_an_upload_that_breaks_off_leaves_nothing(owner: Caller, problem: Problem, stored_files: Files) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n' + mp4(size=700_000)
    response = owner.request("post", "/api/v1/videos/", data=body, content_type="multipart/form-data; boundary=b")
    assert problem(response, 400, "validation_error")["errors"][0]["field"] == "file"
    assert stored_files() == []


def test_only_so_many_videos_of_an_owner_wait_at_once(
    owner: Caller, other: Caller, problem: Problem, stored_files: Files, settings: Any
) -> None:
    settings.DFD_MAX_VIDEOS_IN_FLIGHT = 2
    content = mp4()
    owner.upload(content)
    owner.upload()
    refused = owner.upload()
    problem(refused, 429, "quota_exceeded")
    assert int(refused["Retry-After"]) > 0
    assert len(stored_files()) == 2
    assert other.upload().status_code == 202  # each has its own
    assert owner.upload(content).status_code == 200  # a retry costs nothing


def test_a_request_without_a_file_says_which_field_is_missing(owner: Caller, problem: Problem) -> None:
    body = problem(owner.request("post", "/api/v1/videos/", data={"external_id": "x"}), 400, "validation_error")
    assert body["errors"] == [
        {"field": "file", "code": "required", "detail": "No file was submitted, or its name is not UTF-8."}
    ]
    problem(owner.request("post", "/api/v1/videos/", data={"file": "not a file"}), 400, "validation_error")


def test_two_files_in_one_request_are_refused_and_files_in_other_fields_are_dropped(
    owner: Caller, problem: Problem, stored_files: Files
) -> None:
    two = {"file": [Upload("a.mp4", mp4()), Upload("b.mp4", mp4())]}
    problem(owner.request("post", "/api/v1/videos/", data=two), 400, "more_than_one_file")
    assert stored_files() == []
    other_field = {"file": Upload("a.mp4", mp4()), "subtitles": Upload("b.zip", b"PK\x03\x04")}
    assert owner.request("post", "/api/v1/videos/", data=other_field).status_code == 202
    assert len(stored_files()) == 1


@pytest.mark.parametrize(
    "metadata",
    [
        "{", "[1]", "null", '"text"', '{"a": NaN}', '{"a": 1e999}', r'{"a": "\u0000"}', r'{"\u0000": 1}',
        r'{"a": "\ud800"}', '{"a": ' + "[" * 5000 + "]" * 5000 + "}", json.dumps({"a": "x" * 17_000}), "\x00",
        '{"a": ' + "9" * 5000 + "}",
    ],
    ids=str,
)  # fmt: skip
def test_metadata_that_is_no_plain_small_json_object_is_refused(
    owner: Caller, problem: Problem, stored_files: Files, metadata: str
) -> None:
    body = problem(owner.upload(metadata=metadata), 400, "validation_error")
    assert [error["field"] for error in body["errors"]] == ["metadata"]
    assert stored_files() == []


def test_metadata_may_hold_a_backslash_and_any_script(owner: Caller) -> None:
    told = {"path": "C:\\u0000", "name": "测试 é"}
    assert owner.upload(metadata=json.dumps(told)).json()["metadata"] == told


@pytest.mark.parametrize("external_id", ["x" * 201, "a\x00b"])
def test_an_external_id_that_cannot_be_kept_is_refused(owner: Caller, problem: Problem, external_id: str) -> None:
    body = problem(owner.upload(external_id=external_id), 400, "validation_error")
    assert body["errors"][0]["field"] == "external_id"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/passwd.mp4", "passwd.mp4"),
        ("C:\\Users\\me\\clip.mp4", "clip.mp4"),
        ("vidéo 测试 (1) 'q' & %20.mp4", "vidéo 测试 (1) 'q' & %20.mp4"),
        ("x" * 300 + ".mp4", ("x" * 300 + ".mp4")[:255]),
        ("a." + "b" * 400, ("a." + "b" * 400)[:255]),
        ("no_suffix", "no_suffix"),
        (".hidden", ".hidden"),
    ],
)
def test_a_name_is_only_shown_and_never_a_path(owner: Caller, stored_files: Files, sent: str, shown: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n' % sent.encode()
    body += mp4() + b"\r\n--b--\r\n"
    response = owner.request("post", "/api/v1/videos/", data=body, content_type="multipart/form-data; boundary=b")
    assert response.status_code == 202, response.content
    assert response.json()["original_name"] == shown
    assert stored_files() == [f"media/videos/{response.json()['id']}/original.mp4"]


def test_json_and_unknown_bodies_are_refused_with_415(owner: Caller, problem: Problem) -> None:
    problem(owner.post_json("/api/v1/videos/", {"file": "x"}), 415, "unsupported_media_type")
    problem(
        owner.request("post", "/api/v1/videos/", data=b"x", content_type="text/plain"), 415, "unsupported_media_type"
    )


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=b", b"no parts at all"),
        ("multipart/form-data; boundary=b", PART + b'name="file"; filename=".."\r\n\r\nx'),
        (
            "multipart/form-data; boundary=b",
            PART + b'name="file"; filename="a"\r\nContent-Transfer-Encoding: base64\r\n\r\n!\r\n--b--\r\n',
        ),
        ("multipart/form-data; boundary=b", (PART + b'name="a"\r\n\r\nx\r\n') * 300 + b"--b--"),
    ],
)
def test_a_broken_form_is_a_400(owner: Caller, stored_files: Files, content_type: str, body: bytes) -> None:
    response = owner.request("post", "/api/v1/videos/", data=body, content_type=content_type)
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert stored_files() == []


def test_fields_that_would_fill_the_memory_are_refused(owner: Caller, problem: Problem, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000
    problem(owner.upload(external_id="x" * 20_000), 413, "request_too_large")


def test_a_session_may_upload_with_its_csrf_token_only(owner: Caller, problem: Problem, stored_files: Files) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner.user)
    problem(browser.post("/api/v1/videos/", {"file": Upload("a.mp4", mp4())}), 403, "permission_denied")
    assert stored_files() == []
    token = "t" * 32
    browser.cookies["csrftoken"] = token
    accepted = browser.post("/api/v1/videos/", {"file": Upload("a.mp4", mp4())}, headers={"X-CSRFToken": token})
    assert accepted.status_code == 202
    assert len(stored_files()) == 1
    text = browser.post("/api/v1/videos/", {"file": Upload("a.mp4", b"text")}, headers={"X-CSRFToken": token})
    problem(text, 415, "not_a_video")


def test_temporary_files_of_a_killed_process_are_removed_when_they_are_old(settings: Any) -> None:
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR)
    old, new = folder / "a.upload", folder / "b.upload"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (time.time() - 90_000,) * 2)
    assert uploads.remove_abandoned_uploads() == 1
    assert list(folder.iterdir()) == [new]


def test_deleting_a_video_frees_its_content_and_its_key(owner: Caller) -> None:
    content = mp4()
    first = owner.upload(content, key="k").json()["id"]
    assert owner.request("delete", f"/api/v1/videos/{first}/").status_code == 204
    assert UploadKey.objects.count() == 0
    again = owner.upload(content, key="k")
    assert again.status_code == 202
    assert again.json()["id"] != first


@pytest.mark.parametrize("key", ["", "k"])
@pytest.mark.parametrize("repeated", [False, True])
def test_an_upload_whose_video_is_deleted_before_it_is_answered_is_told_so(
    owner: Caller, problem: Any, monkeypatch: pytest.MonkeyPatch, repeated: bool, key: str
) -> None:
    content = mp4()
    if repeated:
        assert owner.upload(content, key=key).status_code == 202

    def and_delete(**parts: Any) -> uploads.Submission:
        submission = uploads.submit_video(**parts)
        assert submission.created != repeated
        uploads.delete_video(video=Video.objects.get(pk=submission.video.pk))
        return submission

    with monkeypatch.context() as between:
        between.setattr("detection.api.views.videos.submit_video", and_delete)
        problem(owner.upload(content, key=key), 404, "not_found")
    assert owner.upload(content, key=key).status_code == 202


def test_two_at_once_of_which_the_first_is_deleted_before_the_second_finds_it(
    owner: Caller, problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, look = mp4(), uploads._existing
    assert owner.upload(content).status_code == 202
    looks: list[bool] = []

    def late(*who: Any) -> Video | None:
        looks.append(True)
        if len(looks) == 1:
            return None  # the first is not there yet
        Video.objects.all().delete()
        return look(*who)

    with monkeypatch.context() as between:
        between.setattr(uploads, "_existing", late)
        problem(owner.upload(content), 404, "not_found")
    assert owner.upload(content).status_code == 202


@pytest.mark.django_db(transaction=True)
def test_a_video_that_is_deleted_before_a_new_key_is_noted_for_it_is_stored_again(
    owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = mp4()
    first = owner.upload(content).json()["id"]
    lock = leases.lock_video

    def too_late(video_id: UUID) -> bool:
        monkeypatch.setattr(uploads, "lock_video", lock)
        Video.objects.filter(pk=video_id).delete()
        return lock(video_id)

    monkeypatch.setattr(uploads, "lock_video", too_late)
    again = owner.upload(content, key="k")
    assert (again.status_code, again.json()["id"] == first) == (202, False)
    assert str(UploadKey.objects.get().video_id) == again.json()["id"]


def test_a_body_without_a_length_is_refused_as_such(owner: Caller, problem: Any) -> None:
    for method, path in (
        ("post", "/api/v1/videos/"),
        ("patch", f"/api/v1/uploads/{uuid4()}/"),
        ("post", "/admin/login/"),
    ):
        answer = owner.request(method, path, headers={"Transfer-Encoding": "chunked"})
        problem(answer, 411, "length_required")


def test_what_a_killed_process_left_goes_while_a_long_lived_one_takes_uploads(
    owner: Caller, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    left, fresh = tmp_path / "left.upload", tmp_path / "fresh.upload"
    for path in (left, fresh):
        path.write_bytes(b"x")
    os.utime(left, (0, 0))
    monkeypatch.setattr(uploads, "_tidied_at", -2 * uploads.TIDY_EVERY_S)
    assert owner.upload().status_code == 202
    assert (left.exists(), fresh.exists()) == (False, True)


def test_both_entry_points_of_a_web_process_tidy_up_when_it_begins(tmp_path: Path) -> None:
    for name in ("wsgi", "asgi"):
        incoming = tmp_path / name / "incoming"
        incoming.mkdir(parents=True)
        left = incoming / "left.upload"
        left.write_bytes(b"x")
        os.utime(left, (0, 0))
        environment = {**os.environ, "DFD_VAR": str(tmp_path / name), "DATABASE_URL": "sqlite://:memory:"}
        subprocess.run([sys.executable, "-c", f"import dfdsite.{name}"], env=environment, check=True, timeout=600)
        assert not left.exists()
