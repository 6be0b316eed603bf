"""What the work on one file may cost: the kernel says no, and the process goes on."""

from __future__ import annotations

import resource
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest

from ml.resource_limits import LARGEST_NEED, Limits, OverLimit, limited, memory_is_short
from ml.video.decode import VideoError, decode
from tests.ml.clips import write_clip

MB = 1024**2
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")


def eat(megabytes: int) -> int:
    return int(np.ones(megabytes * MB, np.uint8)[-1])


def spin(seconds: float) -> None:
    began = time.process_time()
    while time.process_time() - began < seconds:
        sum(range(1000))


@needs_linux
def test_memory_beyond_the_limit_is_refused_and_the_process_goes_on() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(OverLimit) as refused, limited(Limits(memory_bytes=200 * MB)):
        eat(400)
    assert (refused.value.code, refused.value.detail) == (
        "out_of_memory",
        "It needed more memory than one file may take (200 MB).",
    )
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert eat(400) == 1
    with limited(Limits(memory_bytes=200 * MB)):
        assert eat(100) == 1


@needs_linux
def test_what_opencv_calls_its_own_error_is_a_shortage_too() -> None:
    with pytest.raises(OverLimit, match="more memory"), limited(Limits(memory_bytes=100 * MB)):
        cv2.resize(np.zeros((64, 64, 3), np.uint8), (20_000, 20_000))


def test_a_file_is_not_called_damaged_because_there_is_no_memory_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg says "invalid data" of sound pictures for which it got no memory (or crashes, so it is not asked here)."""
    path = write_clip(tmp_path / "cut.mkv", frames=60, options={"g": "10", "preset": "medium"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(2000) + data[len(data) // 2 + 2000 :])
    assert 0 < len(list(decode(path))) < 60
    monkeypatch.setattr("ml.video.errors.memory_is_short", lambda: True)
    with pytest.raises(OverLimit) as refused, limited(Limits()):
        list(decode(path))
    assert refused.value.code == "out_of_memory"


@needs_linux
def test_memory_is_short_near_the_limit_only() -> None:
    assert not memory_is_short()
    with limited(Limits()):
        assert not memory_is_short()
    with limited(Limits(memory_bytes=LARGEST_NEED // 2)):
        assert memory_is_short()


def test_a_size_that_a_damaged_file_makes_up_is_damage_and_no_shortage(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "liar.mp4")
    data = bytearray(path.read_bytes())
    at = data.index(b"stsz") + 8
    data[at : at + 4] = (0x7FFFFFF0).to_bytes(4, "big")  # every sample has two gigabytes
    path.write_bytes(data)
    with limited(Limits()), pytest.raises(VideoError) as refused:
        sum(frame.number for frame in decode(path))
    assert refused.value.code == "corrupt_video"


def test_processor_time_beyond_the_limit_ends_the_work() -> None:
    """In a process of its own: the kernel counts whole ticks, which after minutes are seconds off the clock."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
        own.submit(spend_too_much).result()


def spend_too_much() -> None:
    handler, before = signal.getsignal(signal.SIGXCPU), resource.getrlimit(resource.RLIMIT_CPU)
    began = time.process_time()
    with pytest.raises(OverLimit) as refused, limited(Limits(cpu_s=1)):
        spin(20)
    assert (refused.value.code, refused.value.detail) == (
        "too_much_cpu",
        "It needed more than 1 s of processor time.",
    )
    assert time.process_time() - began < 5
    assert (signal.getsignal(signal.SIGXCPU), resource.getrlimit(resource.RLIMIT_CPU)) == (handler, before)


@needs_linux
def test_a_lower_limit_from_outside_stays() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    outside = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 500 * MB
    resource.setrlimit(resource.RLIMIT_AS, (outside, before[1]))
    try:
        with limited(Limits(memory_bytes=100 * 1024 * MB)):
            assert resource.getrlimit(resource.RLIMIT_AS)[0] == outside
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_what_is_no_shortage_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), limited(Limits()):
        raise ZeroDivisionError
