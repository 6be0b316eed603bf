"""Machines in separate folders that share Postgres, Redis and a bucket: the loss of one costs time only."""

from __future__ import annotations

import hashlib
import http.client
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from email.message import Message
from pathlib import Path
from typing import Any

import psutil
import pytest

from demo.client import Client
from tests.many.clips import copies
from tests.many.machines import Machine
from tests.many.servers import BUCKET, S3, Postgres, Redis
from tests.stack import ROOT, TERMINAL, wait_for
from tests.weights import save_tiny

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
VIDEOS = 8


class Park:
    """A web machine (its own disk, no model), two workers, and what they share."""

    def __init__(self, shared: dict[str, str], stack: ExitStack) -> None:
        self.shared, self._stack = shared, stack
        self.web, self.left, self.right = self.machine("web"), self.machine("left"), self.machine("right")

    def machine(self, name: str) -> Machine:
        machine = Machine(name, self.shared)
        self._stack.callback(machine.close)
        return machine


@pytest.fixture(scope="module")
def park(postgres: Postgres, redis_server: Redis, s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Park]:
    s3.bucket()
    shared = {
        "DATABASE_URL": postgres.migrated("many"),
        "REDIS_URL": redis_server.url,
        "DFD_S3_BUCKET": BUCKET,
        **s3.environment,
    }
    with ExitStack() as stack:
        park = Park(shared, stack)
        weights = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
        save_tiny(weights)
        park.web.manage("register_model", str(weights), "--activate")
        for worker in (park.left, park.right):
            worker.start_worker(wait=False)
        park.web.start_beat()
        yield park


@pytest.fixture(scope="module")
def client(park: Park) -> Client:
    token = park.web.manage("create_token", "client", "--role", "admin").strip().splitlines()[-1]
    return park.web.start_web(token=token)


def test_two_machines_share_a_queue_and_the_loss_of_one_costs_time_only(
    park: Park, client: Client, tmp_path: Path
) -> None:
    for worker in (park.left, park.right):
        worker.wait_for_worker()
    started = time.monotonic()
    videos = [dict(client.upload(path)[1]) for path in copies(tmp_path, VIDEOS)]
    wait_for(lambda: bool(park.left.finished()), "work of the left machine", log=lambda: park.left.log("worker"))
    wait_for(lambda: bool(park.right.finished()), "work of the right machine", log=lambda: park.right.log("worker"))
    wait_for(lambda: at_work(park.right) != [], "a video in the right machine's hands", timeout_s=300)
    lost = at_work(park.right)
    park.right.kill("worker")
    killed = time.monotonic()

    tasks = finished_tasks(client, videos, log=park.left)
    took = time.monotonic() - started
    print(f"{VIDEOS} videos in {took:.1f} s, of which {time.monotonic() - killed:.1f} s after the kill")
    assert [task["state"] for task in tasks] == ["succeeded"] * VIDEOS
    # Each stage of each was finished once, by either machine, what the lost one had begun by the other.
    done = Counter(park.left.finished() + park.right.finished())
    wanted = {(str(video["task"]["id"]), stage) for video in videos for stage in ("extract", "classify")}
    assert dict(done) == dict.fromkeys(wanted, 1)
    assert set(lost) <= {analysis for analysis, _ in park.left.finished()}
    counts = [len(client.get(f"/api/v1/videos/{video['id']}/faces/")["results"]) for video in videos]
    assert counts == [10] * VIDEOS


def test_all_that_it_has_made_is_read_by_a_web_process_with_an_empty_disk(park: Park, client: Client) -> None:
    video = client.get("/api/v1/videos/?status=succeeded")["results"][0]
    fresh = park.machine("fresh")
    other = fresh.start_web(token=client.headers["Authorization"].split()[1])
    faces, known = (who.get(f"/api/v1/videos/{video['id']}/faces/")["results"] for who in (other, client))
    assert [face["id"] for face in faces] == [face["id"] for face in known] != []
    for path, head in [
        (faces[0]["image"], b"\x89PNG"),
        (f"/api/v1/videos/{video['id']}/media/thumbnail", b"\xff\xd8"),
    ]:
        assert fetch(other, path)[1].startswith(head)
    status, original = fetch(other, f"/api/v1/videos/{video['id']}/media/original")
    assert (status, hashlib.sha256(original).hexdigest()) == (200, video["sha256"])
    assert fetch(other, f"/api/v1/videos/{video['id']}/media/clip", Range="bytes=4-7") == (206, b"ftyp")
    assert not (fresh.folder / "var" / "media").exists()
    stop = time.monotonic()
    web = fresh.processes["web"]
    web.send_signal(signal.SIGTERM)
    web.wait(timeout=300)
    print(f"an idle web process ends {time.monotonic() - stop:.1f} s after SIGTERM")


