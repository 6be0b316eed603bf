"""The short form of `make chaos`; and that it sees what it is there to see."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import pytest

from tests.chaos.storm import Plan, Storm, no_postgres
from tests.chaos.sweep_times import gaps

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]
BUSY_MACHINE_S = 120
"""A sweep a second is due here; one is late only where something has stopped them, not where the machine is busy."""


@pytest.fixture(scope="module")
def storm() -> Iterator[Storm]:
    """One that is over, its product still there."""
    restarts = 0 if no_postgres() else 1
    plan = Plan(
        uploads=10, kills=3, broker_restarts=1, database_restarts=restarts, web_kills=1, beat_kills=1,
        sweeper_kills=1, webhook_worker_kills=1, disk_fulls=0, duplicates=1, sweep_s=1, sweep_late_s=BUSY_MACHINE_S,
        seed=int.from_bytes(b"dfd"),
    )  # fmt: skip
    with contextlib.closing(Storm(plan, say=lambda line: print(line, file=sys.stderr))) as storm:
        storm.run()
        yield storm


def test_after_a_short_storm_nothing_is_lost_twice_or_stuck(storm: Storm) -> None:
    report = storm.judge()
    assert report["faults_found"] == {}
    assert report["accepted"] == 10
    assert report["faults"]["kills"] == 3
    assert report["states"] == {"succeeded": 6, "no_face": 2, "failed": 2}
    assert report["at_quota"]["accepted_before"] == 1
    assert report["at_quota"]["answers"]["daily_bytes_exceeded"] >= 1
    assert len(report["webhooks"]["calls_that_hung"]) == 3
    assert all(report["webhooks"]["calls_that_hung"])
    assert report["webhooks"]["waiting"] == 30
    assert report["sweeps"]["ran"] > 0


def test_a_sweep_that_came_late_is_seen() -> None:
    printed = "100.5 1\n130.5 2\n260.0 3\n27"
    assert gaps(printed, since=90.0, until=300.0) == [10.5, 30.0, 129.5, 40.0]
    assert gaps("", since=90.0, until=300.0) == [210.0]


def test_what_is_lost_twice_or_left_is_seen(storm: Storm) -> None:
    """The last test of this module: it spoils what the storm has left."""
    of = {clip: video for video, clip in sorted(storm.accepted.items())}
    lost, stuck, untold = of["broken.mp4"], of["no-face.mp4"], of["one-person.mp4"]
    code = (
        "from detection.models import *; from django.core.files.storage import default_storage as s;"
        "from django.core.files.base import ContentFile;"
        f"s.delete(Video.objects.get(pk='{of['blended-fake.mp4']}').clip.name);"
        "s.save('videos/nobodys/original.mp4', ContentFile(b'x'));"
        f"Video.objects.get(pk='{lost}').delete();"
        f"Analysis.objects.filter(video='{stuck}').update(state='queued', finished_at=None);"
        f"WebhookDelivery.objects.filter(video_id='{untold}').delete()"
    )
    storm.stack.manage("shell", "-c", code)
    for folder in storm.foreign:
        folder.rmdir()
    found = storm.judge()["faults_found"]
    assert found["told_too_seldom_or_too_often"] == [untold]
    assert found["foreign_folders_removed"] == ["lost+found"]
    assert found["lost"] == [lost]
    assert found["stuck"] == [stuck]
    assert "videos/nobodys/original.mp4" in found["files_without_a_row"]
    assert len(found["rows_without_a_file"]) == 1
