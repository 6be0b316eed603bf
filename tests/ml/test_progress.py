"""The one progress bar, where there is no terminal: lines, or a callback."""

from __future__ import annotations

import pytest

from ml.progress import ProgressBar


def test_away_from_a_terminal_there_are_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(3, "videos", unit="video", log_interval_s=0) as bar:
        bar.step()
        bar.wait("another process holds them")
        bar.step()
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("videos:") for line in lines)
    assert "1/3" in lines[1]
    assert "another process holds them" in lines[2]
    assert "2/3" in lines[-1]


def test_short_work_writes_nothing_into_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(1, "videos", log_interval_s=3600) as bar:
        bar.step()
    assert capsys.readouterr().err == ""


def test_a_callback_hears_what_and_how_far(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[tuple[str, float]] = []
    with ProgressBar(4, "frames", done=1, on_progress=lambda what, share: heard.append((what, share))) as bar:
        bar.step("loss 0.5")
        bar.step()
    assert heard == [("frames loss 0.5", 0.5), ("frames", 0.75)]
    assert capsys.readouterr().err == ""


def test_a_bar_that_is_told_a_share_shows_what_is_being_done(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(100, "", log_interval_s=0) as bar:
        bar.show("packing faces", 0.25)
        bar.show("features", 0.1)  # the next step begins anew
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("packing faces") and "25%" in line for line in lines)
    assert lines[-1].startswith("features")
