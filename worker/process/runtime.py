"""What one worker process keeps: a face detector, and the active model.  And the work of the two stages with them.

torch and OpenCV are imported at the first use, in the child process that does the work, never in its parent; torch only
where a network scores or learns, because it costs a process that looks for faces more memory than all the rest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import Exists, OuterRef

from detection.errors import Refused
from detection.models import DatasetVideo, FaceFrame, ModelKind, ModelVersion, Video
from detection.services.jobs import analyses
from detection.services.jobs.analyses import EXTRACTED_PERCENT, AnalysisClaim
from detection.services.jobs.results import ClassificationResult
from detection.services.learning import registry, rescoring
from detection.services.learning.rescoring import StoredVideo, sequences_of
from detection.services.reviews.rescan import found_by_rescan
from detection.services.stored_files import is_away
from ml.resource_limits import limited
from worker.process.lease_heartbeat import LeaseHeartbeat
from worker.process.work_files import stored_file, work_folder
from worker.stages import provenance
from worker.stages.attempt import BadInput, NotNow, abort_stuck
from worker.stages.extracted import extraction_result, trimmed
from worker.stages.shown import Shown, faces_shown, frames_shown, reading_errors, video_limits
from worker.stages.verdict import verdict
from worker.stages.watchdog import file_budget, file_limits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml.config import FaceConfig
    from ml.faces.detector import FaceDetector
    from ml.model.inference import Classifier, TrackScore

log = structlog.get_logger(__name__)

SMALL_BATCH = 8

_threads = max(1, os.cpu_count() or 1)
_loaded: tuple[UUID, Classifier] | None = None


# --- extraction ----------------------------------------------------------------------------------------------------


def extract(claim: AnalysisClaim, heartbeat: LeaseHeartbeat) -> None:
    """The stage `extract`: from the stored original to stored faces, or to NO_FACE."""
    prepare_vision()
    from ml.config import SegmentConfig
    from ml.faces.extract_video import extract_video
    from ml.video.decode import VideoError
    from ml.video.ranged_file import check_fetched
    from worker.stages.kept_segments import KeptSegments

    limits = video_limits()
    rows = Video.objects.annotate(of_dataset=Exists(DatasetVideo.objects.filter(video=OuterRef("pk"))))
    name, of_dataset = rows.values_list("file", "of_dataset").get(id=claim.video_id)
    # A data set's label is its video's, not known to hold in each part of it.
    segments = SegmentConfig(max_segments=1 if of_dataset else int(settings.DFD_MAX_SEGMENTS))
    budget = file_budget(partial(abort_stuck, claim, analyses), heartbeat.lost_for_s)
    with work_folder() as folder:
        with budget, stored_file(name, folder) as path:
            try:
                # The last few percent are for storing what was found.
                extraction = extract_video(
                    path,
                    detector=detector(claim.sensitive),
                    video=limits,
                    faces=_face_config(claim.sensitive),
                    segments=segments,
                    progress=lambda x: heartbeat(x * (EXTRACTED_PERCENT - 5)),
                    kept=KeptSegments(claim),
                )
            except VideoError as error:
                check_fetched(path)
                raise BadInput(error.code, error.detail) from error
            started = time.perf_counter()
            clips = trimmed(path, folder, extraction, limits)
            told = provenance.read(path, limits, folder)
            check_fetched(path)
            result = extraction_result(extraction, clips, trim_s=time.perf_counter() - started, threads=_threads)
            result = replace(result, provenance=told)
            heartbeat(EXTRACTED_PERCENT - 5)
        # No longer watched: whoever has settled the claim has lost it, and what the commit sets off may take its time.
        finish = analyses.finish_extraction if result.faces else analyses.finish_no_face
        finish(claim=claim, result=result)


def load_detector() -> None:
    """Now, and not at the first video: a time limit that broke off the import of a library would spoil the process."""
    prepare_vision()
    detector()


def _face_config(sensitive: bool) -> FaceConfig:
    from ml.config import FaceConfig

    return FaceConfig.sensitive() if sensitive else FaceConfig()


@cache
def detector(sensitive: bool = False) -> FaceDetector:
    """With as many threads as this process may have."""
    from ml.faces.detector import FaceDetector

    # On the CPU: with small frames the card gains nothing, and each process on it costs memory.
    return FaceDetector(device="cpu", config=_face_config(sensitive), threads=_threads)


# --- classification ------------------------------------------------------------------------------------------------


def classify(claim: AnalysisClaim, heartbeat: LeaseHeartbeat) -> None:
    """The stage `classify`: from stored faces, or the stored clips' frames, to a verdict of the active model."""
    prepare()
    heartbeat(EXTRACTED_PERCENT)
    version = ModelVersion.objects.filter(active=True).first()
    if version is None:
        analyses.await_model(claim=claim)
        return
    started = time.perf_counter()
    classifier = load_classifier(version)
    loaded = time.perf_counter()
    heartbeat(EXTRACTED_PERCENT + 5)
    video = Video.objects.get(id=claim.video_id)
    sensitive = False
    if version.kind == ModelKind.ONNX_FRAMES:
        shown = _frames_of_claimed(video, classifier, claim, heartbeat)
    else:
        sequences = sequences_of(FaceFrame.objects.filter(video_id=claim.video_id).order_by("track", "position"))
        if not sequences and video.tracks == 0:
            analyses.finish_unjudged(claim=claim)
            return
        shown, sensitive = faces_shown(sequences, _threads), bool(found_by_rescan([claim.video_id]))
    heartbeat(EXTRACTED_PERCENT + 10)
    read = time.perf_counter()
    scores = _score(classifier, shown.pictures)
    timings = {"model_load": loaded - started, "read": read - loaded, "classify": time.perf_counter() - read}
    timings = {k: round(v, 3) for k, v in timings.items()}
    result = verdict(version, classifier, shown, scores, sensitive=sensitive, timings=timings)
    analyses.finish_classification(claim=claim, result=result)


