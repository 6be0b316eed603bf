"""What a file says of where it comes from: container, encoder and editing software, camera, time, place.

Tags are claims: anybody can write them.  Of a place only that one is named is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from ml.config import VideoConfig
from ml.video.errors import reraise_out_of_memory
from ml.video.probe import open_container
from ml.video.provenance.claims import MAX_CHARACTERS, clean
from ml.video.ranged_file import VideoFile

MAX_TAGS = 60
MAX_SEARCHED_BYTES = 256 * 1024
_ENCODER_TAGS = ("encoder", "encoding_tool", "writing_application", "writing_library", "vendor_id", "encoder_options")
_SOFTWARE_TAGS = (
    "software", "com.apple.quicktime.software", "com.android.version", "editor", "creation_tool", "application",
)  # fmt: skip
_CAMERA_TAGS = (
    "make", "model", "com.apple.quicktime.make", "com.apple.quicktime.model", "com.android.manufacturer",
    "com.android.model", "author-make", "author-model",
)  # fmt: skip
_TIME_TAGS = ("creation_time", "com.apple.quicktime.creationdate", "date", "date_released")
_PLACE = re.compile(r"location|gps|xyz|latitude|longitude|iso6709", re.I)
_LIBRARIES = re.compile(r"lavf|lavc|ffmpeg|x26[45]|libx|handbrake|mencoder|gpac|isomedia|vfw", re.I)
_EDITORS = re.compile(
    r"adobe|premiere|after effects|final cut|davinci|resolve|capcut|imovie|kdenlive|openshot|shotcut|blender|vegas|avid"
    r"|filmora|inshot|clipchamp|photoshop|comfyui|runway|facefusion|deepfacelab",
    re.I,
)
_SETTINGS = re.compile(rb"x26[45] - core \d+|x265 \(build \d+\)|Lavc\d[\d.]{2,20}")


@dataclass(frozen=True)
class Provenance:
    """Claims of a file about itself; empty where it makes none.

    `encoders`, `software`, `camera`: values of tags, and what an encoder wrote into the stream.  `second_encoding`:
    sentences, each a sign that the file is not as a camera wrote it.
    """

    container: str
    encoders: tuple[str, ...] = ()
    software: tuple[str, ...] = ()
    camera: tuple[str, ...] = ()
    created_at: str = ""
    names_a_place: bool = False
    second_encoding: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def read_provenance(path: VideoFile, config: VideoConfig | None = None) -> Provenance:
    """Read the tags and the first bytes of the video stream, without decoding.  Raises VideoError."""
    with open_container(path, config or VideoConfig()) as (container, stream):
        tags = list(islice(_tags(container), MAX_TAGS))
        written = _encoder_in_stream(container, stream)
        return judge(container.format.long_name or container.format.name, tags, written)


def judge(container: str, tags: list[tuple[str, str]], written: tuple[str, ...] = ()) -> Provenance:
    """Sort tags (name in lower case, value) and say which are signs of a second encoding."""
    encoders = _unique([*(value for name, value in tags if name in _ENCODER_TAGS), *written])
    software = _unique([value for name, value in tags if name in _SOFTWARE_TAGS])
    camera = _unique([value for name, value in tags if name in _CAMERA_TAGS])
    libraries = [value for value in encoders if _LIBRARIES.search(value)]
    editors = [value for value in (*encoders, *software) if _EDITORS.search(value)]
    signs = []
    if libraries:
        signs.append(f"It was written by a program, not by a camera: {', '.join(libraries[:3])}.")
    if editors:
        signs.append(f"Editing software has left its name: {', '.join(editors[:3])}.")
    if camera and (libraries or editors):
        signs.append("It names a camera as well, so what the camera recorded was encoded a second time.")
    return Provenance(
        container=clean(container),
        encoders=encoders,
        software=software,
        camera=camera,
        created_at=next((value for wanted in _TIME_TAGS for name, value in tags if name == wanted), ""),
        names_a_place=any(_PLACE.search(name) for name, _ in tags),
        second_encoding=tuple(signs),
    )


def _tags(container: InputContainer) -> Iterator[tuple[str, str]]:
    sources: list[Mapping[str, str]] = [container.metadata, *(stream.metadata for stream in container.streams)]
    for source in sources:
        for name, value in source.items():
            if text := clean(str(value)):
                yield str(name).lower()[:MAX_CHARACTERS], text


def _encoder_in_stream(container: InputContainer, stream: VideoStream) -> tuple[str, ...]:
    """Return what x264, x265 or libavcodec wrote into the first packet of the stream."""
    try:
        packet = next(iter(container.demux(stream)), None)
        start = bytes(packet)[:MAX_SEARCHED_BYTES] if packet is not None and packet.size else b""
    except FFmpegError as error:
        reraise_out_of_memory(error)
        return ()
    match = _SETTINGS.search(start)
    return (clean(match.group().decode("ascii", "replace")),) if match else ()


def _unique(values: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))
