"""The clients of the load test, all in this one process, which knows nothing of the product but its REST API.

    python -m worker.bench.load.client < plan.json

A line a second on standard output says how many requests are done; the last line is the result.  Imports no Django: the
process that measures must cost the machine little.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import secrets
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

ENDED = ("succeeded", "no_face", "failed")
LIST_SHARE, HEALTH_SHARE = 0.05, 0.03
"""Of the requests; the others ask for the client's own task."""
UPLOADING = 8
"""So many at once before the clock starts."""
TIMEOUT_S = 60.0


class LoadError(Exception):
    """There is nothing to measure; the message is a sentence."""


@dataclass(frozen=True)
class Plan:
    """What to do.  `pace_s` is the mean time between two requests of a client; 0 is back to back."""

    url: str
    tokens: list[str]
    clips: list[str]
    clients: int
    seconds: float
    warmup_s: float
    pace_s: float
    uploads: int
    requests: int = 0
    """End after so many; 0 is by the clock alone."""
    go_on: bool = True
    """A client whose video is done sends another one."""
    grace_s: float = 10.0
    """After the end, for what was due before it."""
    tidy: bool = False
    """Delete at the end what was uploaded."""


@dataclass
class Seen:
    """Milliseconds of one kind of request.

    `due` counts from when the request should have been sent: one that had to wait because its client's last answer
    was late waits on the server's account (otherwise a server that stalls is asked less, and looks quick).
    """

    due: array[float] = field(default_factory=lambda: array("d"))
    sent: array[float] = field(default_factory=lambda: array("d"))


@dataclass
class Job:
    """A video on its way, and the token of its owner."""

    token: str
    video: str
    task: str