def _frames_of_claimed(video: Video, classifier: Classifier, claim: AnalysisClaim, heartbeat: LeaseHeartbeat) -> Shown:
    """Frames of the stored clips, decoded within the limits of the work on one file.  Raises BadInput."""
    from ml.video.errors import VideoError

    if video.original_removed_at is not None:
        raise BadInput("original_expired", "The file was removed before the model could look at its frames.")
    assert classifier.model.frame_view is not None
    try:
        with file_budget(partial(abort_stuck, claim, analyses), heartbeat.lost_for_s):
            return frames_shown(video, classifier.model.frame_view)
    except VideoError as error:
        raise BadInput(error.code, error.detail) from error


def rescore_batch(version: ModelVersion, batch: Sequence[StoredVideo]) -> tuple[int, list[str]]:
    """The version's verdicts of many videos; (how many were stored, ids of those whose faces cannot be read).

    Faces that it has judged before are not scored again.
    """
    known: list[tuple[StoredVideo, ClassificationResult | None]] = [(s, None) for s in batch if s.verdict is not None]
    batch = [stored for stored in batch if stored.verdict is None]
    if not batch:
        return rescoring.store_verdicts(model=version, results=known), []
    prepare()
    classifier = load_classifier(version)
    looks = _looks_at_frames if version.kind == ModelKind.ONNX_FRAMES else _looks_at_faces
    judged, unreadable = looks(classifier, batch)
    results = [
        (stored, verdict(version, classifier, shown, scores, sensitive=stored.sensitive))
        for stored, shown, scores in judged
    ]
    return rescoring.store_verdicts(model=version, results=[*known, *results]), unreadable


Judged = list[tuple[StoredVideo, Shown, Sequence["TrackScore"]]]


def _looks_at_faces(classifier: Classifier, batch: Sequence[StoredVideo]) -> tuple[Judged, list[str]]:
    """Score the faces of all videos together; returns the ids of those that cannot be read, too."""
    readable: list[tuple[StoredVideo, Shown]] = []
    unreadable: list[str] = []
    for stored in batch:
        try:
            readable.append((stored, faces_shown(stored.people, _threads)))
        except (OSError, RuntimeError) as error:
            if is_away(error):
                raise
            log.warning("faces_unreadable", video=str(stored.video_id), error=str(error))
            unreadable.append(str(stored.video_id))
    scores = iter(_score(classifier, [pictures for _, shown in readable for pictures in shown.pictures]))
    return [(stored, shown, list(islice(scores, len(shown.pictures)))) for stored, shown in readable], unreadable


