"""What the player shows when a face is clicked, compared by picture: each frame bears its number in black and white."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from numpy.typing import NDArray
from pytest_django.live_server_helper import LiveServer

from detection.models import EvidenceKind, Video
from ml.video.decode import decode
from ml.video.probe import probe
from ml.video.trim import clip_suffix, trim
from tests.admin.browser.driving import MARKS, log_in, wait_for_job
from tests.admin.conftest import Rows
from tests.ml.clips import write_clip
from tests.ml.test_trim import shifted
from worker import tasks

pytestmark = MARKS
BITS, SIDE = 8, 32
READ = """selector => {
    const film = document.querySelector(selector), canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [film.videoWidth, film.videoHeight];
    const context = canvas.getContext("2d");
    context.drawImage(film, 0, 0);
    const light = (bit) => context.getImageData(bit * 32 + 16, 16, 1, 1).data[1] > 127;
    return [...Array(8).keys()].reduce((sum, bit) => sum + (light(bit) ? 2 ** bit : 0), 0);
}"""
SETTLED = f"""async ([selector, expected]) => {{
    const read = {READ}, end = performance.now() + 60000;
    while (read(selector) !== expected && performance.now() < end) await new Promise(requestAnimationFrame);
    return read(selector);
}}"""
STANDS = "selector => { const film = document.querySelector(selector); return !film.seeking && film.readyState >= 2; }"
FACES = (0, 1, 7, 23, 38, 52, 66, 81, 94, 95)
"""Frame numbers, in the order of time."""


def numbered(number: int) -> NDArray[np.uint8]:
    image = np.zeros((SIDE, BITS * SIDE, 3), np.uint8)
    for bit in range(BITS):
        image[:, bit * SIDE : (bit + 1) * SIDE] = 235 if number >> bit & 1 else 20
    return image


def film_of(folder: Path, kind: str) -> Path:
    """`kind` is a frame rate and a container: `23.976 mkv`.

    `late` ones start some seconds after 0, `plain` ones have no B-frames.
    """
    rate, _, name = kind.partition(" ")
    fps = Fraction(24000, 1001) if rate == "23.976" else int(rate)
    late, suffix = name.startswith("late-"), name.removeprefix("late-").removeprefix("plain-")
    codec, options = {
        "webm": ("libvpx-vp9", {"cpu-used": "8"}),
        "mpg": ("mpeg2video", {"bf": "2"}),
    }.get(suffix, ("libx264", {"bf": "0" if name.startswith("plain-") else "3"}))
    first = write_clip(
        folder / f"film.{'mp4' if late else suffix}", frames=96, codec=codec, fps=fps, picture=numbered, options=options
    )
    return shifted(first, f"late.{suffix}", 1.4) if late else first


def stored(rows: Rows, path: Path, name: str) -> Video:
    """The video as a worker would leave it, with ten faces at FACES."""
    video = rows.with_verdict(name, model=rows.model(name, active=False))
    clip = path.with_name(f"clip{clip_suffix(probe(path).info(next(decode(path))))}")
    trim(path, clip)
    video.clip = default_storage.save(f"{video.folder}/{clip.name}", ContentFile(clip.read_bytes()))
    video.file = default_storage.save(f"{video.folder}/original{path.suffix}", ContentFile(path.read_bytes()))
    video.fps, video.codec = probe(path).fps, "mpeg2video" if path.suffix == ".mpg" else "h264"
    video.save()
    at = {frame.number: frame.timestamp_s for frame in decode(path)}
    for position, number in enumerate(FACES):
        video.faces.filter(position=position).update(frame_number=number, timestamp_s=at[number])
    return video


def stands(tab: Any, selector: str, expected: int) -> int:
    """Return the frame that is shown once a seek has ended.

    A busy machine paints it a moment later, and the one before is still to be seen: the expected one is waited for.
    """
    tab.wait_for_function(STANDS, arg=selector)
    return int(tab.evaluate(SETTLED, [selector, expected]))


def clicked(tab: Any, faces: Any, selector: str) -> list[int]:
    """Click one face after the other; the frame that the film stands at after each."""
    shown = []
    for place, number in enumerate(FACES):
        faces.nth(place).click()
        shown.append(stands(tab, selector, number))
    return shown


@pytest.mark.parametrize(
    "kind",
    [
        "23.976 mp4",
        "30 mp4",
        "30 plain-mp4",
        "30 plain-mkv",
        "25 ts",
        "23.976 mkv",
        "30 late-mkv",
        "60 late-ts",
        "30 avi",
        "30 mov",
        "30 webm",
        "30 wmv",
        "25 mpg",
    ],
)
def test_a_click_on_a_face_shows_that_very_frame(
    live_server: LiveServer, page: Any, rows: Rows, tmp_path: Path, kind: str
) -> None:
    video = stored(rows, film_of(tmp_path, kind), "film")
    log_in(page, live_server, "maria")
    if kind.endswith("mpg"):  # no browser plays MPEG-2: the copy shows the same frames at the same times
        tasks.make_preview(str(wait_for_job(video, EvidenceKind.PREVIEW).pk))
        page.get_by_text("This is a copy in H.264").first.wait_for()
    page.wait_for_function(STANDS, arg="[data-film]")
    faces = page.locator("[data-claim] [data-face]")
    assert clicked(page, faces, "[data-film]") == list(FACES)
    # Single frames from there, and back.
    faces.nth(3).click()
    stands(page, "[data-film]", FACES[3])
    expected = [FACES[3] + n for n in (1, 2, 3, 2, 1, 0, -1)]
    walked = []
    for key, number in zip(["ArrowRight"] * 3 + ["ArrowLeft"] * 4, expected, strict=True):
        page.keyboard.press(key)
        walked.append(stands(page, "[data-film]", number))
    assert walked == expected

    page.goto(f"{live_server.url}/admin/detection/video/{video.pk}/change/")
    if kind.endswith("mpg"):
        page.get_by_text("This is a copy in H.264").first.wait_for()
    page.wait_for_function("() => document.getElementById('dfd-player').readyState >= 1")
    assert clicked(page, page.locator("[data-seek]"), "#dfd-player") == list(FACES)
