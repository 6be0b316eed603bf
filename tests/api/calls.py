"""Every address of the API for one video, and a request to each that would succeed if the caller may make it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import reverse
from rest_framework.views import APIView

from detection.api.urls import urlpatterns
from detection.models import ResumableUpload, SampledFrame, Video, Webhook
from detection.services.jobs.webhook_deliveries import register
from detection.services.uploads import resumable
from tests.api.conftest import Caller, Factory, mp4

TUS = {"Tus-Resumable": "1.0.0"}
METHODS = ("get", "post", "put", "patch", "delete", "options")


def operations() -> Iterator[tuple[str, str]]:
    """(route's name, method) of all that the views answer; HEAD only where it is not GET without a body."""
    for pattern in urlpatterns:
        view: Any = pattern.callback
        for method in (*METHODS, "head"):
            own = getattr(view.view_class, method, None)
            if own is not None and own is not APIView.options:  # which each view has, and which is switched off
                yield str(pattern.name), method


def full_video(caller: Caller, factory: Factory) -> Video:
    """A video of the caller's with one of everything, and a webhook and an upload in pieces beside it."""
    video = factory.judged(caller.user)
    second = {"start_s": 60.0, "end_s": 66.0, "clip": video.clip.name}
    video.segments = [{"start_s": 0.0, "end_s": 6.0, "clip": ""}, second]
    video.save(update_fields=["segments"])
    SampledFrame.objects.create(video=video, position=0, frame_number=0, timestamp_s=0, image=video.thumbnail.name)
    factory.heatmaps(video)
    factory.provenance(video)
    register(owner=caller.user, url="https://example.org/")
    resumable.create(owner=caller.user, length=1000)
    return video


def addresses(video: Video) -> dict[str, str]:
    """Route's name -> its path, for this video and its owner's webhook."""
    face, frame = video.faces.first(), SampledFrame.objects.get(video=video)
    assert face is not None
    known = {
        "video_id": video.pk, "kind": "clip", "number": 1, "face_id": face.pk, "frame_id": frame.pk,
        "task_id": video.current_analysis_id, "webhook_id": Webhook.objects.get(owner=video.owner).pk,
        "upload_id": ResumableUpload.objects.get(owner=video.owner).pk,
    }  # fmt: skip
    return {
        str(pattern.name): reverse(
            f"api:{pattern.name}", kwargs={key: known[key] for key in pattern.pattern.converters}
        )
        for pattern in urlpatterns
    }


def call(caller: Caller, method: str, name: str, path: str) -> Any:
    match name, method:
        case "videos", "post":
            return caller.upload()
        case "reviews", "post":
            return caller.post_json(path, {"label": "fake"})
        case "webhooks", "post":
            return caller.post_json(path, {"url": "https://example.org/"})
        case "uploads", "post":
            return caller.request(method, path, headers=TUS | {"Upload-Length": "1000"})
        case "upload", "patch":
            piece = {"data": mp4(size=10), "content_type": "application/offset+octet-stream"}
            return caller.request(method, path, headers=TUS | {"Upload-Offset": "0"}, **piece)
        case "upload", _:
            return caller.request(method, path, headers=TUS)
        case _, "post":
            return caller.request(method, path, content_type="application/json")
    return caller.request(method, path)
