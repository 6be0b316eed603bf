"""Stored files over HTTP: ranges, caching, and headers that keep a hostile upload harmless."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from detection.api.views import media
from detection.models import Review, ReviewClaim, ReviewRole, SampledFrame, Video
from detection.services import stored_files
from tests.api.conftest import JPEG, PNG, Caller, Factory

pytestmark = pytest.mark.django_db
Problem = Callable[..., dict[str, Any]]
CONTENT = bytes(range(256)) * 4  # 1,024 bytes


@pytest.fixture
def path(owner: Caller, factory: Factory) -> str:
    """The address of a clip of CONTENT."""
    video = factory.judged(owner.user)
    video.clip = default_storage.save(f"{video.folder}/b/clip.mp4", ContentFile(CONTENT))
    video.save()
    return f"/api/v1/videos/{video.pk}/media/clip"


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content


def test_the_whole_file_is_served_in_pieces(owner: Caller, path: str) -> None:
    response = owner.get(path)
    assert response.status_code == 200
    assert response.streaming
    assert body(response) == CONTENT
    assert response["Content-Length"] == "1024"
    assert response["Accept-Ranges"] == "bytes"
    assert response["Content-Type"] == "video/mp4"


def test_a_large_file_is_never_in_memory_as_a_whole(owner: Caller, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "CHUNK_BYTES", 100)
    pieces = list(owner.get(path).streaming_content)
    assert max(map(len, pieces)) <= 100
    assert b"".join(pieces) == CONTENT


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0), ("bytes=0-99", 0, 99), ("bytes=100-", 100, 1023), ("bytes=-24", 1000, 1023),
        ("bytes=1000-99999999", 1000, 1023), ("bytes=-5000", 0, 1023), ("bytes=0-", 0, 1023),
    ],
)  # fmt: skip
def test_a_range_is_answered_with_that_part(owner: Caller, path: str, asked: str, first: int, last: int) -> None:
    response = owner.get(path, headers={"Range": asked})
    assert response.status_code == 206
    assert body(response) == CONTENT[first : last + 1]
    assert response["Content-Range"] == f"bytes {first}-{last}/1024"
    assert response["Content-Length"] == str(last + 1 - first)


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_beyond_the_file_is_a_416(owner: Caller, path: str, problem: Problem, asked: str) -> None:
    response = owner.get(path, headers={"Range": asked})
    problem(response, 416, "range_not_satisfiable")
    assert response["Content-Range"] == "bytes */1024"


@pytest.mark.parametrize(
    "asked",
    ["bytes=5-2", "bytes=-", "bytes=a-b", "bytes=0-1,5-6", "lines=1-2", "bytes=" + "9" * 5000 + "-", "bytes=٣-٤"],
)
def test_a_range_that_makes_no_sense_is_ignored(owner: Caller, path: str, asked: str) -> None:
    response = owner.get(path, headers={"Range": asked})
    assert (response.status_code, len(body(response))) == (200, 1024)


def test_if_range_gives_the_part_only_of_the_same_file(owner: Caller, path: str) -> None:
    etag = owner.get(path)["ETag"]
    assert owner.get(path, headers={"Range": "bytes=0-9", "If-Range": etag}).status_code == 206
    assert owner.get(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'}).status_code == 200


def test_what_a_browser_has_already_is_not_sent_again(owner: Caller, path: str) -> None:
    etag = owner.get(path)["ETag"]
    response = owner.get(path, headers={"If-None-Match": f'"x", {etag}'})
    assert (response.status_code, response.content) == (304, b"")
    assert response["ETag"] == etag
    assert owner.get(path, headers={"If-None-Match": '"x"'}).status_code == 200


def test_head_tells_the_size_and_sends_nothing(owner: Caller, path: str) -> None:
    response = owner.request("head", path, headers={"Range": "bytes=0-1"})
    assert (response.status_code, response.content, response["Content-Length"]) == (200, b"", "1024")


def test_an_upload_is_served_so_that_a_browser_runs_nothing_of_it(owner: Caller, factory: Factory) -> None:
    video = factory.video(owner.user)
    Video.objects.update(original_name='ev"il\r\nX: y é.html')
    response = owner.get(f"/api/v1/videos/{video.pk}/media/original")
    assert response["Content-Type"] == "video/mp4"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response["Content-Security-Policy"]
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert response["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response["Content-Disposition"].startswith("attachment; ")
    assert "\n" not in response["Content-Disposition"]
    assert response["Cache-Control"].startswith("private")
    assert {"Authorization", "Cookie"} <= {part.strip() for part in response["Vary"].split(",")}


def test_a_type_that_is_not_known_is_served_as_plain_bytes(owner: Caller, factory: Factory) -> None:
    video = factory.video(owner.user)
    video.file = default_storage.save(f"{video.folder}/page.html", ContentFile(b"<script>"))
    video.save()
    assert owner.get(f"/api/v1/videos/{video.pk}/media/original")["Content-Type"] == "application/octet-stream"


def test_pictures_of_faces_and_frames_are_served(owner: Caller, factory: Factory) -> None:
    face = factory.judged(owner.user).faces.first()
    assert face is not None
    response = owner.get(f"/api/v1/faces/{face.pk}/image")
    assert (response["Content-Type"], body(response)) == ("image/png", PNG)
    frame = SampledFrame.objects.get(video=factory.without_face(owner.user))
    response = owner.get(f"/api/v1/sampled-frames/{frame.pk}/image")
    assert (response.status_code, response["Content-Type"]) == (200, "image/jpeg")


def test_a_heat_map_is_served_while_it_is_of_the_verdicts_model(
    owner: Caller, reviewer: Caller, other: Caller, factory: Factory, problem: Problem
) -> None:
    video = factory.judged(owner.user)
    face = video.faces.earliest("position")
    path = f"/api/v1/faces/{face.pk}/heatmap"
    problem(owner.get(path), 404, "not_found")
    factory.heatmaps(video)
    for caller in (owner, reviewer):
        response = caller.get(path)
        assert (response["Content-Type"], body(response)) == ("image/jpeg", JPEG)
        assert response["Cache-Control"] == "private, no-cache"  # another model's may follow at the same address
    problem(other.get(path), 404, "not_found")
    verdict = video.verdicts.get()
    verdict.pk, verdict.model_version, verdict._state.adding = uuid4(), factory.model(active=False), True
    verdict.save()
    Video.objects.filter(pk=video.pk).update(current_verdict=verdict)
    problem(owner.get(path), 404, "not_found")


def test_a_heat_map_is_refused_to_who_has_still_to_answer(
    owner: Caller, reviewer: Caller, factory: Factory, problem: Problem
) -> None:
    video = factory.judged(owner.user)
    factory.heatmaps(video)
    path = f"/api/v1/faces/{video.faces.earliest('position').pk}/heatmap"
    ReviewClaim.objects.create(
        video=video, token=uuid4(), reviewer=reviewer.user, queue="audit", role=ReviewRole.FIRST,
        until=timezone.now() + timedelta(seconds=60),
    )  # fmt: skip
    problem(reviewer.get(path), 409, "not_yet")
    assert owner.get(path).status_code == 200
    ReviewClaim.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert reviewer.get(path).status_code == 200
    ReviewClaim.objects.update(until=timezone.now() + timedelta(seconds=60))
    problem(reviewer.get(path), 409, "not_yet")
    Review.objects.create(video=video, reviewer=reviewer.user, label="real", role=ReviewRole.FIRST)
    assert reviewer.get(path).status_code == 200


def test_a_preview_is_served_as_the_clip_is(owner: Caller, other: Caller, factory: Factory, problem: Problem) -> None:
    video = factory.judged(owner.user)
    path = f"/api/v1/videos/{video.pk}/media/preview"
    problem(owner.get(path), 404, "not_found")
    for name, media_type in (("p.mp4", "video/mp4"), ("p.webm", "video/webm")):
        video.preview = default_storage.save(f"{video.folder}/preview/{name}", ContentFile(CONTENT))
        video.save()
        response = owner.get(path, headers={"Range": "bytes=0-9"})
        assert (response.status_code, response["Content-Type"], body(response)) == (206, media_type, CONTENT[:10])
    problem(other.get(path), 404, "not_found")


def test_the_admins_session_may_read_pictures(reviewer: Caller, owner: Caller, factory: Factory) -> None:
    video = factory.judged(owner.user)
    reviewer.client.force_login(reviewer.user)
    reviewer.headers = {}
    assert reviewer.get(f"/api/v1/videos/{video.pk}/media/thumbnail").status_code == 200


def test_a_file_that_is_not_there_is_a_404(owner: Caller, path: str, factory: Factory, problem: Problem) -> None:
    problem(owner.get(path.replace("clip", "secrets")), 404, "not_found")
    problem(owner.get(f"/api/v1/videos/{factory.video(owner.user).pk}/media/clip"), 404, "not_found")
    default_storage.delete(Video.objects.exclude(clip="").get().clip.name or "")
    problem(owner.get(path), 404, "not_found")


def test_from_s3_only_the_part_that_is_asked_for_is_fetched(
    owner: Caller, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Object:
        def __init__(self, name: str) -> None:
            self.name = name

        def get(self, *, Range: str) -> dict[str, Any]:
            asked.append(Range)
            first, last = map(int, Range.removeprefix("bytes=").split("-"))
            return {"Body": SimpleNamespace(iter_chunks=lambda size: self.chunks(CONTENT[first : last + 1]))}

        def chunks(self, part: bytes) -> Iterator[bytes]:
            yield part

    storage = SimpleNamespace(bucket=SimpleNamespace(Object=Object), size=lambda name: len(CONTENT))
    for module in (media, stored_files):
        monkeypatch.setattr(module, "default_storage", storage)
    assert body(owner.get(path, headers={"Range": "bytes=10-19"})) == CONTENT[10:20]
    assert asked == ["bytes=10-19"]


def test_a_file_that_is_deleted_before_it_is_read_is_sent_whole(owner: Caller, path: str) -> None:
    """It is open when the headers go out, so a deletion that comes between them and the first byte does no harm."""
    response = owner.get(path)
    for name in Video.objects.values_list("clip", flat=True):
        default_storage.delete(name)
    assert body(response) == CONTENT


@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=10-19"}])
def test_a_file_that_is_deleted_before_the_headers_is_not_there(
    owner: Caller, path: str, problem: Problem, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]
) -> None:
    """After its size was looked up: an answer of 200 could not be taken back."""
    size = default_storage.size

    def deleted_meanwhile(name: str) -> int:
        found = size(name)
        default_storage.delete(name)
        return found

    monkeypatch.setattr(media, "default_storage", SimpleNamespace(size=deleted_meanwhile, open=default_storage.open))
    problem(owner.get(path, headers=asked), 404, "not_found")


def test_a_file_is_closed_when_nobody_reads_it_to_its_end(
    owner: Caller, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def noted(name: str) -> Any:
        opened.append(default_storage.open(name))
        return opened[-1]

    monkeypatch.setattr(media, "default_storage", SimpleNamespace(size=default_storage.size, open=noted))
    owner.get(path).close()
    assert [file.closed for file in opened] == [True]
