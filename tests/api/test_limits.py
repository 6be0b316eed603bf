"""What one user may bring in within a day and a minute, and what happens when the queue is full."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.test import Client
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator
from knox.models import AuthToken

from detection.api import counts, throttle, uploadhandler
from detection.models import Analysis, Stage, State, UploadDay, Video
from detection.services.uploads import quotas
from tests.api.conftest import Caller, Factory, mp4

pytestmark = pytest.mark.django_db
Check = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the count of requests, which begins with nothing; no test meets the end of a minute by chance."""
    caches["requests"].clear()
    times = [1_800_000_000.0]
    monkeypatch.setattr(throttle, "now", lambda: times[0])
    return times


def today() -> date:
    return timezone.now().astimezone(UTC).date()


def wait_of(response: Any) -> int:
    return int(response["Retry-After"])


# --- bytes a day -----------------------------------------------------------------------------------------------------


def test_a_user_may_send_so_many_bytes_a_day(
    owner: Caller, other: Caller, settings: Any, problem: Check, stored_files: Callable[[], list[str]]
) -> None:
    settings.DFD_MAX_BYTES_A_DAY = 500
    assert [owner.upload(mp4(size=200)).status_code for _ in range(2)] == [202, 202]
    before = stored_files()
    refused = owner.upload(mp4(size=101))
    body = problem(refused, 429, "daily_bytes_exceeded")
    assert "100 are left" in body["detail"]
    now = timezone.now().astimezone(UTC)
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
    assert abs(wait_of(refused) - (midnight - now).total_seconds()) < 5
    assert stored_files() == before
    assert owner.upload(mp4(size=100)).status_code == 202
    assert other.upload(mp4(size=400)).status_code == 202


def test_what_was_deleted_since_counts_all_the_same(owner: Caller, settings: Any, problem: Check) -> None:
    settings.DFD_MAX_BYTES_A_DAY = 300
    video = owner.upload(mp4(size=200)).json()
    assert owner.request("delete", f"/api/v1/videos/{video['id']}/").status_code == 204
    assert not Video.objects.exists()
    problem(owner.upload(mp4(size=200)), 429, "daily_bytes_exceeded")


def test_what_is_here_already_counts_as_it_arrives(owner: Caller, settings: Any, problem: Check) -> None:
    settings.DFD_MAX_BYTES_A_DAY = 500
    content = mp4(size=200)
    assert [owner.upload(content).status_code for _ in range(2)] == [202, 200]
    problem(owner.upload(content), 429, "daily_bytes_exceeded")
    assert UploadDay.objects.get().bytes == 400


