"""Uploads in pieces, by the tus protocol; and a client of that protocol which others wrote."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import time
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.http import UnreadablePostError
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from detection import dispatch
from detection.errors import Refused
from detection.models import ResumablePiece, ResumableUpload, UploadDay, Video
from detection.services.uploads import holds, quotas, resumable, uploads
from detection.services.uploads.resumable import Checksum
from tests.api.conftest import Caller, mp4

pytestmark = pytest.mark.django_db
PATH = "/api/v1/uploads/"
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = "application/offset+octet-stream"
Check = Callable[..., dict[str, Any]]
Parts = Callable[[], list[str]]


@pytest.fixture
def parts() -> Parts:
    """Names of the pieces in storage, without their folders."""

    def names() -> list[str]:
        root = Path(default_storage.path(resumable.FOLDER))
        return sorted(path.name for path in root.rglob("*.part")) if root.is_dir() else []

    return names


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


LONG = encoded("x" * 201)


def begin(caller: Caller, length: int, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return caller.request("post", PATH, headers=TUS | {"Upload-Length": str(length)} | named)


def begun(caller: Caller, length: int, **headers: str) -> str:
    response = begin(caller, length, **headers)
    assert response.status_code == 201, response.content
    return str(response["Location"]).removeprefix("http://testserver")


def send(caller: Caller, path: str, data: bytes, offset: int, *, kind: str = PIECE, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return caller.request(
        "patch",
        path,
        data=data,
        content_type=kind,
        headers=TUS | {"Upload-Offset": str(offset), "Content-Type": kind} | named,
    )


def look(caller: Caller, path: str) -> Any:
    return caller.request("head", path, headers=TUS)


class Breaks(BytesIO):
    """A body that ends before its time."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(120)
        if not data:
            raise UnreadablePostError("the client has gone")
        return data


# --- the way it should go --------------------------------------------------------------------------------------------


def test_a_file_in_three_pieces_is_a_video_like_any_other(
    owner: Caller, parts: Parts, stored_files: Callable[[], list[str]], bells: list[str]
) -> None:
    content = mp4(size=90_000)
    facts = [("filename", "täst.mp4"), ("external_id", "case 17"), ("metadata", json.dumps({"camera": 3}))]
    response = begin(owner, len(content), Upload_Metadata=",".join(f"{k} {encoded(v)}" for k, v in facts))
    assert (response.status_code, response["Tus-Resumable"]) == (201, "1.0.0")
    path = str(response["Location"]).removeprefix("http://testserver")
    assert response.json() == owner.get(path).json()
    for start in (0, 30_000, 60_000):
        head = look(owner, path)
        assert (head.status_code, head["Upload-Offset"], head["Upload-Length"]) == (
            200,
            str(start),
            "90000",
        )
        assert head["Cache-Control"] == "no-store"
        assert "Location" not in head
        sent = send(owner, path, content[start : start + 30_000], start)
        assert (sent.status_code, sent["Upload-Offset"]) == (204, str(start + 30_000))
    video = Video.objects.get()
    assert (video.original_name, video.external_id, video.metadata) == ("täst.mp4", "case 17", {"camera": 3})
    assert video.sha256 == hashlib.sha256(content).hexdigest()
    with video.file.open() as file:
        assert file.read() == content
    assert sent["Location"] == f"http://testserver/api/v1/tasks/{video.current_analysis_id}/"
    assert bells == []  # rung after the commit, which a test does not reach
    assert owner.get(path).json()["video"] == str(video.pk)
    assert parts() == []
    assert len(stored_files()) == 1
    assert UploadDay.objects.get().bytes == 90_000


def test_after_the_last_piece_a_client_whose_answer_was_lost_can_ask(owner: Caller) -> None:
    content = mp4(size=500)
    path = begun(owner, 500)
    task = send(owner, path, content, 0)["Location"]
    head = look(owner, path)
    assert (head["Upload-Offset"], head["Location"]) == ("500", task)
    again = send(owner, path, b"", 500)
    assert (again.status_code, again["Location"]) == (204, task)
    assert Video.objects.count() == 1


