"""What a model is shown of a stored video: the crops of its people, or whole frames of its clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from django.conf import settings

from detection.models import FaceFrame, Video
from ml.resource_limits import OverLimit
from worker.process.work_files import stored_file, work_folder
from worker.stages.images import read_crop

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml.config import FrameView, VideoConfig

Sequences = Sequence[tuple[int, Sequence[FaceFrame]]]
"""Each person (track) with the faces of one segment, by person and then in time order."""
USUAL_FPS = 25.0


def reading_errors() -> tuple[type[Exception], ...]:
    """What reading it may raise, where the video or storage is at fault."""
    from ml.video.errors import VideoError  # brings PyAV, which only processes that decode need

    return (OSError, RuntimeError, VideoError, OverLimit)


@dataclass(frozen=True)
class SegmentFrames:
    """Of one segment each frame's number and time in the video, in seconds."""

    segment: int
    frames: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Shown:
    """RGB `pictures` (H, W, 3) of each of `sequences`; of a model of whole frames, of each of `frames` instead."""

    pictures: list[list[NDArray[np.uint8]]]
    sequences: Sequences = ()
    frames: tuple[SegmentFrames, ...] = ()


def video_limits() -> VideoConfig:
    """What of a file is looked at, as the settings allow."""
    from ml.config import VideoConfig

    return VideoConfig(max_duration_s=float(settings.DFD_MAX_DURATION_S), max_pixels=int(settings.DFD_MAX_FRAME_PIXELS))


def faces_shown(sequences: Sequences, threads: int = 1) -> Shown:
    """Read each person's stored crops.  Raises OSError or RuntimeError where one cannot be read."""
    from ml.video.prefetch import parallel_map

    crops = parallel_map(read_crop, [str(face.crop.name) for _, faces in sequences for face in faces], threads)
    return Shown([list(islice(crops, len(faces))) for _, faces in sequences], sequences)


def frames_shown(video: Video, view: FrameView) -> Shown:
    """Decode frames of each segment's stored clip, or of the upload where no clip could be cut from it.

    A later segment without a readable clip is left out.  The caller limits what it may cost.  Raises one of
    `reading_errors`.
    """
    from ml.model.whole_frames import whole_frames
    from ml.video.errors import VideoError
    from ml.video.ranged_file import check_fetched

    pictures, frames = [], []
    with work_folder() as folder:
        for segment, begin_s, name in _clips_of(video):
            place = folder / str(segment)  # each has a folder, as they may be called the same
            place.mkdir()
            with stored_file(name, place) as path:
                try:
                    found = whole_frames(path, view, video_limits())
                except VideoError:
                    check_fetched(path)
                    if not segment:
                        raise
                    continue
                check_fetched(path)
            before = round(begin_s * (video.fps or USUAL_FPS))
            pictures.append([frame.picture for frame in found])
            times = ((frame.number + before, round(frame.timestamp_s + begin_s, 4)) for frame in found)
            frames.append(SegmentFrames(segment, tuple(times)))
    return Shown(pictures, frames=tuple(frames))


def _clips_of(video: Video) -> Iterator[tuple[int, float, str]]:
    """Yield each segment's number, where it begins, and the name of its clip in storage."""
    yield 0, 0.0, str((video.clip or video.file).name)
    for number, part in enumerate(video.segments or ()):
        if number and part["clip"]:
            yield number, part["start_s"], part["clip"]
