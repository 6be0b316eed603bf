"""The process that looks at hostile files for `manage.py fuzz`: with the product's own functions, under its limits."""

from __future__ import annotations

import resource
import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

from detection import container_format
from ml.bench.fuzz.mutate import Seed, mutant
from ml.bench.fuzz.scripts import Bait
from ml.config import VideoConfig
from ml.resource_limits import Limits, OverLimit, limited
from ml.video.decode import VideoError, decode
from ml.video.probe import probe
from ml.video.provenance.content_credentials import has_manifest, read_manifest
from ml.video.provenance.metadata import read_provenance
from ml.video.trim import clip_suffix, trim
from worker.process.host import peak_bytes

BROKE = "broke"
TOO_LONG = "too_long"
SMALL_LONG_SIDE = 640


class TooLong(Exception):  # as in the product, where the pool's time limit is an exception too
    """The wall clock's limit."""


@dataclass(frozen=True)
class Job:
    """What a child is told at its start."""

    seeds: Sequence[Seed]
    key: int
    bait: Bait
    folder: Path
    config: VideoConfig
    limits: Limits
    wall_s: float


@dataclass(frozen=True)
class Answer:
    """How one file ended: `ok`, `ok_without_clip`, a stable error code, `too_long`, or `broke` with the traceback."""

    number: int
    code: str
    error: str = ""
    peak_bytes: int = 0
    """The most memory that the process has had so far."""


def serve(pipe: Connection, job: Job) -> None:
    """The process: say that it is ready, then answer each number until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    pipe.send(Answer(-1, "ready", peak_bytes=peak_bytes()))
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        made = mutant(job.seeds, key=job.key, number=number, bait=job.bait)
        path = job.folder / f"mutant-{number}{made.suffix}"
        path.write_bytes(made.data)
        code, error = judge(path, job.config, job.limits, job.wall_s)
        path.unlink()
        pipe.send(Answer(number, code, error, peak_bytes()))


def judge(path: Path, config: VideoConfig, limits: Limits, wall_s: float) -> tuple[str, str]:
    """(code, traceback if it broke) of one file."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, too_long)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, wall_s)
            with limited(limits):
                return look(path, config), ""
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except (VideoError, OverLimit) as error:
        return error.code, ""
    except TooLong:
        return TOO_LONG, ""
    except Exception:
        return BROKE, traceback.format_exc()


def look(path: Path, config: VideoConfig) -> str:
    """From the door to the trimmed clip, as an upload goes, but for the search for faces.  Raises VideoError.

    What the file says of itself is read first, so that files that do not decode are tried on that as well.
    """
    with path.open("rb") as handle:
        start = handle.read(container_format.STILL_CHECK_BYTES)
    if container_format.sniff(start[: container_format.HEAD_BYTES]) is not None:
        container_format.is_still_picture(start)
    with path.open("rb") as handle:
        carries_manifest = has_manifest(handle)
    if carries_manifest:  # the product reads it in a process of its own; this one may die of it likewise
        read_manifest(path)
    read_provenance(path, config)
    file = probe(path, config)
    info = None
    for frame in decode(path, config, times=file.times, needed=range(0, config.max_frames, 2)):
        frame.luma_signature()
        if frame.number % 16 == 0:
            frame.rgb(long_side=SMALL_LONG_SIDE)
        info = info or file.info(frame)
    assert info is not None  # or decode has raised
    clip = path.with_name(f"clip-{path.stem}{clip_suffix(info)}")
    try:
        trim(path, clip, config)
        next(decode(clip, config))
    except VideoError:
        return "ok_without_clip"
    finally:
        clip.unlink(missing_ok=True)
    return "ok"
