"""What the workspace is told of a video: before the answer without, after it with what the model says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from detection.admin.base import video_url
from detection.admin.review.evidence import (
    Person,
    frames_of,
    people_of_faces,
    people_of_verdict,
    review_sentences,
    score_texts,
    threshold_height,
    untold,
)
from detection.admin.review.near_duplicates import near_duplicate_payload
from detection.admin.review.timeline import timeline_context
from detection.localized import within
from detection.models import Assessment, PersonLabel, Review, ReviewRole, State, Verdict, VerdictLabel, Video
from detection.selectors.videos import original_sentence
from detection.services.jobs.left_out import models_own
from detection.services.reviews.queues import MIXED
from detection.services.reviews.rescan import rescanned
from detection.services.reviews.reviews import answers_of
from detection.services.reviews.workspace import Claimed

WHY = {
    MIXED: gettext_lazy("The queues one after the other."),
    "uncertain": gettext_lazy(
        "The model's score is closest to its threshold, or the model is not to be trusted alone."
    ),
    "no_face": gettext_lazy("No face was found that could be judged."),
    "audit": gettext_lazy("Drawn by lot, whatever the model says, so that its figures can be trusted."),
    "disagreement": gettext_lazy("A second reader is wanted, or two reviewers said different things."),
    "failed": gettext_lazy("The file could not be analysed."),
}
RESCANNED = gettext_lazy("Looked at twice, the second time with lower thresholds: no face either.")


def item(request: HttpRequest, claimed: Claimed, *, known: Review | None = None) -> dict[str, Any]:
    """Return a video to be answered, without the model's verdict; `known` is the reviewer's own earlier answer."""
    video = claimed.video
    people = people_of_faces(video.faces.order_by("track", "position"), None)
    frames = () if people else frames_of(video, video.sampled_frames.all())
    settles = claimed.role == ReviewRole.ADJUDICATION
    no_face = video.status == State.NO_FACE
    looked = no_face and rescanned(video)
    return {
        "claim": str(claimed.token),
        "queue": claimed.queue,
        "why": RESCANNED if looked and claimed.queue == "no_face" else _why(claimed),
        "can_rescan": no_face and not looked and video.original_removed_at is None,
        # A check against a known answer must look like any other first reading.
        "role": ReviewRole.FIRST if claimed.role == ReviewRole.GOLD else claimed.role,
        "video": {
            "id": str(video.pk),
            "name": str(video),
            "page_url": video_url(request, video.pk),
            "clip_url": media_url(video, "clip") if video.clip else media_url(video, "original"),
            "original_url": media_url(video, "original"),
            "gone": original_sentence(video),
            "poster_url": media_url(video, "thumbnail") if video.thumbnail else None,
            "codec": video.codec,
            "fps": video.fps,
            "duration_s": video.duration_s,
            "width": video.width,
            "height": video.height,
            "status_text": video.get_status_display(),
        },
        **timeline_context(video, None),
        "people_version": video.people_version or 0,
        "people": [
            {
                "track": person.track,
                "number": person.number,
                "faces": [
                    {"image_url": face.image_url, "frame_number": face.frame_number, "timestamp_s": face.timestamp_s}
                    for face in person.faces
                ],
            }
            for person in people
        ],
        "frames": [
            {
                "image_url": frame.image_url,
                "frame_number": frame.frame_number,
                "timestamp_s": frame.timestamp_s,
                "width": frame.width,
                "height": frame.height,
                "boxes": [
                    {"x": box.x, "y": box.y, "width": box.width, "height": box.height, "sentence": box.sentence}
                    for box in frame.boxes
                ],
            }
            for frame in frames
        ],
        "answers": [
            {
                "who": answer.reviewer.get_username(),
                "label": answer.label,
                "people": said_of_people(answer.people_of(video)),
                "comment": answer.comment,
            }
            for answer in (answers_of(video.pk).values() if settles else ())
        ],
        "revealed": revealed(video.current_verdict, known.label) if known else None,
        **near_duplicate_payload(request, video, labels=settles),
    }


def revealed(verdict: Verdict | None, mine: str) -> dict[str, Any] | None:
    """Return the model's verdict for a reviewer who has answered, and what it is without those who are no people."""
    if verdict is None:
        return None
    own = models_own(verdict)
    score, threshold = score_texts(own["fake_probability"], verdict.threshold)
    return {
        "label": own["label"],
        "score": score,
        "threshold": threshold,
        "assessment": _(Assessment(own["assessment"]).label) if own["assessment"] else "",
        "without": {
            "people": [track + 1 for track in verdict.left_out or ()],
            "label": verdict.label,
            "score": score_texts(verdict.fake_probability, verdict.threshold)[0],
        }
        if verdict.with_everybody
        else None,
        "version": str(verdict.model_version),
        "untold": untold(verdict)[0],
        "agrees": mine == verdict.label if mine in VerdictLabel.values else None,
        "people": [_shown(person, verdict) for person in people_of_verdict(verdict)],
    }


def _why(claimed: Claimed) -> str:
    if claimed.role == ReviewRole.ADJUDICATION:
        return _("Two reviewers said different things: your answer settles it.")
    if claimed.role == ReviewRole.SECOND:
        return _("A second reading: somebody else has answered already, and you are not told what.")
    if claimed.queue == "uncertain":
        reasons = review_sentences(claimed.video.current_verdict)
        return " ".join(reasons) or str(WHY["uncertain"])
    return str(WHY.get(claimed.queue, ""))


def _shown(person: Person, verdict: Verdict) -> dict[str, Any]:
    return {
        "number": person.number,
        "score": person.text,
        "sparkline": person.sparkline,
        "threshold_y": threshold_height(verdict),
        "decides": person.decides,
    }


def said_of_people(people: Mapping[str, str] | None) -> list[dict[str, Any]]:
    """Return what was said of people by themselves, as words, by person."""
    ordered = sorted((people or {}).items(), key=lambda one: int(one[0]))
    return [{"number": int(track) + 1, "text": within(_(PersonLabel(label).label))} for track, label in ordered]


def media_url(video: Video, kind: str) -> str:
    """Return the URL of a video's stored file."""
    return reverse("api:video-media", kwargs={"video_id": video.pk, "kind": kind})
