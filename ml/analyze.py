"""One video from its file to the verdict: who is in it, or what its frames show, their scores, the decision.

`analyze` goes the whole way.  A worker goes it in two processes, with the faces stored between them: by
`ml.faces.extract_video`, which needs no torch, and `ml.model.decision.judge`, which decodes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from ml.config import FrameView, SegmentConfig, VideoConfig
from ml.faces.detector import FaceDetector
from ml.faces.extract import Extraction
from ml.faces.extract_video import extract_video
from ml.model.decision import Judgement, Subject, judge
from ml.model.inference import Classifier
from ml.model.whole_frames import WholeFrame, whole_frames
from ml.video.errors import VideoError
from ml.video.frame_source import Progress
from ml.video.ranged_file import VideoFile


@dataclass(frozen=True)
class SegmentFrames:
    """The whole frames that were shown of a segment; their times are from `start_s` on."""

    segment: int
    start_s: float
    frames: list[WholeFrame]


@dataclass(frozen=True)
class Analysis:
    """What was found and judged.  `frames` are those that a model of whole frames was shown."""

    extraction: Extraction
    frames: tuple[SegmentFrames, ...] = ()
    judgement: Judgement | None = None
    """None where nobody is there for a model of faces to judge."""
    classify_s: float = 0.0


def subjects_of(extraction: Extraction) -> list[Subject]:
    """Return the people of each segment, as their crops are scored."""
    return [Subject(track.segment, track.index, track.still) for track in extraction.tracks]


def analyze(
    path: VideoFile,
    classifier: Classifier,
    *,
    detector: FaceDetector | None = None,
    video: VideoConfig | None = None,
    segments: SegmentConfig | None = None,
    progress: Progress | None = None,
    budget: Callable[[], AbstractContextManager[object]] = nullcontext,
    on_extraction: Callable[[Extraction], object] = lambda extraction: None,
) -> Analysis:
    """Analyse one video.

    Args:
        path: The file.
        classifier: Scores faces, or whole frames.
        detector: Finds the faces, which people are shown whatever the classifier looks at.
        video: Limits on the file.
        segments: Where in a long video is looked.
        progress: Hears how far the extraction is, from 0 to 1.
        budget: Limits what decoding the file may cost; entered once for the faces, and once for whole frames.
        on_extraction: Hears what was found before it is judged.

    Raises:
        ml.video.errors.VideoError: The file cannot be judged.
    """
    video = video or VideoConfig()
    with budget():
        extraction = extract_video(path, detector=detector, video=video, segments=segments, progress=progress)
    on_extraction(extraction)
    subjects, frames = subjects_of(extraction), list[SegmentFrames]()
    pictures = [[face.crop for face in track.faces] for track in extraction.tracks]
    if classifier.frame_view is not None:
        with budget():
            frames += _frames(path, extraction, classifier.frame_view, video)
        subjects = [Subject(part.segment) for part in frames]
        pictures = [[frame.picture for frame in part.frames] for part in frames]
    if not subjects:
        return Analysis(extraction)
    started = time.perf_counter()
    scores = classifier.score(pictures)
    judgement = judge(subjects, scores, classifier.info, whole_frames=classifier.frame_view is not None)
    return Analysis(extraction, tuple(frames), judgement, time.perf_counter() - started)


def _frames(path: VideoFile, extraction: Extraction, view: FrameView, video: VideoConfig) -> Iterator[SegmentFrames]:
    """Yield each segment's frames; a later one that cannot be read is left out."""
    for number, segment in enumerate(extraction.segments):
        try:
            found = whole_frames(path, view, replace(video, start=segment.start, key=segment.key))
        except VideoError:
            if not number:
                raise
        else:
            yield SegmentFrames(number, segment.start_s, found)
