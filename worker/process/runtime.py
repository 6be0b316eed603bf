"""What one worker process keeps: a face detector, and the active model.  And the work of the two stages with them.

torch and OpenCV are imported at the first use, in the child process that does the work, never in its parent; torch only
where a network scores or learns, because it costs a process that looks for faces more memory than all the rest.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import Exists, OuterRef

from detection.errors import Refused
from detection.models import DatasetVideo, FaceFrame, ModelVersion, Video
from detection.services.jobs import analyses
from detection.services.jobs.analyses import EXTRACTED_PERCENT, AnalysisClaim
from detection.services.jobs.results import (
    ClassificationResult,
    ExtractionResult,
    FaceCrop,
    KeptFrame,
    SegmentSpan,
    VideoFacts,
)
from detection.services.learning import registry, rescoring
from detection.services.learning.rescoring import StoredVideo, sequences_of
from detection.services.reviews.rescan import found_by_rescan
from worker.process.lease_heartbeat import LeaseHeartbeat
from worker.process.work_files import stored_file, work_folder
from worker.stages import provenance
from worker.stages.attempt import BadInput, NotNow, abort_stuck
from worker.stages.images import encode, read_crop
from worker.stages.verdict import verdict
from worker.stages.watchdog import file_budget

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml.config import FaceConfig
    from ml.faces.detector import FaceDetector
    from ml.faces.extract import Extraction
    from ml.model.inference import Classifier, TrackScore
    from ml.video.ranged_file import VideoFile

log = structlog.get_logger(__name__)

SMALL_BATCH = 8

_threads = max(1, os.cpu_count() or 1)
_loaded: tuple[UUID, Classifier] | None = None


# --- extraction ----------------------------------------------------------------------------------------------------


def extract(claim: AnalysisClaim, heartbeat: LeaseHeartbeat) -> None:
    """The stage `extract`: from the stored original to stored faces, or to NO_FACE."""
    prepare_vision()
    from ml.config import SegmentConfig, VideoConfig
    from ml.faces.extract_video import extract_video
    from ml.video.decode import VideoError
    from ml.video.ranged_file import check_fetched
    from worker.stages.kept_segments import KeptSegments

    limits = VideoConfig(
        max_duration_s=float(settings.DFD_MAX_DURATION_S), max_pixels=int(settings.DFD_MAX_FRAME_PIXELS)
    )
    rows = Video.objects.annotate(of_dataset=Exists(DatasetVideo.objects.filter(video=OuterRef("pk"))))
    name, of_dataset = rows.values_list("file", "of_dataset").get(id=claim.video_id)
    # A data set's label is its video's, not known to hold in each part of it.
    segments = SegmentConfig(max_segments=1 if of_dataset else int(settings.DFD_MAX_SEGMENTS))
    budget = file_budget(partial(abort_stuck, claim, analyses), heartbeat.lost_for_s)
    with budget, work_folder() as folder, stored_file(name, folder) as path:
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
        result = extraction_result(extraction, clips, trim_s=time.perf_counter() - started)
        result = replace(result, provenance=told)
        heartbeat(EXTRACTED_PERCENT - 5)
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


def trimmed(path: VideoFile, folder: Path, extraction: Extraction, limits: object) -> list[Path | None]:
    """Each segment by packet copy, or None where the packets cannot be copied: the faces are what counts."""
    from ml.config import VideoConfig
    from ml.video.decode import VideoError
    from ml.video.trim import clip_suffix, trim

    assert isinstance(limits, VideoConfig)
    clips: list[Path | None] = []
    for number, segment in enumerate(extraction.segments):
        out = folder / f"clip{number or ''}{clip_suffix(extraction.info)}"
        try:
            trim(path, out, replace(limits, start=segment.start, key=segment.key))
            clips.append(out)
        except VideoError as error:
            log.warning("clip_not_made", segment=number, reason=error.detail)
            clips.append(None)
    return clips


def extraction_result(extraction: Extraction, clips: Sequence[Path | None], *, trim_s: float) -> ExtractionResult:
    """Encode the images of an extraction and compute its perceptual hashes, as data for the service."""
    from ml.faces.perceptual_hash import face_hash, image_hash
    from ml.video.prefetch import parallel_map

    info = extraction.info
    crops = [face.crop for track in extraction.tracks for face in track.faces]
    pngs = parallel_map(partial(encode, ".png"), crops, _threads)
    positions: dict[int, Iterator[int]] = defaultdict(count)  # a person's faces, over all segments
    people: dict[int, list[NDArray[np.uint8]]] = defaultdict(list)
    for track in extraction.tracks:
        people[track.index] += [face.crop for face in track.faces]
    faces = tuple(
        FaceCrop(
            track=track.index,
            segment=track.segment,
            position=next(positions[track.index]),
            frame_number=face.frame_number,
            timestamp_s=face.timestamp_s,
            box=face.box,
            probability=face.probability,
            png=next(pngs),
            still=track.still,
        )
        for track in extraction.tracks
        for face in track.faces
    )
    frames = tuple(
        KeptFrame(
            frame_number=frame.frame_number,
            timestamp_s=frame.timestamp_s,
            boxes=tuple(
                dict(zip(("x1", "y1", "x2", "y2"), map(float, box.box), strict=True))
                | {"probability": float(box.probability), "reason": box.reason}
                for box in frame.boxes
            ),
            jpeg=encode(".jpg", frame.image),
        )
        for frame in extraction.sampled_frames
    )
    return ExtractionResult(
        facts=VideoFacts(
            container=info.container,
            codec=info.codec,
            width=info.width,
            height=info.height,
            rotation=info.rotation,
            fps=info.fps,
            duration_s=info.duration_s,
            frames_decoded=extraction.frames_decoded,
            frames_claimed=extraction.frames_claimed,
            truncated=extraction.truncated,
        ),
        clip=clips[0],
        thumbnail=encode(".jpg", extraction.thumbnail),
        tracks=len(people),
        people_left_out=extraction.people_left_out,
        faces=faces,
        frames=frames,
        timings=extraction.timings | {"trim": round(trim_s, 3)},
        picture_print=image_hash(extraction.thumbnail),
        face_prints={person: face_hash(crops) for person, crops in people.items()},
        segments=tuple(
            SegmentSpan(segment.start_s, segment.end_s, clip if number else None)
            for number, (segment, clip) in enumerate(zip(extraction.segments, clips, strict=True))
        )
        if len(extraction.segments) > 1
        else (),
    )


# --- classification ------------------------------------------------------------------------------------------------


def classify(claim: AnalysisClaim, heartbeat: LeaseHeartbeat) -> None:
    """The stage `classify`: from stored faces to a verdict of the active model."""
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
    sequences = sequences_of(FaceFrame.objects.filter(video_id=claim.video_id).order_by("track", "position"))
    crops = _crops_of(sequences)
    heartbeat(EXTRACTED_PERCENT + 10)
    scores = _score(classifier, crops)
    timings = {"model_load": loaded - started, "classify": time.perf_counter() - loaded}

    result = verdict(
        version,
        classifier,
        sequences,
        scores,
        sensitive=bool(found_by_rescan([claim.video_id])),
        timings={k: round(v, 3) for k, v in timings.items()},
    )
    analyses.finish_classification(claim=claim, result=result)


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
    readable: list[tuple[StoredVideo, list[list[NDArray[np.uint8]]]]] = []
    unreadable: list[str] = []
    for stored in batch:
        try:
            readable.append((stored, _crops_of(stored.people)))
        except (OSError, RuntimeError) as error:
            log.warning("faces_unreadable", video=str(stored.video_id), error=str(error))
            unreadable.append(str(stored.video_id))
    scores = iter(_score(classifier, [crops for _, people in readable for crops in people]))
    results = [
        (stored, verdict(version, classifier, stored.people, list(islice(scores, n)), sensitive=stored.sensitive))
        for stored, _ in readable
        for n in [len(stored.people)]
    ]
    return rescoring.store_verdicts(model=version, results=[*known, *results]), unreadable


def _crops_of(people: Sequence[tuple[int, Sequence[FaceFrame]]]) -> list[list[NDArray[np.uint8]]]:
    """Each person's stored crops.  Raises OSError or RuntimeError where one cannot be read."""
    from ml.video.prefetch import parallel_map

    crops = parallel_map(read_crop, [str(face.crop.name) for _, faces in people for face in faces], _threads)
    return [list(islice(crops, len(faces))) for _, faces in people]


def _score(classifier: Classifier, crops: list[list[NDArray[np.uint8]]]) -> list[TrackScore]:
    """The card's own shortage is met in ml.model.inference; the machine's is met here, once, with smaller batches."""
    try:
        return classifier.score(crops)
    except MemoryError:
        log.warning("out_of_memory", retry_with_frames=SMALL_BATCH)
        return classifier.score(crops, batch_frames=SMALL_BATCH)


def score_people(classifier: Classifier, people: Sequence[tuple[int, Sequence[FaceFrame]]]) -> list[TrackScore]:
    """Score each person's stored faces.  Raises OSError or RuntimeError where a face cannot be read."""
    return _score(classifier, _crops_of(people))


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
