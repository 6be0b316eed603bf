"""What is answered with 202 is on the disk: file, folders and rows, in this order; seen in the system calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, sys, django
django.setup()
from django.contrib.auth.models import User
from detection import dispatch
from detection.api.uploadhandler import ReceivedFile
from detection.services.uploads import uploads
dispatch._publish = lambda task, args: True
owner = User.objects.create_user("u")
content = open(sys.argv[1], "rb").read()
received = ReceivedFile(content_type="video/mp4")
received.write(content)
received.name, received.size = "clip.mp4", len(content)
os.write(2, b"MARK begun\\n")
uploads.submit_video(owner=owner, upload=received)
os.write(2, b"MARK accepted\\n")
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_file_folders_and_rows_are_synced_before_the_answer(tmp_path: Path) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("Postgres syncs its own log (synchronous_commit), in another process")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(tmp_path / "db.sqlite3")])
    clip = ROOT / "demo" / "clips" / "one-person.mp4"
    environment = {
        **os.environ,
        "DFD_VAR": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "PYTHONPATH": str(ROOT),
    }
    traced = ["strace", "-f", "-y", "-qq", "-s", "40", "-e", "trace=fsync,fdatasync,write", "-o", str(tmp_path / "log")]
    done = subprocess.run(
        [*traced, sys.executable, "-c", PROGRAM, str(clip)], env=environment, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "log").read_text().splitlines()
    begun = next(number for number, line in enumerate(lines) if "MARK begun" in line)
    accepted = next(number for number, line in enumerate(lines) if "MARK accepted" in line)
    synced = [
        found[1] for line in lines[begun:accepted] if (found := re.search(r"(?:fsync|fdatasync)\(\d+<([^>]+)>", line))
    ]
    (video,) = (tmp_path / "media" / "videos").iterdir()
    file = synced.index(str(video / "original.mp4"))
    folder = synced.index(str(video), file)
    above = synced.index(str(video.parent), folder)
    assert any(name.endswith("db.sqlite3-wal") for name in synced[above:]), synced
