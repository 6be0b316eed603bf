"""Heat maps and previews: made when somebody asks for them, off the way of the data."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from detection.models import FaceFrame, Video
from detection.services.jobs import evidence
from detection.services.jobs.evidence import EvidenceClaim
from detection.services.learning.rescoring import sequences_of
from detection.wording import LOOKS_AT, NO_HEATMAPS
from worker.process import runtime, work_files
from worker.process.lease_heartbeat import LeaseHeartbeat
from worker.stages import attempt, images
from worker.stages.attempt import BadInput, NotNow, abort_stuck
from worker.stages.shown import video_limits
from worker.stages.watchdog import file_budget

if TYPE_CHECKING:
    from ml.video.ranged_file import VideoFile

log = structlog.get_logger(__name__)


def run(job_id: str, work: Callable[[EvidenceClaim, LeaseHeartbeat], None]) -> None:
    """Do `work` if the job can be claimed.  `work` finishes the claim, or raises."""
    claim = evidence.claim(job_id=UUID(job_id))
    if claim is None:
        log.info("nothing_to_do", evidence=job_id)
        return
    attempt.run_claimed(claim, work, evidence, evidence=job_id, kind=claim.kind)


def make_heatmaps(claim: EvidenceClaim, heartbeat: LeaseHeartbeat) -> None:
    """Of every face of the video, by the model version of its verdict."""
    runtime.prepare()
    from ml.model.heatmap import blend, face_heatmaps

    verdict = Video.objects.select_related("current_verdict__model_version").get(id=claim.video_id).current_verdict
    faces = list(FaceFrame.objects.filter(video_id=claim.video_id).order_by("track", "position"))
    if verdict is None or not faces:
        raise BadInput("nothing_to_show", "No model has judged faces of this video any more.")
    version = verdict.model_version
    if version.kind in NO_HEATMAPS:
        raise BadInput("no_heatmaps", f"{LOOKS_AT[version.kind]} {NO_HEATMAPS[version.kind]}")
    classifier = runtime.load_classifier(version, keep=version.active)
    jpegs: dict[UUID, bytes] = {}
    for _, person in sequences_of(faces):
        crops = [images.read_crop(str(face.crop.name)) for face in person]
        for face, crop, heatmap in zip(person, crops, face_heatmaps(classifier, crops), strict=True):
            jpegs[face.id] = images.encode(".jpg", blend(crop, heatmap))
        heartbeat(100 * len(jpegs) / len(faces))
    evidence.finish_heatmaps(claim=claim, model_sha256=version.sha256, jpegs=jpegs)


def make_preview(claim: EvidenceClaim, heartbeat: LeaseHeartbeat) -> None:
    """Of the stored clips of all segments, one after another, or of the upload where no clip could be cut from it.

    A segment begins where those before it have ended: after as many seconds as they have together.
    """
    runtime.prepare_vision()
    from ml.video.decode import VideoError
    from ml.video.preview import PreviewError, make_preview
    from ml.video.ranged_file import check_fetched

    limits = video_limits()
    video = Video.objects.only("clip", "file", "segments").get(id=claim.video_id)
    names = [(0.0, str((video.clip or video.file).name))]
    passed = 0.0
    for number, part in enumerate(video.segments or ()):
        if number and part["clip"]:
            names.append((passed, part["clip"]))
        passed += part["end_s"] - part["start_s"]
    with (
        file_budget(partial(abort_stuck, claim, evidence), heartbeat.lost_for_s),
        work_files.work_folder() as folder,
        ExitStack() as opened,
    ):
        clips: list[tuple[float, VideoFile]] = []
        for number, (begin_s, name) in enumerate(names):
            place = folder / str(number)  # each has a folder, as they may be called the same
            place.mkdir()
            clips.append((begin_s, opened.enter_context(work_files.stored_file(name, place))))
        path = clips[0][1]
        try:
            preview = make_preview(path, folder, limits, later=clips[1:])
        except VideoError as error:
            check_fetched(path)
            raise BadInput(error.code, error.detail) from error
        except PreviewError as error:
            raise NotNow(str(error)) from error
        for _, clip in clips:
            check_fetched(clip)
        heartbeat(95)
        evidence.finish_preview(claim=claim, path=preview.path)