def test_the_same_content_again_is_the_same_video(owner: Caller, parts: Parts) -> None:
    content = mp4(size=500)
    first = owner.upload(content).json()
    path = begun(owner, 500)
    assert send(owner, path, content, 0).status_code == 204
    assert owner.get(path).json()["video"] == first["id"]
    assert parts() == []
    assert UploadDay.objects.get().bytes == 1000  # both have arrived


def test_what_the_server_can_is_said(owner: Caller, settings: Any) -> None:
    response = owner.request("options", PATH)
    assert response.status_code == 204
    assert response["Tus-Version"] == response["Tus-Resumable"] == "1.0.0"
    assert response["Tus-Extension"] == "creation,termination,checksum,expiration"
    assert response["Tus-Max-Size"] == str(settings.DFD_MAX_UPLOAD_BYTES)


def test_given_up_it_is_gone(owner: Caller, parts: Parts, problem: Check) -> None:
    path = begun(owner, 500)
    send(owner, path, mp4(size=500)[:100], 0)
    assert len(parts()) == 1
    assert owner.request("delete", path, headers=TUS).status_code == 204
    problem(owner.get(path), 404, "not_found")
    assert parts() == []


def test_given_up_after_the_end_the_video_stays(owner: Caller) -> None:
    path = begun(owner, 500)
    send(owner, path, mp4(size=500), 0)
    assert owner.request("delete", path, headers=TUS).status_code == 204
    assert Video.objects.count() == 1


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_piece_for_another_place_changes_nothing(owner: Caller, problem: Check) -> None:
    path = begun(owner, 500)
    send(owner, path, mp4(size=500)[:100], 0)
    for offset in (0, 99, 101, 500):
        problem(send(owner, path, b"x" * 50, offset), 409, "offset_mismatch")
    assert look(owner, path)["Upload-Offset"] == "100"


def test_more_than_was_said_is_refused_whole(owner: Caller, problem: Check) -> None:
    path = begun(owner, 500)
    problem(send(owner, path, mp4(size=501), 0), 413, "upload_too_long")
    assert look(owner, path)["Upload-Offset"] == "0"


def test_a_connection_that_breaks_loses_only_what_had_not_arrived(owner: Caller) -> None:
    content = mp4(size=500)
    path = begun(owner, 500)

    with pytest.raises(UnreadablePostError):
        resumable.append(upload=ResumableUpload.objects.get(), offset=0, stream=Breaks(content[:240]))
    assert look(owner, path)["Upload-Offset"] == "240"
    assert send(owner, path, content[240:], 240).status_code == 204
    assert Video.objects.get().sha256 == hashlib.sha256(content).hexdigest()


def test_of_a_piece_with_a_checksum_nothing_stays_unless_it_is_right(owner: Caller, problem: Check) -> None:
    content = mp4(size=500)
    path = begun(owner, 500)
    for name in ("sha256", "sha1", "md5"):
        wrong = base64.b64encode(hashlib.new(name, b"other").digest()).decode()
        answer = send(owner, path, content[:200], 0, Upload_Checksum=f"{name} {wrong}")
        problem(answer, 460, "checksum_mismatch")
    assert look(owner, path)["Upload-Offset"] == "0"

    unverified = Checksum("sha1", hashlib.sha1(content[:200]).digest())
    with pytest.raises(UnreadablePostError):
        resumable.append(
            upload=ResumableUpload.objects.get(), offset=0, stream=Breaks(content[:120]), checksum=unverified
        )
    assert look(owner, path)["Upload-Offset"] == "0"
    right = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert send(owner, path, content, 0, Upload_Checksum=f"sha256 {right}").status_code == 204
    assert Video.objects.count() == 1


