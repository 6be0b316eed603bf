"""What an evidence report tells of a video: plain values for JSON, and the pictures that go with them.

Whoever asks has been checked before (`detection.services.jobs.evidence.check_may_have_report`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.models import AbstractBaseUser

from detection.models import FaceFrame, ModelVersion, Review, ReviewRole, State, Verdict, Video, VideoProvenance
from detection.selectors import segments, videos
from detection.selectors.permissions import has
from detection.selectors.videos import original_sentence, pictures_sentence
from detection.wording import ASSESSMENTS, REVIEW_REASONS, ROLES, SCALE

CONTENT_VERSION = 3
"""Of what a report tells; a higher one makes stored reports out of date."""
REPORTABLE = (State.SUCCEEDED, State.NO_FACE)
MAX_REVIEWS = 500


@dataclass(frozen=True)
class Contents:
    """A report: `document` for report.json; `pictures` maps a name in the bundle to one in storage."""

    document: dict[str, Any]
    pictures: dict[str, str] = field(default_factory=dict)


def reads_whole_audit(user: AbstractBaseUser) -> bool:
    """Return whether all of a video's audit entries may be in the user's report, and not only their own."""
    return has(user, "detection.view_auditentry")


def basis(*, video: Video, user: AbstractBaseUser, heatmaps: str) -> str:
    """Return a digest of what a report tells but for the audit log; `heatmaps` names the valid ones."""
    reviews = [str(pk) for pk in videos.reviews_of(video=video).values_list("pk", flat=True)[:MAX_REVIEWS]]
    verdict = video.current_verdict
    told = [
        CONTENT_VERSION, user.pk, reads_whole_audit(user), video.status, video.label, str(video.current_verdict_id),
        str(video.extracted_at), str(video.original_removed_at), str(video.pictures_removed_at), video.needs_review,
        reviews, heatmaps, *([str(verdict.created_at), verdict.fake_probability, verdict.left_out] if verdict else ()),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def contents(*, video: Video, user: AbstractBaseUser, heatmaps: Mapping[str, str], made_at: datetime) -> Contents:
    """Return the report of a video with its verdict, for a user; `heatmaps` maps faces' ids to names in storage."""
    verdict = video.current_verdict
    faces = list(videos.faces_of(video=video))
    pictures = {_face_name(face): str(face.crop.name) for face in faces}
    pictures |= {_heatmap_name(face): heatmaps[str(face.pk)] for face in faces if str(face.pk) in heatmaps}
    frames = list(video.sampled_frames.order_by("position"))
    pictures |= {_frame_name(frame.position): str(frame.image.name) for frame in frames}
    coverage = segments.coverage(video)
    document = {
        "made_at": _moment(made_at),
        "made_for": user.get_username(),
        "video": _video(video),
        "verdict": _verdict(verdict) if verdict else None,
        "looked_at": coverage.as_dict() if coverage else None,
        "segments": [
            {"start_s": part.start_s, "end_s": part.end_s, "fake_probability": part.fake_probability}
            for part in segments.segments_of(video, verdict)
        ],
        "people": _people(faces, verdict, heatmaps),
        "frames_without_a_face": [
            {
                "picture": _frame_name(frame.position),
                "timestamp_s": frame.timestamp_s,
                "rejected_boxes": len(frame.boxes),
            }
            for frame in frames
        ],
        "label": video.label or None,
        "needs_review": video.needs_review,
        "reviews": [_review(review) for review in videos.reviews_of(video=video)[:MAX_REVIEWS]],
        "model": _model(verdict.model_version) if verdict else None,
        "provenance": provenance_of(video),
        "notes": [note for note in (original_sentence(video), pictures_sentence(video)) if note],
    }
    return Contents(document, pictures)


def provenance_of(video: Video) -> dict[str, Any] | None:
    """Return what the file says of itself, with `credentials` of its C2PA manifest; None where it was not read."""
    row = VideoProvenance.objects.filter(video=video).first()
    return None if row is None else row.claims | {"credentials": row.credentials, "read_at": _moment(row.read_at)}


