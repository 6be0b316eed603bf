"""C2PA manifests: read in a process of its own, shown with the video, and never more than a claim."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from detection.evidence_report import bundle
from detection.models import EvidenceJob, EvidenceKind, State, Verdict, Video, VideoProvenance
from detection.services.jobs import evidence
from ml.bench.fuzz.mutate import Seed
from tests.credentials import Authority, authority, broken, signed
from tests.ml.clips import DEMO, write_clip
from tests.worker.test_fuzz import run
from tests.worker.test_runtime import analyse, register, upload
from worker import tasks
from worker.bench.fuzz.canary import Canary
from worker.bench.fuzz.run import fuzz
from worker.process import credentials

NOT_LISTED = "It is signed by Example News, Example: not on your trust list."
NO_MATCH = "The manifest does not match: the file was changed after it was signed, or the manifest was."


@pytest.fixture(scope="module")
def news() -> Authority:
    return authority()


@pytest.fixture(scope="module")
def clip() -> bytes:
    return (DEMO / "one-person.mp4").read_bytes()


def read(tmp_path: Path, data: bytes, anchors: str = "") -> dict[str, Any]:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    return credentials.read_in_child(path, anchors)


def test_a_manifest_is_shown_trusted_only_by_the_operators_list_and_a_changed_file_does_not_match(
    tmp_path: Path, news: Authority, clip: bytes
) -> None:
    told = read(tmp_path, signed(clip, news, source="trainedAlgorithmicMedia"))
    assert (told["state"], told["sentence"]) == ("untrusted", NOT_LISTED)
    assert (told["title"], told["made_with"], told["actions"]) == (
        "The speech",
        ["Example Camera 2.1"],
        ["c2pa.created"],
    )
    assert told["says_generated"] is True
    assert read(tmp_path, signed(clip, news), news.root)["state"] == "trusted"
    assert read(tmp_path, signed(clip, news), authority("Somebody else").root)["sentence"] == NOT_LISTED
    told = read(tmp_path, broken(signed(clip, news)), news.root)
    assert (told["state"], told["sentence"]) == ("invalid", NO_MATCH)
    assert "assertion.bmffHash.mismatch" in told["failures"]


def test_a_process_that_dies_hangs_or_babbles_is_a_manifest_that_cannot_be_read(
    tmp_path: Path, news: Authority, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(credentials, "WALL_S", 1)
    for does in ("kill -SEGV $$", "exec sleep 60", "echo nonsense", "echo [1]", "head -c 1000000 /dev/zero", "exit 3"):
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o700)
        assert read(tmp_path, signed(clip, news)) == {
            "state": "unreadable", "sentence": "There is a C2PA manifest, but it cannot be read.",
        }, does  # fmt: skip


def test_the_process_is_told_no_secret(tmp_path: Path, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\nprintf \'{"seen": "%s"}\' "$DFD_SECRET_KEY$DATABASE_URL$AWS_SECRET_ACCESS_KEY"\n')
    program.chmod(0o700)
    for name in ("DFD_SECRET_KEY", "DATABASE_URL", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setattr(sys, "executable", str(program))
    assert read(tmp_path, clip) == {"seen": ""}


@pytest.mark.django_db
@pytest.mark.usefixtures("own_state", "silent_broker")
def test_it_is_in_the_api_the_admin_and_the_report_and_the_score_stays(
    tmp_path: Path, news: Authority, clip: bytes
) -> None:
    register(tmp_path, "first", seed=1)
    plain = upload(clip)
    Video.objects.update(sha256="1" * 64)
    marked = upload(signed(clip, news), "marked.mp4")
    assert [analyse(video).state for video in (plain, marked)] == [State.SUCCEEDED] * 2
    scores = Verdict.objects.values_list("fake_probability", flat=True)
    assert len({round(score, 6) for score in scores}) == 1
    admin = User.objects.create_superuser("root")
    client = Client()
    client.force_login(admin)
    told = client.get(f"/api/v1/videos/{marked.pk}/provenance/").json()
    assert (told["credentials"]["sentence"], told["credentials"]["state"]) == (NOT_LISTED, "untrusted")
    assert told["container"] == "QuickTime / MOV"
    assert client.get(f"/api/v1/videos/{plain.pk}/provenance/").json()["credentials"] is None
    page = client.get(f"/admin/detection/video/{marked.pk}/change/").content.decode()
    assert NOT_LISTED in page
    assert "None named" in page
    page = client.get(f"/admin/detection/video/{plain.pk}/change/").content.decode()
    assert "No C2PA manifest was found; one is looked for in MP4 and QuickTime files alone." in page
    marked.refresh_from_db()
    job = evidence.request(video=marked, kind=EvidenceKind.REPORT, by=admin)
    tasks.make_report(str(job.pk))
    with EvidenceJob.objects.get(pk=job.pk).video.file.storage.open(EvidenceJob.objects.get().result["bundle"]) as file:
        report = json.loads(bundle.unpack(file.read())["report.json"])
    assert report["provenance"]["credentials"]["sentence"] == NOT_LISTED
    VideoProvenance.objects.all().delete()
    answer = client.get(f"/api/v1/videos/{marked.pk}/provenance/")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_read")


def test_mutated_manifests_are_contained(tmp_path: Path, news: Authority) -> None:
    plain = write_clip(tmp_path / "plain.mp4", frames=5)
    seed = Seed("signed.mp4", ".mp4", signed(plain.read_bytes(), news))
    what = run([seed], tmp_path, files=100)
    with Canary(what.folder, plain) as canary:
        report = fuzz(what, canary, progress=lambda done, total: None)
    assert report.problems == []
    assert report.outcomes["broke"] == report.outcomes["killed"] == 0