def test_one_request_at_a_time(owner: Caller, problem: Check) -> None:
    path = begun(owner, 500)
    with holds.held(ResumableUpload.objects.get()):
        problem(send(owner, path, mp4(size=500), 0), 423, "upload_busy")
        problem(owner.request("delete", path, headers=TUS), 423, "upload_busy")
        assert look(owner, path)["Upload-Offset"] == "0"
    assert send(owner, path, mp4(size=500), 0).status_code == 204


def test_one_that_was_taken_over_meanwhile_adds_nothing(owner: Caller, parts: Parts) -> None:
    """Its process was silent for so long that the client has begun anew elsewhere."""
    content = mp4(size=500)
    path = begun(owner, 500)

    class Silent(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            if not data:
                ResumableUpload.objects.update(held_until=timezone.now() - timedelta(seconds=1))
                assert send(owner, path, content[:200], 0).status_code == 204
            return data

    with pytest.raises(Refused) as refused:
        resumable.append(upload=ResumableUpload.objects.get(), offset=0, stream=Silent(content[:300]))
    assert refused.value.code == "upload_busy"
    assert look(owner, path)["Upload-Offset"] == "200"
    assert len(parts()) == 1
    assert send(owner, path, content[200:], 200).status_code == 204
    assert Video.objects.get().sha256 == hashlib.sha256(content).hexdigest()


def test_a_long_request_is_stored_on_the_way(owner: Caller, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process had stored counts: a later one finds it."""
    monkeypatch.setattr(resumable, "PIECE_BYTES", 200)
    content = mp4(size=1000)
    path = begun(owner, 1000)

    class Killed(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 480:
                raise SystemExit
            return super().read(120)

    with pytest.raises(SystemExit):
        resumable.append(upload=ResumableUpload.objects.get(), offset=0, stream=Killed(content))
    assert look(owner, path)["Upload-Offset"] == "480"
    assert [name[:15] for name in parts()] == [f"{0:015}", f"{240:015}"]
    assert send(owner, path, content[480:], 480).status_code == 204
    assert Video.objects.get().sha256 == hashlib.sha256(content).hexdigest()
    assert parts() == []


def test_pieces_are_not_without_number(owner: Caller, problem: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "MAX_PIECES", 2)
    path = begun(owner, 500)
    for offset in (0, 100):
        assert send(owner, path, mp4(size=500)[offset : offset + 100], offset).status_code == 204
    problem(send(owner, path, b"x", 200), 400, "too_many_pieces")


def test_what_is_no_video_is_refused_as_soon_as_that_can_be_seen(owner: Caller, parts: Parts, problem: Check) -> None:
    path = begun(owner, 1_000_000)
    problem(send(owner, path, b"no video " * 2000, 0), 415, "not_a_video")
    assert parts() == []
    problem(owner.get(path), 404, "not_found")
    short = begun(owner, 9)
    problem(send(owner, short, b"no video ", 0), 415, "not_a_video")
    assert parts() == []
    assert not Video.objects.exists()


def put_off(owner: Caller, settings: Any, problem: Check) -> tuple[str, bytes, Any, Any]:
    """Begin an upload and send all of it beside another video in flight, which is one too many.

    Returns:
        Its path, its content, the refusal of its end, and the answer to the other video's upload.
    """
    content = mp4(size=500)
    path = begun(owner, 500)
    settings.DFD_MAX_VIDEOS_IN_FLIGHT = 1
    other = owner.upload()
    refused = send(owner, path, content, 0)
    problem(refused, 429, "quota_exceeded")
    return path, content, refused, other


def test_an_end_that_is_refused_for_now_is_tried_again_with_an_empty_piece(
    owner: Caller, settings: Any, problem: Check, monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    path, content, refused, first = put_off(owner, settings, problem)
    assert int(refused["Retry-After"]) > 0
    assert look(owner, path)["Upload-Offset"] == "500"

    # The same where the limit is met only after the file was moved into storage.
    monkeypatch.setattr(uploads, "check_upload", lambda **kwargs: None)
    problem(send(owner, path, b"", 500), 429, "quota_exceeded")
    assert look(owner, path)["Upload-Offset"] == "500"
    assert len(parts()) == 1

    owner.request("delete", f"/api/v1/videos/{first.json()['id']}/")
    assert send(owner, path, b"", 500).status_code == 204
    assert Video.objects.get().sha256 == hashlib.sha256(content).hexdigest()


def test_an_end_that_its_client_takes_for_done_is_done_by_a_worker(
    owner: Caller, settings: Any, problem: Check, monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    """By the protocol an offset that is the length is the end: clients that ask after a refusal do nothing more."""
    path, content, _, first = put_off(owner, settings, problem)
    rung: list[str] = []

    def publish(task: str, args: list[str]) -> bool:
        rung.append(task)
        return True

    monkeypatch.setattr(dispatch, "_publish", publish)
    resumable.sweep()
    assert rung == [], "it is still its client's"
    ResumableUpload.objects.update(touched_at=timezone.now() - timedelta(minutes=2))
    resumable.sweep()
    assert rung == [dispatch.FINISH_TASK]
    assert resumable.finish() == 0, "the limit holds"

    owner.request("delete", f"/api/v1/videos/{first.json()['id']}/")
    with holds.held(ResumableUpload.objects.get()):
        assert resumable.finish() == 0
    assert resumable.finish() == 1
    assert Video.objects.get().sha256 == hashlib.sha256(content).hexdigest()
    assert look(owner, path)["Upload-Offset"] == "500"
    assert owner.get(path).json()["video"] == str(Video.objects.get().pk)
    assert parts() == []
    resumable.sweep()
    assert rung.count(dispatch.FINISH_TASK) == 1
    assert resumable.finish() == 0


def test_one_that_cannot_be_finished_keeps_no_other_waiting(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**given: Any) -> Any:
        raise RuntimeError("killed at the end")

    paths = [begun(owner, 500) for _ in range(2)]
    with monkeypatch.context() as patched:
        patched.setattr(uploads, "submit_video", broken)
        for number, path in enumerate(paths):
            with pytest.raises(RuntimeError):
                send(owner, path, mp4(size=500, seed=number), 0)
    ResumableUpload.objects.update(touched_at=timezone.now() - timedelta(minutes=2))
    default_storage.delete(ResumablePiece.objects.first().name)  # type: ignore[union-attr]
    assert resumable.finish() == 1
    assert Video.objects.count() == 1


def test_a_full_disk_is_said_and_what_was_there_stays(
    owner: Caller, problem: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = mp4(size=500)
    path = begun(owner, 500)
    send(owner, path, content[:100], 0)

    def full(*args: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(default_storage, "save", full)
    problem(send(owner, path, content[100:], 100), 507, "storage_full")
    monkeypatch.undo()
    assert look(owner, path)["Upload-Offset"] == "100"
    assert send(owner, path, content[100:], 100).status_code == 204
    assert Video.objects.get().sha256 == hashlib.sha256(content).hexdigest()


def test_a_piece_that_has_vanished_is_said(owner: Caller, problem: Check) -> None:
    path = begun(owner, 500)
    content = mp4(size=500)
    send(owner, path, content[:100], 0)
    default_storage.delete(ResumablePiece.objects.get().name)
    problem(send(owner, path, content[100:], 100), 410, "upload_gone")
    problem(owner.get(path), 404, "not_found")
    assert not Video.objects.exists()


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Upload-Length": "5"}, 412, "unsupported_tus_version"),
        ({"Tus-Resumable": "0.2.2", "Upload-Length": "5"}, 412, "unsupported_tus_version"),
        (TUS, 400, "invalid_header"),
        (TUS | {"Upload-Length": "-1"}, 400, "invalid_header"),
        (TUS | {"Upload-Length": "9" * 20}, 400, "invalid_header"),
        (TUS | {"Upload-Length": "0"}, 400, "empty_file"),
        (TUS | {"Upload-Length": "999999999999"}, 413, "file_too_large"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": "filename $$$"}, 400, "invalid_header"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": "filename /////w=="}, 400, "invalid_header"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": f"metadata {encoded('[1]')}"}, 400, "invalid_metadata"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": f"metadata {encoded('{')}"}, 400, "invalid_metadata"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": f"external_id {LONG}"}, 400, "invalid_external_id"),
        (TUS | {"Upload-Length": "5", "Idempotency-Key": "x" * 201}, 400, "invalid_idempotency_key"),
    ],
)  # fmt: skip
def test_how_no_upload_begins(owner: Caller, problem: Check, headers: dict[str, str], status: int, code: str) -> None:
    response = owner.request("post", PATH, headers=headers)
    problem(response, status, code)
    assert response["Tus-Resumable"] == "1.0.0"
    assert not ResumableUpload.objects.exists()


@pytest.mark.parametrize(
    ("kind", "headers", "status", "code"),
    [
        ("application/octet-stream", {}, 415, "unsupported_media_type"),
        (PIECE, {"Upload-Offset": "x"}, 400, "invalid_header"),
        (PIECE, {"Upload-Checksum": "sha256 AAAA"}, 400, "invalid_header"),
        (PIECE, {"Upload-Checksum": "crc32 AAAA"}, 400, "invalid_header"),
        (PIECE, {"Upload-Checksum": "sha1"}, 400, "invalid_header"),
        (PIECE, {"Tus-Resumable": "2.0.0"}, 412, "unsupported_tus_version"),
    ],
)
def test_what_is_no_piece(
    owner: Caller, problem: Check, kind: str, headers: dict[str, str], status: int, code: str
) -> None:
    path = begun(owner, 500)
    sent = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"} | headers
    problem(owner.request("patch", path, data=b"x", content_type=kind, headers=sent), status, code)
    assert look(owner, path)["Upload-Offset"] == "0"


# --- limits ----------------------------------------------------------------------------------------------------------


def test_what_is_promised_counts_against_the_bytes_of_a_day(owner: Caller, settings: Any, problem: Check) -> None:
    settings.DFD_MAX_BYTES_A_DAY = 1000
    path = begun(owner, 600)
    problem(begin(owner, 401), 429, "daily_bytes_exceeded")
    begun(owner, 400)
    owner.request("delete", path, headers=TUS)
    assert begin(owner, 600).status_code == 201


def test_only_so_many_are_unfinished(owner: Caller, other: Caller, settings: Any, problem: Check) -> None:
    settings.DFD_MAX_OPEN_UPLOADS = 3
    paths = [begun(owner, 500) for _ in range(3)]
    refused = begin(owner, 500)
    problem(refused, 429, "too_many_uploads")
    assert int(refused["Retry-After"]) > 0
    assert begin(other, 500).status_code == 201
    send(owner, paths[0], mp4(size=500), 0)
    assert begin(owner, 500).status_code == 201


def test_none_begins_while_the_queue_is_full(
    owner: Caller, settings: Any, problem: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "QUEUE_LOOK_S", 0.0)
    settings.DFD_MAX_QUEUE = 1
    owner.upload()
    problem(begin(owner, 500), 503, "queue_full")


def test_abandoned_ones_are_removed_after_a_day(owner: Caller, parts: Parts) -> None:
    paths = [begun(owner, 500) for _ in range(3)]
    for path in paths:
        send(owner, path, mp4(size=500)[:100], 0)
    old = timezone.now() - timedelta(hours=25)
    ids = [path.rstrip("/").rsplit("/", 1)[1] for path in paths]
    ResumableUpload.objects.filter(pk__in=ids[:2]).update(touched_at=old)
    with holds.held(ResumableUpload.objects.get(pk=ids[1])):
        assert resumable.sweep() == 1
    assert {look(owner, path).status_code for path in paths[1:]} == {200}
    assert look(owner, paths[0]).status_code == 404
    assert len(parts()) == 2
    assert resumable.sweep() == 1
    assert len(parts()) == 1


def test_pieces_that_no_row_knows_are_removed(owner: Caller, parts: Parts) -> None:
    path = begun(owner, 500)
    send(owner, path, mp4(size=500)[:100], 0)
    kept = parts()
    lost = f"{resumable.FOLDER}/11111111-1111-4111-8111-111111111111/000-lost.part"
    default_storage.save(lost, ContentFile(b"x"))
    assert len(parts()) == 2
    resumable.sweep()
    assert parts() == kept


# --- somebody else's client ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_client_that_others_wrote_sends_breaks_off_and_goes_on(
    live_server: LiveServer, tmp_path: Path, parts: Parts
) -> None:
    tus = pytest.importorskip("tusclient.client")
    caller = Caller(User.objects.create_user("sender"))
    content = mp4(size=300_000)
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)

    client = tus.TusClient(f"{live_server.url}{PATH}", headers=caller.headers)
    facts = {"filename": "clip.mp4", "external_id": "case 9"}
    uploader = client.uploader(str(path), chunk_size=100_000, metadata=facts, upload_checksum=True)
    uploader.upload_chunk()
    assert uploader.offset == 100_000
    address = uploader.url

    later = tus.TusClient(f"{live_server.url}{PATH}", headers=caller.headers)
    rest = later.uploader(str(path), chunk_size=100_000, url=address)
    assert rest.offset == 100_000  # as the server says
    rest.upload()
    video = Video.objects.get()
    assert video.sha256 == hashlib.sha256(content).hexdigest()
    assert (video.original_name, video.external_id) == ("clip.mp4", "case 9")
    assert parts() == []


def test_a_key_that_names_a_file_of_another_length_is_refused_before_anything_is_sent(
    owner: Caller, problem: Check
) -> None:
    assert owner.upload(mp4(size=200), key="k").status_code == 202
    problem(begin(owner, 300, Idempotency_Key="k"), 422, "idempotency_key_reused")
    assert not ResumableUpload.objects.exists()
    assert begin(owner, 200, Idempotency_Key="k").status_code == 201  # it may be the same file


def test_a_key_that_names_another_file_of_the_same_length_ends_the_upload(owner: Caller, problem: Check) -> None:
    assert owner.upload(mp4(size=200), key="k").status_code == 202
    path = begun(owner, 200, Idempotency_Key="k")
    problem(send(owner, path, mp4(size=200), 0), 422, "idempotency_key_reused")
    assert not ResumableUpload.objects.exists()
    assert not ResumablePiece.objects.exists()


def test_an_upload_that_is_removed_at_its_very_end_is_a_video_all_the_same(
    owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage so slow that the hold ran out; then somebody deleted the upload."""
    submit = uploads.submit_video

    def slow(**given: Any) -> Any:
        submission = submit(**given)
        ResumableUpload.objects.update(held_until=timezone.now() - timedelta(seconds=1))
        assert owner.request("delete", path, headers=TUS).status_code == 204
        return submission

    monkeypatch.setattr(uploads, "submit_video", slow)
    path = begun(owner, 200)
    answer = send(owner, path, mp4(size=200), 0)
    assert (answer.status_code, answer["Upload-Offset"]) == (204, "200")
    assert Video.objects.count() == 1
    assert "/tasks/" in answer["Location"]


@pytest.mark.django_db(transaction=True)
def test_the_hold_is_kept_while_storage_takes_its_time(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    held = timedelta(seconds=3)
    monkeypatch.setattr(holds, "HELD", held)
    submit = uploads.submit_video
    answers: list[int] = []

    def slow(**given: Any) -> Any:
        began = timezone.now()
        while timezone.now() < began + held * 1.3:  # the first hold alone has run out by then
            answers.append(owner.request("delete", path, headers=TUS).status_code)
            time.sleep(0.1)
        return submit(**given)

    monkeypatch.setattr(uploads, "submit_video", slow)
    path = begun(owner, 200)
    assert send(owner, path, mp4(size=200), 0).status_code == 204
    assert set(answers) == {423}