class Load:
    """All clients and what they have seen."""

    def __init__(self, plan: Plan, say: Callable[[dict[str, Any]], None]) -> None:
        self.plan, self.say = plan, say
        self.clips = [Path(clip).read_bytes() for clip in plan.clips]
        self.seen: dict[str, Seen] = {}
        self.errors: Counter[str] = Counter()
        self.late = array("d")
        self.done = self.ended = self.uploaded = 0
        self.jobs: list[Job] = []
        self.made: list[Job] = []
        self._began = self._measured_from = 0.0
        self._over = False

    async def run(self) -> dict[str, Any]:
        """Raises LoadError when no video can be uploaded."""
        plan = self.plan
        async with AsyncExitStack() as stack:
            sessions = [await stack.enter_async_context(_session()) for _ in range(plan.clients)]
            await self._fill(sessions)
            gc.collect()
            gc.freeze()
            self._began = time.perf_counter()
            self._measured_from = self._began + plan.warmup_s
            talk = asyncio.create_task(self._talk())
            await asyncio.gather(*(self._client(number, session) for number, session in enumerate(sessions)))
            self._over = True
            measured_s = time.perf_counter() - self._measured_from
            await talk
            if plan.tidy:
                await self._tidy(sessions[0])
        return {
            "seconds": round(measured_s, 2),
            "uploaded": self.uploaded,
            "videos_ended": self.ended,
            "endpoints": {name: _figures(seen, measured_s) for name, seen in sorted(self.seen.items())},
            "polling": _figures(_together([s for name, s in self.seen.items() if name != "upload"]), measured_s),
            "errors": dict(self.errors),
            "client_late_ms": {"p50": _quantile(sorted(self.late), 0.5), "p99": _quantile(sorted(self.late), 0.99)},
        }

    async def _fill(self, sessions: Sequence[aiohttp.ClientSession]) -> None:
        numbers = iter(range(self.plan.uploads))

        async def some(session: aiohttp.ClientSession) -> None:
            for number in numbers:
                job = await self._upload(session, self.plan.tokens[number % len(self.plan.tokens)], count=False)
                if job is None:
                    said = ", ".join(self.errors)
                    raise LoadError(f"{self.plan.url} takes no upload ({said}); nothing was measured.")
                self.jobs.append(job)

        await asyncio.gather(*(some(session) for session in sessions[:UPLOADING]))

    async def _client(self, number: int, session: aiohttp.ClientSession) -> None:
        plan, chance = self.plan, random.Random(number)  # nosec B311 # shares and jitter, no secret
        slot = number % len(self.jobs)
        sharing = number >= len(self.jobs)  # several clients, one video: the first of them sends the next one
        due = time.perf_counter() + chance.random() * plan.pace_s
        end = self._measured_from + plan.seconds
        while due < end and not self._enough():
            if time.perf_counter() > end + plan.grace_s:
                self.errors["never sent, the answers came so late"] += 1 + int((end - due) / plan.pace_s)
                break
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
                self._note_late(due)
            job = self.jobs[slot]
            dice = chance.random()
            if dice < LIST_SHARE:
                await self._get(session, "list", "/api/v1/videos/?page_size=20", job.token, due)
            elif dice < LIST_SHARE + HEALTH_SHARE:
                await self._get(session, "health", "/healthz", job.token, due)
            else:
                task = await self._get(session, "task", f"/api/v1/tasks/{job.task}/", job.token, due)
                if plan.go_on and not sharing and task is not None and json.loads(task)["state"] in ENDED:
                    self.ended += 1
                    await self._get(session, "video", f"/api/v1/videos/{job.video}/", job.token, time.perf_counter())
                    following = await self._upload(session, job.token)
                    if following is not None:
                        self.jobs[slot] = following
            due = due + plan.pace_s * chance.uniform(0.5, 1.5) if plan.pace_s else time.perf_counter()

    def _enough(self) -> bool:
        return bool(self.plan.requests) and self.done >= self.plan.requests

    def _note_late(self, due: float) -> None:
        """How late this process itself was: what it adds to each figure."""
        if due >= self._measured_from:
            self.late.append((time.perf_counter() - due) * 1000)

    async def _get(self, session: aiohttp.ClientSession, name: str, path: str, token: str, due: float) -> bytes | None:
        sent = time.perf_counter()
        try:
            async with session.get(self.plan.url + path, headers=_headers(token)) as answer:
                body = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            self._count(name, type(error).__name__, due, sent)
            return None
        self._count(name, status, due, sent)
        return body if status == 200 else None

    async def _upload(self, session: aiohttp.ClientSession, token: str, *, count: bool = True) -> Job | None:
        clip = secrets.choice(self.clips)
        form = aiohttp.FormData()
        name = f"load-{self.uploaded}.mp4"
        form.add_field("file", as_new(clip), filename=name)
        sent = time.perf_counter()
        try:
            async with session.post(self.plan.url + "/api/v1/videos/", data=form, headers=_headers(token)) as answer:
                body = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            self._count("upload", type(error).__name__, sent, sent)
            return None
        if count or status != 202:
            self._count("upload", status, sent, sent)
        if status != 202:
            return None
        self.uploaded += 1
        video = json.loads(body)
        self.made.append(Job(token, video["id"], video["task"]["id"]))
        return self.made[-1]

    def _count(self, name: str, outcome: int | str, due: float, sent: float) -> None:
        now = time.perf_counter()
        self.done += 1
        if not (isinstance(outcome, int) and 200 <= outcome < 300):
            self.errors[f"{name} {outcome}"] += 1  # also while warming up: an error is an error
        if due >= self._measured_from > 0:
            seen = self.seen.setdefault(name, Seen())
            seen.due.append((now - due) * 1000)
            seen.sent.append((now - sent) * 1000)

    async def _talk(self) -> None:
        while not self._over:
            warm = time.perf_counter() >= self._measured_from
            self.say({"done": self.done, "warm": warm, "ended": self.ended})
            await asyncio.sleep(1.0)

    async def _tidy(self, session: aiohttp.ClientSession) -> None:
        for job in self.made:
            async with session.delete(f"{self.plan.url}/api/v1/videos/{job.video}/", headers=_headers(job.token)):
                pass


def as_new(clip: bytes) -> bytes:
    """An MP4 that is new to the server: with a box of chance at its end, which players skip."""
    return clip + b"\x00\x00\x00\x18free" + secrets.token_bytes(16)


def _session() -> aiohttp.ClientSession:
    """One client: one connection, kept alive."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=1), timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), trust_env=False
    )


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Token {token}"}


def _together(several: Sequence[Seen]) -> Seen:
    every = Seen()
    for seen in several:
        every.due.extend(seen.due)
        every.sent.extend(seen.sent)
    return every


def _figures(seen: Seen, seconds: float) -> dict[str, Any]:
    due, sent = sorted(seen.due), sorted(seen.sent)
    return {
        "requests": len(due),
        "per_second": round(len(due) / seconds, 1) if seconds > 0 else 0.0,
        **{f"p{percent}_ms": _quantile(due, percent / 100) for percent in (50, 95, 99)},
        "max_ms": _quantile(due, 1.0),
        "p99_sent_ms": _quantile(sent, 0.99),
    }


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share does not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return round(ordered[max(0, -int(-share * len(ordered) // 1) - 1)], 2)


def main() -> int:
    """Read a plan from stdin, carry it out, and write a line of JSON a second to stdout."""

    def say(line: dict[str, Any]) -> None:
        print(json.dumps(line), flush=True)

    plan = Plan(**json.load(sys.stdin))
    try:
        say({"result": asyncio.run(Load(plan, say).run())})
    except LoadError as error:
        say({"error": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