def test_whoever_has_used_up_the_day_is_refused_before_a_byte_is_stored(
    owner: Caller, settings: Any, problem: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DFD_MAX_BYTES_A_DAY = 300_000
    assert owner.upload(mp4(size=200_000)).status_code == 202
    written: list[int] = []
    monkeypatch.setattr(uploadhandler.ReceivedFile, "write", lambda self, data: written.append(len(data)))
    problem(owner.upload(mp4(size=200_000)), 429, "daily_bytes_exceeded")
    assert written == []


def test_a_body_is_stopped_where_the_days_bytes_end_however_it_is_sent(
    owner: Caller, settings: Any, problem: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DFD_MAX_BYTES_A_DAY = 1_000_000
    monkeypatch.setattr(uploadhandler, "FORM_FIELDS_BYTES", 10_000_000)  # its length says nothing
    monkeypatch.setattr(quotas.Arrival, "STEP_BYTES", 300_000)
    written: list[int] = []

    def write(received: Any, data: bytes) -> None:
        written.append(len(data))
        received.file.write(data)

    monkeypatch.setattr(uploadhandler.ReceivedFile, "write", write)
    problem(owner.upload(mp4(size=3_000_000)), 429, "daily_bytes_exceeded")
    assert sum(written) <= 1_000_000
    assert UploadDay.objects.get().bytes >= 500_000  # but for the last step


def test_pieces_count_though_their_upload_is_given_up(owner: Caller, settings: Any, problem: Check) -> None:
    settings.DFD_MAX_BYTES_A_DAY = 1000
    tus = {"Tus-Resumable": "1.0.0"}
    content = mp4(size=900)

    def begin() -> Any:
        return owner.request("post", "/api/v1/uploads/", headers=tus | {"Upload-Length": "900"})

    path = str(begin()["Location"]).removeprefix("http://testserver")
    headers = tus | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    sent = owner.request("patch", path, data=content[:-1], content_type=headers["Content-Type"], headers=headers)
    assert (sent.status_code, UploadDay.objects.get().bytes) == (204, 899)
    assert owner.request("delete", path, headers=tus).status_code == 204
    assert UploadDay.objects.get().bytes == 899
    problem(begin(), 429, "daily_bytes_exceeded")


def test_pieces_that_are_sent_again_and_again_end_with_the_days_bytes(
    owner: Caller, settings: Any, problem: Check
) -> None:
    settings.DFD_MAX_BYTES_A_DAY = 1000
    tus = {"Tus-Resumable": "1.0.0"}
    begun = owner.request("post", "/api/v1/uploads/", headers=tus | {"Upload-Length": "400"})
    path = str(begun["Location"]).removeprefix("http://testserver")
    kind = "application/offset+octet-stream"
    wrong = tus | {"Upload-Offset": "0", "Content-Type": kind, "Upload-Checksum": f"md5 {'A' * 22}=="}
    codes = [
        owner.request("patch", path, data=mp4(size=400), content_type=kind, headers=wrong).status_code for _ in range(4)
    ]
    assert codes == [460, 460, 460, 429]
    assert UploadDay.objects.get().bytes == 1200


def test_a_refused_upload_costs_what_has_arrived_of_it(owner: Caller, settings: Any) -> None:
    settings.DFD_MAX_VIDEOS_IN_FLIGHT = 1
    assert [owner.upload().status_code for _ in range(2)] == [202, 429]
    assert owner.upload(b"no video at all").status_code == 415
    assert UploadDay.objects.get().bytes == 200 + 200 + len(b"no video at all")


def test_the_next_day_begins_with_nothing(owner: Caller, settings: Any) -> None:
    settings.DFD_MAX_BYTES_A_DAY = 300
    UploadDay.objects.create(owner=owner.user, day=today() - timedelta(days=1), bytes=300)
    assert owner.upload(mp4(size=200)).status_code == 202
    assert sorted(UploadDay.objects.values_list("bytes", flat=True)) == [200, 300]


def test_the_limit_holds_for_an_upload_that_another_has_overtaken(
    owner: Caller, settings: Any, problem: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DFD_MAX_BYTES_A_DAY = 300
    count = quotas.Arrival.count

    def overtaken(arrival: quotas.Arrival) -> None:
        UploadDay.objects.create(owner=owner.user, day=today(), bytes=200)
        count(arrival)

    monkeypatch.setattr(quotas.Arrival, "count", overtaken)
    problem(owner.upload(mp4(size=200)), 429, "daily_bytes_exceeded")
    assert not Video.objects.exists()
    assert UploadDay.objects.get().bytes == 200


def test_counts_of_long_ago_are_forgotten(owner: Caller) -> None:
    for days in (0, 34, 36, 400):
        UploadDay.objects.create(owner=owner.user, day=today() - timedelta(days=days), bytes=1)
    assert quotas.delete_old_days() == 2
    assert UploadDay.objects.count() == 2


# --- requests a minute -----------------------------------------------------------------------------------------------


def test_a_user_may_ask_so_often_a_minute(owner: Caller, other: Caller, settings: Any, problem: Check) -> None:
    settings.DFD_MAX_REQUESTS_A_MINUTE = 3
    assert [owner.get("/api/v1/videos/").status_code for _ in range(3)] == [200, 200, 200]
    refused = owner.get("/api/v1/models/")
    problem(refused, 429, "too_many_requests")
    assert wait_of(refused) == 60
    problem(owner.upload(), 429, "too_many_requests")
    assert not Video.objects.exists()
    assert other.get("/api/v1/videos/").status_code == 200


def test_a_second_token_is_the_same_user(owner: Caller, settings: Any, problem: Check) -> None:
    settings.DFD_MAX_REQUESTS_A_MINUTE = 2
    assert [owner.get("/api/v1/videos/").status_code for _ in range(2)] == [200, 200]
    _, token = AuthToken.objects.create(user=owner.user)
    refused = Client().get("/api/v1/videos/", headers={"Authorization": f"Token {token}"})
    problem(refused, 429, "too_many_requests")


def test_the_next_minute_begins_with_nothing(owner: Caller, settings: Any, clock: list[float]) -> None:
    settings.DFD_MAX_REQUESTS_A_MINUTE = 1
    clock[0] = 1_800_000_059.5
    assert owner.get("/api/v1/videos/").status_code == 200
    refused = owner.get("/api/v1/videos/")
    assert (refused.status_code, wait_of(refused)) == (429, 1)
    clock[0] += 1
    assert owner.get("/api/v1/videos/").status_code == 200


def test_the_count_of_hours_takes_no_more_room_than_that_of_minutes(
    owner: Caller, clock: list[float], settings: Any
) -> None:
    for _ in range(30):
        assert owner.get("/api/v1/models/").status_code == 200
        clock[0] += throttle.WINDOW_S
    table = Path(settings.CACHES["requests"]["LOCATION"]).read_bytes()
    assert sum(count > 0 for _, _, count in counts.SLOT.iter_unpack(table)) == throttle.KEYS


def test_pages_of_our_own_and_health_checks_are_not_counted(admin: Caller, nobody: Caller, settings: Any) -> None:
    settings.DFD_MAX_REQUESTS_A_MINUTE = 1
    browser = Client()
    browser.force_login(admin.user)
    assert {browser.get("/api/v1/videos/").status_code for _ in range(4)} == {200}
    assert {nobody.get("/healthz").status_code for _ in range(4)} == {200}


def test_where_the_count_cannot_be_had_nobody_is_turned_away(owner: Caller, settings: Any) -> None:
    settings.DFD_MAX_REQUESTS_A_MINUTE = 1
    settings.CACHES = settings.CACHES | {
        "requests": {
            "BACKEND": "detection.api.counts.SharedCounts",
            "LOCATION": "redis://127.0.0.1:1/0",
            "OPTIONS": {"socket_connect_timeout": 0.5, "socket_timeout": 0.5},
        }
    }
    assert [owner.get("/api/v1/videos/").status_code for _ in range(3)] == [200, 200, 200]


# --- a full queue ----------------------------------------------------------------------------------------------------


@pytest.fixture
def full(other: Caller, factory: Factory, settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[Video]:
    """Two videos of somebody else's wait, and no more may."""
    monkeypatch.setattr(quotas, "QUEUE_LOOK_S", 0.0)
    settings.DFD_MAX_QUEUE = 2
    return [factory.video(other.user) for _ in range(2)]


def test_uploads_are_put_off_while_the_queue_is_full(
    owner: Caller, full: list[Video], problem: Check, stored_files: Callable[[], list[str]]
) -> None:
    before = stored_files()
    refused = owner.upload()
    problem(refused, 503, "queue_full")
    assert wait_of(refused) >= 1
    assert stored_files() == before
    Analysis.objects.filter(video=full[0]).update(state=State.QUEUED, stage=Stage.AWAITING_MODEL)
    assert owner.upload().status_code == 202


def test_a_new_analysis_is_put_off_too(owner: Caller, full: list[Video], factory: Factory, problem: Check) -> None:
    video = factory.failed(owner.user)
    problem(owner.post_json(f"/api/v1/videos/{video.pk}/analyze/"), 503, "queue_full")
    open_one = full[0]
    again = Caller(open_one.owner).post_json(f"/api/v1/videos/{open_one.pk}/analyze/")
    assert (again.status_code, again.json()["id"]) == (202, str(open_one.current_analysis_id))


def test_no_limit_of_the_queue_takes_everything(owner: Caller, full: list[Video], settings: Any) -> None:
    settings.DFD_MAX_QUEUE = 0
    assert owner.upload().status_code == 202


def test_the_queue_is_looked_at_once_a_second(
    owner: Caller, factory: Factory, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DFD_MAX_QUEUE = 7
    looks: list[int] = []

    def look(*, at_most: int) -> int:
        looks.append(at_most)
        return 0

    monkeypatch.setattr(quotas, "waiting_for_extraction", look)
    monkeypatch.setattr(quotas, "_looked", (0.0, 0, False))
    assert [owner.upload().status_code for _ in range(4)] == [202] * 4
    assert len(looks) <= 2


# --- the description -------------------------------------------------------------------------------------------------


def test_the_description_says_of_every_operation_when_to_try_again() -> None:
    described = json.loads(json.dumps(SchemaGenerator().get_schema(public=True), default=str))
    operations = [op for path, item in described["paths"].items() for op in item.values() if "/v1/" in path]
    assert operations
    for operation in operations:
        assert operation["responses"]["429"]["headers"]["Retry-After"]["required"], operation["operationId"]
    upload = described["paths"]["/api/v1/videos/"]["post"]["responses"]
    assert "Retry-After" in upload["503"]["headers"]
