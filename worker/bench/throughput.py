"""Videos a second: through API, queue and workers against the bare `ml` pipeline in as many processes.

Both do the same clips on all cores and are warm: models are loaded before the clock starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
from django.conf import settings

from ml.video.decode import VideoError
from worker.bench.load import stack
from worker.bench.load.client import ENDED, as_new
from worker.process import host, runtime

UPLOADERS = 4
POLL_S = 0.1
WARM_UP = 3
"""Videos for each worker process before the clock starts: each loads detector and model at its first."""
PATIENCE_S = 600.0


def measure(
    paths: Sequence[Path], weights: Path, *, videos: int, processes: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """`videos` of the clips in turn, both ways in so many processes.  Raises loadtest.LoadTestError."""
    clips = [paths[k % len(paths)] for k in range(videos)]
    say("the bare pipeline")
    bare_s = _bare(clips, weights, processes)
    with stack.own_stack(users=1, say=say, weights=weights, DFD_CONCURRENCY=str(processes)) as server:
        say("through the API")
        cold_s, system_s, states = asyncio.run(_through_the_api(server, clips, warm_up=WARM_UP * processes))
    return {
        "videos": videos,
        "processes": processes,
        "bare": {"seconds": round(bare_s, 2), "videos_per_s": round(videos / bare_s, 3)},
        "system": {"seconds": round(system_s, 2), "videos_per_s": round(videos / system_s, 3), "states": states},
        "share": round(bare_s / system_s, 3),
        "cold_s": round(cold_s, 2),
        "machine": host.facts(),
    }


# --- the pipeline alone -----------------------------------------------------------------------------------------------


def _bare(clips: Sequence[Path], weights: Path, count: int) -> float:
    """Seconds from the word to the last of so many processes' end."""
    processes = []
    for k in range(min(count, len(clips))):
        command, env = host.own_process("worker.bench.throughput.bare_process", count, weights, *clips[k::count])
        processes.append(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=settings.BASE_DIR
            )
        )
    try:
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise stack.LoadTestError("The bare pipeline does not start; what it said is above.")
        started = time.perf_counter()
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            if process.wait():
                raise stack.LoadTestError("The bare pipeline has failed; what it said is above.")
        return time.perf_counter() - started
    finally:
        for process in processes:
            process.kill()
            process.wait()


def bare_process(count: str, weights: str, *files: str) -> None:
    """The process: `count` of them share the cores."""
    runtime.share_cores(processes=int(count))
    runtime.prepare()
    from worker.bench.in_process import Product

    product = Product(Path(weights))
    with tempfile.TemporaryDirectory() as folder:
        _run(product, files[0], folder)
        print("ready", flush=True)
        sys.stdin.read()
        for file in files:
            _run(product, file, folder)


def _run(product: Any, file: str, folder: str) -> None:
    with contextlib.suppress(VideoError):  # through the API such a file has its end, too
        product.run(Path(file), Path(folder))


# --- API, queue, workers ----------------------------------------------------------------------------------------------


async def _through_the_api(
    server: stack.Server, clips: Sequence[Path], *, warm_up: int
) -> tuple[float, float, dict[str, int]]:
    """Send the clips, and wait for the verdicts.

    Returns the seconds to the first verdict of workers that have loaded nothing yet; then, warm, from the first upload
    to the last verdict; and how the tasks ended.
    """
    headers = {"Authorization": f"Token {server.tokens[0]}"}
    async with aiohttp.ClientSession(base_url=server.url, headers=headers) as session:
        started = time.perf_counter()
        await _all_done(session, clips[:1])
        cold_s = time.perf_counter() - started
        await _all_done(session, [clips[0]] * warm_up)
        started = time.perf_counter()
        states = await _all_done(session, clips)
        return cold_s, time.perf_counter() - started, states


async def _all_done(session: aiohttp.ClientSession, clips: Sequence[Path]) -> dict[str, int]:
    """How the tasks ended.  One task is asked about at a time: what the clients cost is not the product's cost."""
    several = asyncio.Semaphore(UPLOADERS)

    async def upload(clip: Path) -> str:
        async with several:
            form = aiohttp.FormData()
            form.add_field("file", as_new(clip.read_bytes()), filename=clip.name)
            return str((await _answer(session.post("/api/v1/videos/", data=form)))["task"]["id"])

    tasks = await asyncio.gather(*(upload(clip) for clip in clips))
    states: dict[str, int] = {}
    deadline = time.monotonic() + PATIENCE_S
    for task in tasks:
        while (state := (await _answer(session.get(f"/api/v1/tasks/{task}/")))["state"]) not in ENDED:
            if time.monotonic() > deadline:
                raise stack.LoadTestError(f"A video had no verdict after {PATIENCE_S:.0f} s.")
            await asyncio.sleep(POLL_S)
        states[state] = states.get(state, 0) + 1
    return states


async def _answer(request: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> Any:
    async with request as answer:
        body = await answer.json()
        if answer.status >= 400:
            raise stack.LoadTestError(f"A request was refused: {json.dumps(body)}")
        return body
