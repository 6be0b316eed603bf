"""Evidence on demand in a real browser: a clip that Chromium refuses, and the heat maps after an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from pytest_django.live_server_helper import LiveServer

from detection import dispatch
from detection.models import EvidenceJob, EvidenceKind, State, Video
from tests.admin.browser.driving import MARKS, log_in, press, shown, wait_for_job
from tests.admin.conftest import PASSWORD, Rows
from tests.ml.clips import write_clip
from tests.worker.test_runtime import register
from worker import tasks
from worker.process import runtime

pytestmark = MARKS

COLOUR = """film => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [film.videoWidth, film.videoHeight];
    const context = canvas.getContext("2d");
    context.drawImage(film, 0, 0);
    return [...context.getImageData(20, 20, 1, 1).data].slice(0, 3);
}"""


@pytest.fixture
def rows(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rows:
    settings.DFD_REVIEW_AUDIT_SHARE = settings.DFD_REVIEW_SECOND_SHARE = settings.DFD_REVIEW_GOLD_SHARE = 0.0
    settings.VAR_DIR = tmp_path / "var"
    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)
    monkeypatch.setattr(runtime, "_loaded", None)
    return Rows(owner=User.objects.create_user("client", password=PASSWORD))


def give_clip(video: Video, path: Path) -> None:
    for field in ("file", "clip"):
        name = default_storage.save(f"{video.folder}/a/{field}{path.suffix}", ContentFile(path.read_bytes()))
        Video.objects.filter(pk=video.pk).update(**{field: name})


def test_a_clip_that_does_not_play_is_replaced_by_a_copy_that_does(
    live_server: LiveServer, page: Any, rows: Rows, tmp_path: Path
) -> None:
    rows.reader("maria")
    video = rows.with_verdict("old.mp4", model=rows.model(), codec="mpeg4")
    give_clip(video, write_clip(tmp_path / "part2.mp4", codec="mpeg4", frames=30))
    broken = rows.with_verdict("broken.mp4", model=rows.model("other", active=False), score=0.9, codec="mpeg4")
    give_clip(broken, write_clip(tmp_path / "cut.mp4", codec="mpeg4", frames=3))
    Path(Video.objects.get(pk=broken.pk).clip.path).write_bytes(b"\x00\x00\x00\x20ftypisom" + b"nonsense" * 50)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    log_in(page, live_server, "maria")
    assert shown(page) == "old.mp4"
    page.get_by_text("Making a copy that this browser can play").wait_for()
    film = page.locator("[data-film]")
    assert film.is_hidden()

    tasks.make_preview(str(wait_for_job(video, EvidenceKind.PREVIEW).id))
    page.get_by_text("This is a copy in H.264").wait_for()
    assert film.is_visible()
    page.wait_for_function("() => document.querySelector('[data-film]').readyState >= 2")
    assert film.evaluate("film => film.error") is None
    assert film.evaluate("film => film.duration") == pytest.approx(30 / 25, abs=0.1)
    assert film.evaluate("film => [film.videoWidth, film.videoHeight]") == [128, 96]
    assert film.evaluate(COLOUR) == pytest.approx([220, 30, 30], abs=12)  # the clip's own red

    # the page of the video has the copy at once
    page.goto(f"{live_server.url}/admin/detection/video/{video.pk}/change/")
    page.get_by_text("This is a copy in H.264").wait_for()
    assert page.locator("#dfd-player").evaluate("film => film.readyState") >= 2
    assert page.get_by_text("as the detector saw them").is_hidden()  # a copy is not that

    # where no copy can be made, it says why, and the download stays
    page.goto(f"{live_server.url}/admin/detection/video/{broken.pk}/change/")
    page.get_by_text("Making a copy that this browser can play").wait_for()
    tasks.make_preview(str(wait_for_job(broken, EvidenceKind.PREVIEW).id))
    page.get_by_text("This browser cannot play the clip (mpeg4)").wait_for()
    note = page.locator("#dfd-player-note").inner_text()
    assert EvidenceJob.objects.get(video=broken).error_detail in note
    assert page.locator("#dfd-player-note").get_by_role("link", name="Download the original").is_visible()
    assert faults == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_after_an_answer_a_key_shows_the_heat_maps(
    live_server: LiveServer, page: Any, rows: Rows, tmp_path: Path, theme: str
) -> None:
    rows.reader("maria")
    model = register(tmp_path, "tiny", seed=1)
    first, second = (rows.with_verdict(name, model=model, score=score) for name, score in (("one", 0.51), ("two", 0.6)))
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    log_in(page, live_server, "maria")
    page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", theme == "dark")
    assert shown(page) == "one"
    page.keyboard.press("h")  # nothing was answered yet
    dialog = page.get_by_role("dialog", name="Where the model looked: a hint, not a proof")
    assert dialog.is_hidden()
    assert not EvidenceJob.objects.filter(kind=EvidenceKind.HEATMAPS).exists()

    press(page, "f")
    page.get_by_role("button", name="Heat maps").wait_for()
    page.keyboard.press("h")
    dialog.get_by_text("Waiting for a worker").wait_for()
    assert dialog.get_by_text("one", exact=True).is_visible()
    tasks.make_heatmaps(str(wait_for_job(first, EvidenceKind.HEATMAPS).id))
    dialog.get_by_role("img", name="Heat map over face 10 of person 1, 4.5 s").wait_for()
    assert dialog.get_by_role("img").count() == 10
    loaded = "images => Promise.all(images.map(image => image.decode())).then(() => images.length)"
    assert dialog.locator("img").evaluate_all(loaded) == 10
    page.keyboard.press("a")
    assert all("/image" in src for src in dialog.locator("img").evaluate_all("images => images.map(i => i.src)"))
    page.keyboard.press("a")
    assert all("/heatmap" in src for src in dialog.locator("img").evaluate_all("images => images.map(i => i.src)"))
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = [
        fault["id"] for fault in axe.run(page).response["violations"] if fault["impact"] in ("serious", "critical")
    ]
    assert found == []
    page.keyboard.press("h")
    assert dialog.is_hidden()
    assert shown(page) == "two"  # and keys go to the video again
    assert not EvidenceJob.objects.filter(video=second, kind=EvidenceKind.HEATMAPS).exists()

    # on the page of the video, and what has failed can be tried again
    EvidenceJob.objects.filter(video=first, kind=EvidenceKind.HEATMAPS).delete()
    page.goto(f"{live_server.url}/admin/detection/video/{first.pk}/change/")
    page.get_by_role("button", name="Heat maps").click()
    dialog.get_by_text("Waiting for a worker").wait_for()
    EvidenceJob.objects.filter(kind=EvidenceKind.HEATMAPS).update(
        state=State.FAILED, error_detail="It broke.", finished_at=first.created_at
    )
    dialog.get_by_text("It broke.").wait_for()
    dialog.get_by_role("button", name="Try again").click()
    dialog.get_by_text("Waiting for a worker").wait_for()
    tasks.make_heatmaps(str(EvidenceJob.objects.get(kind=EvidenceKind.HEATMAPS, state=State.QUEUED).id))
    dialog.get_by_role("img", name="Heat map over face 1 of person 1, 0.0 s").wait_for()
    assert faults == []
