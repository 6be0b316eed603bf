"""The timeline of a long video: each part that was looked at is a clip, and a face is shown in its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from pytest_django.live_server_helper import LiveServer

from detection.models import EvidenceKind, Verdict, Video
from ml.config import VideoConfig
from ml.video.decode import decode
from ml.video.trim import trim
from tests.admin.browser.driving import MARKS, log_in, wait_for_job
from tests.admin.browser.test_player import numbered, stands
from tests.admin.conftest import Rows
from tests.ml.clips import write_clip
from worker import tasks

pytestmark = MARKS
FPS, PART = 25, 24
BEGINS = (0, 48, 72)
"""Frame numbers of key frames with which the parts begin; between the first two nobody has looked."""
FACES = (1, 5, 11, 50, 55, 60, 65, 73, 80, 90)


def long_video(rows: Rows, folder: Path, *, label: str = "", plays: bool = True) -> Video:
    """As a worker would leave it: three parts, of which the second is the most fake.

    With `plays` false in Motion JPEG, which no browser plays.
    """
    suffix = ".mp4" if plays else ".mkv"
    path = folder / f"film{suffix}"
    if plays:
        options = {"g": str(PART), "bf": "2", "sc_threshold": "0"}
        write_clip(path, frames=96, fps=FPS, picture=numbered, options=options)
    else:
        write_clip(path, frames=96, fps=FPS, picture=numbered, codec="mjpeg", pixels="yuvj420p")
    frames = list(decode(path))
    video = rows.with_verdict("long.mp4", model=rows.model("m", active=False))
    parts = []
    for index, begin in enumerate(BEGINS):
        clip = folder / f"part{index}{suffix}"
        trim(path, clip, VideoConfig(max_frames=PART, start=frames[begin].frame.pts if begin else None))
        name = default_storage.save(f"{video.folder}/{clip.name}", ContentFile(clip.read_bytes()))
        if index == 0:
            video.clip = name
        parts.append({"start_s": begin / FPS, "end_s": (begin + PART) / FPS, "clip": name if index else ""})
    video.file = default_storage.save(f"{video.folder}/original{suffix}", ContentFile(path.read_bytes()))
    video.label = label
    video.segments, video.fps, video.duration_s, video.frames_decoded = parts, FPS, 96 / FPS, PART
    video.save()
    for position, number in enumerate(FACES):
        segment = sum(number >= begin for begin in BEGINS) - 1
        video.faces.filter(position=position).update(frame_number=number, timestamp_s=number / FPS, segment=segment)
    scores = [
        {"segment": segment, "fake_probability": score, "people": [{"track": 0, "fake_probability": score}]}
        for segment, score in enumerate((0.2, 0.9, 0.45))
    ]
    Verdict.objects.filter(video=video).update(segments=scores)
    return video


def frame_shown(tab: Any, selector: str, number: int) -> int:
    """Wait until the player was sent into that frame, in whichever clip; returns the frame that it shows."""
    there = f"""() => {{
        const film = document.querySelector("{selector}");
        const frame = (film.currentTime + window.dfdFilm.offset(film)) * {FPS};
        return frame > {number} + 0.05 && frame < {number + 1};
    }}"""
    tab.wait_for_function(there)
    return stands(tab, selector, number)


def test_a_part_and_a_face_of_it_are_shown_from_the_timeline(
    live_server: LiveServer, page: Any, rows: Rows, tmp_path: Path
) -> None:
    video = long_video(rows, tmp_path, label="fake")  # so that it is nobody's to answer, and its scores are shown
    tab = page
    log_in(tab, live_server, "maria")
    tab.goto(f"{live_server.url}/admin/detection/video/{video.pk}/change/")
    parts = tab.locator(".dfd-tl__part")
    assert [part.get_attribute("aria-label") for part in parts.all()] == [
        "0:00 to 0:00, score 0.20, person 1",
        "0:01 to 0:02, score 0.90, person 1",
        "0:02 to 0:03, score 0.45, person 1",
    ]
    assert "3 parts, together 2.9 s of 3.8 s (75 %)" in tab.locator("[data-coverage]").inner_text()
    for index in (1, 0, 2):
        parts.nth(index).click()
        assert frame_shown(tab, "#dfd-player", BEGINS[index]) == BEGINS[index]
    faces = tab.locator(".dfd-face [data-seek]")
    for position in (0, 4, 9, 2):
        faces.nth(position).click()
        assert frame_shown(tab, "#dfd-player", FACES[position]) == FACES[position]


def test_the_workspace_shows_the_parts_and_keeps_their_scores_to_itself(
    live_server: LiveServer, page: Any, rows: Rows, tmp_path: Path
) -> None:
    long_video(rows, tmp_path)
    log_in(page, live_server, "maria")
    parts = page.locator("[data-claim] .dfd-tl__part")
    parts.first.wait_for()
    assert [part.get_attribute("aria-label") for part in parts.all()] == [
        "0:00 to 0:00",
        "0:01 to 0:02",
        "0:02 to 0:03",
    ]
    parts.nth(1).click()
    assert frame_shown(page, "[data-film]", BEGINS[1]) == BEGINS[1]
    page.locator("[data-claim] [data-face]").nth(8).click()
    assert frame_shown(page, "[data-film]", FACES[8]) == FACES[8]


def test_the_copy_of_what_no_browser_plays_has_every_part(
    live_server: LiveServer, page: Any, rows: Rows, tmp_path: Path
) -> None:
    video = long_video(rows, tmp_path, plays=False)
    log_in(page, live_server, "maria")
    parts = page.locator("[data-claim] .dfd-tl__part")
    parts.first.wait_for()
    tasks.make_preview(str(wait_for_job(video, EvidenceKind.PREVIEW).pk))
    page.get_by_text("This is a copy in H.264").first.wait_for()
    for index in (1, 0, 2):
        parts.nth(index).click()
        assert frame_shown(page, "[data-film]", BEGINS[index]) == BEGINS[index]
    faces = page.locator("[data-claim] [data-face]")
    for position in (8, 0, 4):
        faces.nth(position).click()
        assert frame_shown(page, "[data-film]", FACES[position]) == FACES[position]