def test_pieces_of_one_upload_come_to_two_web_processes(park: Park, client: Client, tmp_path: Path) -> None:
    second = park.machine("second")
    other = second.start_web(token=client.headers["Authorization"].split()[1])
    content = copies(tmp_path, 1)[0].read_bytes()
    tus = {"Tus-Resumable": "1.0.0"}
    length = {"Upload-Length": str(len(content))}
    path = call(client, "POST", "/api/v1/uploads/", tus | length)[1]["Location"].split(f":{client.port}", 1)[1]
    third = len(content) // 3
    for start, who in ((0, client), (third, other), (2 * third, client)):
        assert call(who, "HEAD", path, tus)[1]["Upload-Offset"] == str(start)
        data = content[start:] if start == 2 * third else content[start : start + third]
        piece = tus | {"Upload-Offset": str(start), "Content-Type": "application/offset+octet-stream"}
        status, headers = call(who, "PATCH", path, piece, data)
        assert status == 204
    task = headers["Location"].split(f":{client.port}", 1)[1]
    video = client.get(f"/api/v1/videos/{client.get(task)['video']}/")
    assert video["sha256"] == hashlib.sha256(content).hexdigest()
    finished_tasks(client, [{"task": client.get(task)}], log=park.left)
    assert [path for path in (second.folder / "var").rglob("*") if path.is_file()] == []


def test_heat_maps_and_previews_are_made_on_one_machine_and_shown_by_another(park: Park, client: Client) -> None:
    video = client.get("/api/v1/videos/?status=succeeded")["results"][0]
    face = client.get(f"/api/v1/videos/{video['id']}/faces/")["results"][0]
    for kind in ("heatmaps", "preview"):
        park.web.ask(
            "from django.contrib.auth.models import User\n"
            "from detection.models import Video\n"
            "from detection.services.jobs import evidence as evidence_jobs\n"
            f"video = Video.objects.get(pk='{video['id']}')\n"
            f"answer = evidence_jobs.request(video=video, kind='{kind}', by=User.objects.get()).pk"
        )
    picture = face["image"].replace("/image", "/heatmap")
    wait_for(lambda: fetch(client, picture)[0] == 200, "a heat map", log=lambda: park.left.log("worker"))
    assert fetch(client, picture)[1].startswith(b"\xff\xd8")
    preview = f"/api/v1/videos/{video['id']}/media/preview"
    wait_for(lambda: fetch(client, preview)[0] == 200, "a preview", log=lambda: park.left.log("worker"))
    assert fetch(client, preview)[1][4:8] == b"ftyp"


def test_weights_come_through_storage_and_others_than_the_registered_ones_are_refused(
    park: Park, client: Client, s3: S3, tmp_path: Path
) -> None:
    sha256 = client.get("/api/v1/models/active/")["sha256"]
    cached = park.left.folder / "var" / "cache" / f"{sha256}.safetensors"
    assert hashlib.sha256(cached.read_bytes()).hexdigest() == sha256

    (listed,) = s3.bucket().objects.filter(Prefix="models/")
    stored = listed.Object()
    sound = stored.get()["Body"].read()
    stored.put(Body=sound[:-1] + bytes([sound[-1] ^ 1]))
    mule = park.machine("mule")
    ask = (
        "from detection.models import ModelVersion\n"
        "from detection.services.learning import registry\n"
        "from detection.errors import Refused\n"
        "try:\n"
        "    answer = str(registry.local_weights(model=ModelVersion.objects.get(active=True)))\n"
        "except Refused as refusal:\n"
        "    answer = [refusal.code, refusal.detail]"
    )
    try:
        code, detail = mule.ask(ask)
        assert code == "hash_mismatch"
        assert sha256 in detail
        assert "Register the file again" in detail
        assert list((mule.folder / "var" / "cache").iterdir()) == []
        said = mule.ended([sys.executable, str(ROOT / "manage.py"), "doctor"]).stdout
        assert "The weights of the active model" in said
    finally:
        stored.put(Body=sound)
    assert Path(mule.ask(ask)).read_bytes() == sound


def at_work(machine: Machine) -> list[str]:
    """Ids of the analyses that are in the hands of this machine's processes."""
    rows = machine.select("SELECT id, worker FROM detection_analysis WHERE state = 'running'")
    ours = {child.pid for child in psutil.Process(machine.processes["worker"].pid).children(recursive=True)}
    return [str(analysis) for analysis, worker in rows if int(worker.rpartition(":")[2]) in ours]


def finished_tasks(client: Client, videos: list[dict[str, Any]], *, log: Machine) -> list[dict[str, Any]]:
    def tasks() -> list[dict[str, Any]]:
        return [dict(client.get(f"/api/v1/tasks/{video['task']['id']}/")) for video in videos]

    wait_for(
        lambda: all(task["state"] in TERMINAL for task in tasks()), "end of every video", timeout_s=300, every_s=0.5,
        log=lambda: log.log("worker"),
    )  # fmt: skip
    return tasks()


def call(
    client: Client, method: str, path: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[int, Message]:
    """Status and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=300)
    try:
        connection.request(method, path, body=body, headers=client.headers | headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers
    finally:
        connection.close()


def fetch(client: Client, address: str, **headers: str) -> tuple[int, bytes]:
    path = address.split(f":{client.port}", 1)[-1]
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=300)
    try:
        connection.request("GET", path, headers=client.headers | headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