def _looks_at_frames(classifier: Classifier, batch: Sequence[StoredVideo]) -> tuple[Judged, list[str]]:
    """Score the frames of one video after the other; they are large.  Returns the ids of the unreadable, too."""
    judged: Judged = []
    unreadable: list[str] = []
    for video in Video.objects.filter(id__in=[stored.video_id for stored in batch]):
        stored = next(one for one in batch if one.video_id == video.id)
        try:
            shown, scores = score_frames(classifier, video)
            judged.append((stored, replace(shown, pictures=[]), scores))
        except reading_errors() as error:
            if is_away(error):
                raise
            log.warning("frames_unreadable", video=str(video.id), error=str(error))
            unreadable.append(str(video.id))
    return judged, unreadable


def _score(classifier: Classifier, crops: list[list[NDArray[np.uint8]]]) -> list[TrackScore]:
    """The card's own shortage is met in ml.model.inference; the machine's is met here, once, with smaller batches."""
    try:
        return classifier.score(crops)
    except MemoryError:
        log.warning("out_of_memory", retry_with_frames=SMALL_BATCH)
        return classifier.score(crops, batch_frames=SMALL_BATCH)


def score_people(
    classifier: Classifier, people: Sequence[tuple[int, Sequence[FaceFrame]]]
) -> tuple[Shown, list[TrackScore]]:
    """Score each person's stored faces.  Raises OSError or RuntimeError where a face cannot be read."""
    shown = faces_shown(people, _threads)
    return shown, _score(classifier, shown.pictures)


def score_frames(classifier: Classifier, video: Video) -> tuple[Shown, list[TrackScore]]:
    """Score the frames of a video's stored clips.  Raises one of `reading_errors` where they cannot be had."""
    assert classifier.model.frame_view is not None
    with limited(file_limits()):
        shown = frames_shown(video, classifier.model.frame_view)
    return shown, _score(classifier, shown.pictures)


def load_classifier(version: ModelVersion, *, keep: bool = True) -> Classifier:
    """The active model, loaded once a process and exchanged when another becomes active.

    Without `keep` the one that is loaded stays: for a version that is needed once.  Raises NotNow.
    """
    global _loaded
    if _loaded is not None and _loaded[0] == version.id:
        return _loaded[1]
    from ml.model.inference import Classifier
    from ml.model.weights import WeightsError

    if keep:
        _loaded = None  # first make room
    try:
        path = registry.local_weights(model=version)
        classifier = Classifier.load(path, sha256=version.sha256, device=settings.DFD_DEVICE, onnx_folder=path.parent)
    except (WeightsError, Refused, OSError) as error:
        log.error("model_unusable", model=version.name, error=str(error))
        raise NotNow(f"The model {version.name!r} cannot be loaded; ask the operator to register it again.") from error
    log.info("model_loaded", model=version.name, sha256=version.sha256[:12], device=str(classifier.device))
    if keep:
        _loaded = (version.id, classifier)
    return classifier


# --- training -------------------------------------------------------------------------------------------------------


def train(run_id: str) -> None:
    """A training run, with all the threads that this process may use."""
    prepare()
    from worker.training import run

    run.run(run_id)


def measure(model_id: str) -> None:
    """Measure a model on the random audit; no network is needed for it."""
    prepare_vision()
    from worker.training import measuring

    measuring.measure(model_id)


# --- the process ---------------------------------------------------------------------------------------------------


def share_cores(*, processes: int) -> None:
    """Called in the parent: how many threads each of its children may use for arithmetic."""
    global _threads
    _threads = max(1, (os.cpu_count() or 1) // processes)


@cache
def prepare_vision() -> None:
    """Once in each child that decodes: without it every process would start as many threads as there are cores."""
    import ml  # noqa: F401 (first: it sets how memory is had)

    import cv2  # isort: skip

    cv2.setNumThreads(1)


@cache
def prepare() -> None:
    """The same, where a network scores or learns, too."""
    import ml  # noqa: F401 (first: it tells OpenMP how to wait)

    import torch  # isort: skip

    prepare_vision()
    torch.set_num_threads(_threads)
