"""The published client does what the API offers, and copes with what networks do."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from django.contrib.auth.models import User

import deepfake_desk_client
from deepfake_desk_client import Client, Refused, ReportTimeout, Unreachable, UploadInterrupted, WaitTimeout
from detection.errors import Refused as ServersRefusal
from detection.models import EvidenceJob, Review, State, Video
from detection.selectors import videos
from detection.services.jobs import evidence
from detection.services.uploads import resumable, uploads
from tests.api.conftest import Factory, mp4
from tests.client.conftest import URL, InProcess, Time, answered

pytestmark = pytest.mark.django_db


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip of a trial.mp4"
    path.write_bytes(mp4(size=50_000, seed=1))
    return path


def break_off(request: requests.PreparedRequest) -> requests.Response | None:
    raise requests.ConnectionError("connection reset")


def pass_on(request: requests.PreparedRequest) -> requests.Response | None:
    return None


def put_off(request: requests.PreparedRequest) -> requests.Response | None:
    return answered(request, 503, b"{}", {"Retry-After": "7"})


# --- upload ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_pieces", [False, True, None])
def test_an_upload_is_stored_with_what_was_said_of_it(desk: Client, clip: Path, in_pieces: bool | None) -> None:
    facts = {"camera": 3, "ort": "Köln"}
    video = desk.upload(clip, external_id="case-17", metadata=facts, in_pieces=in_pieces)
    assert (video.external_id, video.metadata, video.original_name) == ("case-17", facts, clip.name)
    assert video.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest() == Video.objects.get().sha256
    assert video.task is not None
    assert (video.task.state, video.status, video.verdict) == ("queued", "queued", None)
    assert desk.upload(clip).id == video.id  # the same content


@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_name_that_is_no_utf8_is_no_reason_to_fail(desk: Client, tmp_path: Path, in_pieces: bool) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    path.write_bytes(mp4(size=500, seed=3))
    assert desk.upload(path, in_pieces=in_pieces).original_name == "caf\ufffd.mp4"


def test_large_files_go_in_pieces_unless_told_otherwise(
    desk: Client, clip: Path, server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deepfake_desk_client, "IN_PIECES_FROM_BYTES", 49_999)
    desk.upload(clip)
    assert ("POST", "/api/v1/uploads/") in server.sent
    server.sent.clear()
    desk.upload(clip, in_pieces=False)
    assert server.sent == [("POST", "/api/v1/videos/")]


def test_an_upload_in_pieces_goes_on_where_the_connection_broke(
    desk: Client, clip: Path, server: InProcess, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deepfake_desk_client, "PIECE_BYTES", 20_000)
    # POST, HEAD, a piece, then one that is lost, and the question how much has arrived, too.
    server.faults = [pass_on, pass_on, pass_on, break_off, break_off]
    video = desk.upload(clip, in_pieces=True)
    assert video.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert [method for method, _ in server.sent if method in ("HEAD", "PATCH")] == [
        "HEAD", "PATCH", "PATCH", "HEAD", "HEAD", "PATCH", "PATCH",
    ]  # fmt: skip
    assert clock.slept == [0.5, 1.0]


def test_an_end_that_is_put_off_is_tried_again_when_that_is_worth_it(
    desk: Client, owner: User, clip: Path, tmp_path: Path, settings: Any, clock: Time
) -> None:
    upload = resumable.create(owner=owner, length=clip.stat().st_size, name=clip.name)
    other = tmp_path / "other.mp4"
    other.write_bytes(mp4(size=500, seed=2))
    first = desk.upload(other)
    settings.DFD_MAX_VIDEOS_IN_FLIGHT = 1
    clock.work = [lambda: desk.delete(first)]
    video = desk.resume(f"{URL}/api/v1/uploads/{upload.pk}/", clip)
    assert video.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert clock.slept == [30.0]


def test_where_the_end_goes_on_being_put_off_one_can_go_on_later(
    desk: Client, owner: User, clip: Path, server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**given: Any) -> None:
        raise ServersRefusal("queue_full", "Later.", status=503, headers={"Retry-After": "30"})

    monkeypatch.setattr(uploads, "submit_video", full)
    with pytest.raises(UploadInterrupted) as stopped:
        desk.upload(clip, in_pieces=True)
    assert stopped.value.offset == clip.stat().st_size
    monkeypatch.undo()
    server.sent.clear()
    assert desk.resume(stopped.value.upload_url, clip).sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()


@pytest.mark.parametrize("in_pieces", [False, True])
def test_nobody_waits_for_a_limit_of_a_day(
    desk: Client, clip: Path, settings: Any, clock: Time, in_pieces: bool
) -> None:
    settings.DFD_MAX_BYTES_A_DAY = 1000
    with pytest.raises(Refused) as refused:
        desk.upload(clip, in_pieces=in_pieces)
    assert refused.value.code == "daily_bytes_exceeded"
    assert sum(clock.slept) <= 5 * 300.0


def test_a_piece_that_arrives_damaged_is_sent_again(desk: Client, clip: Path, server: InProcess, clock: Time) -> None:
    def damage(request: requests.PreparedRequest) -> requests.Response | None:
        assert isinstance(request.body, bytes)
        request.body = b"\xff" + request.body[1:]
        return None

    server.faults = [pass_on, pass_on, damage]
    assert desk.upload(clip, in_pieces=True).sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert clock.slept == [0.5]


def test_where_the_network_stays_away_another_process_can_go_on(
    desk: Client, token: str, clip: Path, server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deepfake_desk_client, "PIECE_BYTES", 20_000)
    server.faults = [pass_on, pass_on, pass_on, *[break_off] * 20]
    with pytest.raises(UploadInterrupted) as stopped:
        desk.upload(clip, in_pieces=True)
    assert stopped.value.offset == 20_000
    server.faults.clear()
    server.sent.clear()
    video = Client(URL, token).resume(stopped.value.upload_url, clip)
    assert video.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert [method for method, _ in server.sent].count("PATCH") == 2


def test_an_upload_cannot_be_resumed_with_another_file_or_once_it_is_gone(
    desk: Client, owner: User, clip: Path
) -> None:
    longer = resumable.create(owner=owner, length=60_000)
    with pytest.raises(ValueError, match="another one"):
        desk.resume(f"{URL}/api/v1/uploads/{longer.pk}/", clip)
    with pytest.raises(Refused) as refused:
        desk.resume(f"{URL}/api/v1/uploads/{uuid4()}/", clip)
    assert refused.value.status == 404


def test_a_file_that_is_no_video_is_refused_with_its_code(desk: Client, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no video")
    for in_pieces in (False, True):
        with pytest.raises(Refused) as refused:
            desk.upload(tmp_path / "notes.txt", in_pieces=in_pieces)
        assert (refused.value.status, refused.value.code) == (415, "not_a_video")
        assert refused.value.detail


# --- wait ------------------------------------------------------------------------------------------------------------


def test_waiting_long_polls_until_the_verdict(
    desk: Client, clip: Path, worker: Callable[[], None], server: InProcess
) -> None:
    video = desk.upload(clip)
    worker()
    server.sent.clear()
    task = desk.wait(video.task)
    assert (task.state, task.progress, task.has_ended) == ("succeeded", 100, True)
    assert task.verdict is not None
    assert (task.verdict.label, task.verdict.fake_probability, task.verdict.model) == ("fake", 0.9, "m")
    assert task.verdict.review_reasons == ("near_threshold",)
    assert server.sent == [("GET", f"/api/v1/tasks/{task.id}/?wait=30")]


def test_waiting_ends_in_time(desk: Client, clip: Path, clock: Time) -> None:
    video = desk.upload(clip)
    assert video.task is not None
    with pytest.raises(WaitTimeout, match=r"still queued \(0 %\)") as late:
        desk.wait(video.task, timeout_s=45)
    assert late.value.task.id == video.task.id
    assert 1045 <= clock.now <= 1046.0


def test_it_pauses_where_the_server_does_not_let_it_wait(
    desk: Client, clip: Path, clock: Time, settings: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from detection.api import waiting

    monkeypatch.setattr(waiting, "_slots", threading.BoundedSemaphore(0))
    with pytest.raises(WaitTimeout):
        desk.wait(desk.upload(clip).task, timeout_s=5)
    assert clock.slept == [1.0] * 5


def test_watching_yields_each_movement(desk: Client, clip: Path, worker: Callable[[], None]) -> None:
    video = desk.upload(clip)
    assert video.task is not None
    worker()
    seen = [(task.state, task.progress) for task in desk.watch(video.task)]
    assert seen == [("queued", 0), ("running", 80), ("succeeded", 100)]


def test_a_stream_that_breaks_is_opened_again(
    desk: Client, clip: Path, worker: Callable[[], None], server: InProcess
) -> None:
    video = desk.upload(clip)
    assert video.task is not None
    worker()
    server.faults = [lambda request: answered(request, 200, b"retry: 2000\n\n", {})]
    assert [task.state for task in desk.watch(video.task)][-1] == "succeeded"


def test_a_cancelled_task_says_so(desk: Client, clip: Path) -> None:
    video = desk.upload(clip)
    assert video.task is not None
    task = desk.cancel(video.task)
    assert task.error is not None
    assert (task.state, task.error.code) == ("failed", "cancelled")
    assert desk.wait(task) == task
    assert "no verdict: cancelled." in str(desk.report(task))
    assert desk.analyze(video).state == "queued"


# --- read ------------------------------------------------------------------------------------------------------------


def test_a_report_names_verdict_and_evidence(desk: Client, owner: User, factory: Factory) -> None:
    stored = factory.judged(owner, people=2)
    report = desk.report(stored.pk)
    assert report.verdict is not None
    assert (report.verdict.label, len(report.faces), {face.track for face in report.faces}) == ("fake", 20, {0, 1})
    face = report.faces[0]
    assert (face.box, face.fake_probability, face.timestamp_s) == ((10, 20, 110, 140), 0.9, 0.0)
    assert desk.download(face.image).startswith(b"\x89PNG")
    assert str(report).splitlines() == [
        f"{stored.original_name} ({stored.pk})",
        f"sha256 {stored.sha256}",
        f"verdict: fake (0.900, fake from 0.500 on; model {report.verdict.model})",
        "seen: 20 faces of 2 people",
        "a person is to look at it: experimental_model",
    ]


def test_the_signed_report_is_waited_for(desk: Client, owner: User, factory: Factory, clock: Time) -> None:
    video = factory.judged(owner)
    with pytest.raises(ReportTimeout, match="not made yet"):
        desk.evidence_report(video.pk, timeout_s=0)

    def make() -> None:
        claim = evidence.claim(job_id=EvidenceJob.objects.get().pk)
        assert claim is not None
        basis = evidence.report_basis(videos.videos_with_answers(user=owner).get(), owner)
        evidence.finish_report(claim=claim, basis=basis, bundle=b"a zip", pdf=b"a pdf")

    clock.work += [lambda: None, make]
    assert desk.evidence_report(desk.video(video.pk)) == b"a zip"
    assert clock.slept == [2.0, 2.0]


def test_lists_follow_their_pages_and_filter(desk: Client, owner: User, factory: Factory) -> None:
    for _ in range(5):
        factory.video(owner)
    ended = factory.failed(owner)
    assert [video.id for video in desk.videos(status="failed")] == [ended.pk]
    assert len(list(desk.videos(page_size=2))) == 6
    assert len({video.id for video in desk.videos(page_size=2, needs_review=False)}) == 6
    assert list(desk.videos(created_before=datetime(2020, 1, 1, tzinfo=UTC))) == []


def test_reviews_and_deletions_arrive(desk: Client, owner: User, factory: Factory) -> None:
    stored = factory.judged(owner)
    desk.review(stored.pk, "real", "It is me.")
    assert Review.objects.get().label == "real"
    desk.review(desk.video(stored.pk), people={0: "fake"})
    assert (Review.objects.first().label, Review.objects.first().people) == ("fake", {"0": "fake"})  # type: ignore[union-attr]
    assert desk.video(stored.pk).raw["people"] == []  # an owner's opinion
    desk.delete(desk.video(stored.pk))
    assert not Video.objects.exists()


def test_the_token_goes_to_nobody_else(desk: Client) -> None:
    with pytest.raises(ValueError, match="is not an address of"):
        desk.download("https://elsewhere.example/face.png")


# --- networks --------------------------------------------------------------------------------------------------------


def test_what_is_put_off_is_asked_again_when_that_is_worth_it(
    desk: Client, owner: User, factory: Factory, server: InProcess, clock: Time
) -> None:
    stored = factory.video(owner)
    server.faults = [put_off, break_off]
    assert desk.video(stored.pk).status == State.QUEUED
    assert clock.slept == [7.0, 1.0]


def test_a_server_that_is_away_is_named(desk: Client, server: InProcess, clock: Time) -> None:
    server.faults = [break_off] * 10
    with pytest.raises(Unreachable, match="connection reset"):
        desk.task(uuid4())
    assert clock.slept == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_review_whose_fate_is_in_doubt_is_not_sent_twice(
    desk: Client, owner: User, factory: Factory, server: InProcess
) -> None:
    stored = factory.judged(owner)
    server.faults = [break_off]
    with pytest.raises(Unreachable):
        desk.review(stored.pk, "real")
    assert len(server.sent) == 1


def test_a_refusal_that_is_no_json_is_one_all_the_same(desk: Client, server: InProcess) -> None:
    server.faults = [lambda request: answered(request, 403, b"<html>", {})]
    with pytest.raises(Refused, match="not answered in JSON") as refused:
        desk.task(uuid4())
    assert (refused.value.status, refused.value.code) == (403, "")


@pytest.mark.parametrize("page", [b"<html>Please log in", b'"hello"', b""])
def test_another_server_at_that_address_is_named(desk: Client, clip: Path, server: InProcess, page: bytes) -> None:
    """What reads JSON raised errors of its own, which nobody who calls was told of."""
    calls: list[Callable[[], object]] = [
        lambda: desk.upload(clip),
        lambda: desk.upload(clip, in_pieces=True),
        lambda: desk.task(uuid4()),
        lambda: desk.wait(uuid4()),
        lambda: list(desk.videos()),
    ]
    for call in calls:
        server.faults = [lambda request: answered(request, 200, page)]
        with pytest.raises(Unreachable, match="is it this API's address"):
            call()


def test_a_server_that_restarts_behind_its_proxy_ends_no_wait(
    desk: Client, owner: User, factory: Factory, server: InProcess, clock: Time
) -> None:
    stored = factory.judged(owner)
    server.faults = [lambda request: answered(request, 502, b"<html>"), lambda request: answered(request, 504)]
    assert desk.video(stored.pk).id == stored.pk
    assert clock.slept == [0.5, 1.0]
    server.faults = [lambda request: answered(request, 502, b"<html>")]
    with pytest.raises(Refused):
        desk.review(stored.pk, "real")  # it may have arrived


def test_an_id_is_an_id(desk: Client) -> None:
    with pytest.raises(ValueError, match="badly formed"):
        desk.task("../videos")
