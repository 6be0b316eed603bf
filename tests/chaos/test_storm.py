"""The short form of `make chaos`; and that it sees what it is there to see."""

from __future__ import annotations

import sys

import pytest

from tests.chaos.storm import Plan, Storm, no_postgres

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(400)]
CALM = Plan(
    uploads=5, kills=0, broker_restarts=0, database_restarts=0, web_kills=0, beat_kills=0, disk_fulls=0, duplicates=0,
    workers=1,
)  # fmt: skip


def test_after_a_short_storm_nothing_is_lost_twice_or_stuck() -> None:
    restarts = 0 if no_postgres() else 1
    plan = Plan(
        uploads=10, kills=3, broker_restarts=1, database_restarts=restarts, web_kills=1, beat_kills=1, disk_fulls=0,
        duplicates=1, seed=int.from_bytes(b"dfd"),
    )  # fmt: skip
    report = Storm(plan, say=lambda line: print(line, file=sys.stderr)).run()
    assert report["faults_found"] == {}
    assert report["accepted"] == 10
    assert report["faults"]["kills"] == 3
    assert report["states"] == {"succeeded": 6, "no_face": 2, "failed": 2}


def test_what_is_lost_twice_or_left_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(Storm):
        def _wait_for_the_end(self, condition: object) -> None:
            super()._wait_for_the_end(condition)  # type: ignore[arg-type]
            videos = sorted(self.accepted, key=lambda video: self.accepted[video])
            assert [self.accepted[video] for video in videos][:2] == ["blended-fake.mp4", "broken.mp4"]
            code = (
                "from detection.models import *; from django.core.files.storage import default_storage as s;"
                "from django.core.files.base import ContentFile;"
                f"s.delete(Video.objects.get(pk='{videos[0]}').clip.name);"
                "s.save('videos/nobodys/original.mp4', ContentFile(b'x'));"
                f"Video.objects.get(pk='{videos[1]}').delete();"
                f"Analysis.objects.filter(video='{videos[2]}').update(state='queued', finished_at=None)"
            )
            self.stack.manage("shell", "-c", code)
            self.removed = videos[1], videos[2]

    storm = Careless(CALM, say=print)
    found = storm.run()["faults_found"]
    lost, stuck = storm.removed
    assert found["lost"] == [lost]
    assert found["stuck"] == [stuck]
    assert "videos/nobodys/original.mp4" in found["files_without_a_row"]
    assert len(found["rows_without_a_file"]) == 1
