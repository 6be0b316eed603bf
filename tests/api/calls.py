"""Every address of the API for one video, and a request to each that would succeed if the caller may make it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import reverse

from detection.api.urls import urlpatterns
from detection.models import SampledFrame, Video, Webhook
from detection.services.webhooks import register
from tests.api.conftest import Caller, Factory

METHODS = ("get", "post", "put", "patch", "delete", "options")


def operations() -> Iterator[tuple[str, str]]:
    """(route's name, method) of all that the views answer; OPTIONS, which each view has, is switched off."""
    for pattern in urlpatterns:
        view: Any = pattern.callback
        for method in METHODS:
            if hasattr(view.view_class, method) and method != "options":
                yield str(pattern.name), method


def full_video(caller: Caller, factory: Factory) -> Video:
    """A video of the caller's with one of everything, and a webhook beside it."""
    video = factory.judged(caller.user)
    SampledFrame.objects.create(video=video, position=0, frame_number=0, timestamp_s=0, image=video.thumbnail.name)
    factory.heatmaps(video)
    register(owner=caller.user, url="https://example.org/")
    return video


def addresses(video: Video) -> dict[str, str]:
    """Route's name -> its path, for this video and its owner's webhook."""
    face, frame = video.faces.first(), SampledFrame.objects.get(video=video)
    assert face is not None
    known = {
        "video_id": video.pk, "kind": "clip", "face_id": face.pk, "frame_id": frame.pk,
        "task_id": video.current_analysis_id, "webhook_id": Webhook.objects.get(owner=video.owner).pk,
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
        case _, "post":
            return caller.request(method, path, content_type="application/json")
    return caller.request(method, path)