def _video(video: Video) -> dict[str, Any]:
    return {
        "id": str(video.pk),
        "name": video.original_name,
        "sha256": video.sha256,
        "size_bytes": video.size_bytes,
        "owner": video.owner.get_username(),
        "external_id": video.external_id,
        "uploaded_at": _moment(video.created_at),
        "status": video.status,
        "container": video.container,
        "codec": video.codec,
        "width": video.width,
        "height": video.height,
        "rotation": video.rotation,
        "fps": video.fps,
        "duration_s": video.duration_s,
        "frames_decoded": video.frames_decoded,
        "truncated": video.truncated,
        "people": video.tracks,
        "people_left_out": video.people_left_out,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    words = ASSESSMENTS.get(verdict.assessment)
    return {
        "assessment": verdict.assessment,
        "in_words": words.title if words else f"Called {verdict.label}; the model has no finer words for its score",
        "meaning": words.meaning if words else "",
        "scale": [{"assessment": step, "title": ASSESSMENTS[step].title} for step in SCALE],
        "label": verdict.label,
        "fake_probability": verdict.fake_probability,
        "threshold": verdict.threshold,
        "deciding_person": None if verdict.frames is not None else verdict.track + 1,
        "whole_frames": verdict.frames,
        "left_out_people": [track + 1 for track in verdict.left_out or ()],
        "with_everybody": verdict.with_everybody,
        "needs_review": verdict.needs_review,
        "reasons": [REVIEW_REASONS.get(str(reason), str(reason)[:80]) for reason in verdict.review_reasons],
        "judged_at": _moment(verdict.created_at),
    }


def _model(model: ModelVersion) -> dict[str, Any]:
    return {
        "name": model.name,
        "sha256": model.sha256,
        "experimental": model.experimental,
        "license": model.license,
        "threshold": model.threshold,
        "temperature": model.temperature,
        "registered_at": _moment(model.created_at),
        "metrics": model.metrics,
    }


def _people(faces: list[FaceFrame], verdict: Verdict | None, heatmaps: Mapping[str, str]) -> list[dict[str, Any]]:
    judged = {person["track"]: person for person in (verdict.people if verdict else ())}
    scores = {str(frame["face"]): frame["fake_probability"] for person in judged.values() for frame in person["frames"]}
    people: dict[int, dict[str, Any]] = {}
    for face in faces:
        person = people.setdefault(
            face.track,
            {
                "number": face.track + 1,
                "fake_probability": judged.get(face.track, {}).get("fake_probability"),
                "still_picture": bool(judged.get(face.track, {}).get("still", face.still)),
                "decides": verdict is not None and verdict.deciding_track == face.track,
                "faces": [],
            },
        )
        person["faces"].append(
            {
                "picture": _face_name(face),
                "heatmap": _heatmap_name(face) if str(face.pk) in heatmaps else None,
                "segment": face.segment_index,
                "frame_number": face.frame_number,
                "timestamp_s": face.timestamp_s,
                "box": [face.x1, face.y1, face.x2, face.y2],
                "face_probability": face.probability,
                "fake_probability": scores.get(str(face.pk)),
            }
        )
    return list(people.values())


def _review(review: Review) -> dict[str, Any]:
    return {
        "by": review.reviewer.get_username(),
        "label": review.label,
        "how": ROLES.get(review.role, ROLES[ReviewRole.LIST]),
        "counts": review.role != ReviewRole.OPINION,
        "score_was_shown": review.score_shown,
        "at": _moment(review.created_at),
        "comment": review.comment,
    }


def _face_name(face: FaceFrame) -> str:
    return f"faces/{face.track + 1}-{face.position:02}.png"


def _heatmap_name(face: FaceFrame) -> str:
    return f"heatmaps/{face.track + 1}-{face.position:02}.jpg"


def _frame_name(position: int) -> str:
    return f"frames/{position:02}.jpg"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
