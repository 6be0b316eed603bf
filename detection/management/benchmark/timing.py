"""Time pages and workspace calls, and count their queries."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from detection.management.benchmark.pages import Page, admin_lists, plain_pages, rest_pages, video_pages
from detection.services.reviews import queues, workspace

ENOUGH_S = 10.0
"""No page is loaded again after it has taken this long in all."""


@dataclass(frozen=True)
class Timing:
    """One page's times in milliseconds, its number of queries and its HTTP status."""

    who: str
    group: str
    page: str
    url: str
    status: int
    queries: int
    median_ms: float
    min_ms: float
    max_ms: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as a dictionary."""
        return asdict(self)


def browser(user: User) -> Client:
    """Return a client that is logged in as the user."""
    client = Client(SERVER_NAME="localhost", raise_request_exception=True)
    client.force_login(user)
    return client


def all_pages(*, root: User, reviewer: User, owner: User) -> Iterator[tuple[str, Client, Page]]:
    """Yield the pages of a superuser, a reviewer and a client."""
    as_root, as_reviewer, as_owner = browser(root), browser(reviewer), browser(owner)
    for page in (*plain_pages(root), *admin_lists(root), *video_pages()):
        yield "superuser", as_root, page
    for page in (*plain_pages(reviewer), *admin_lists(reviewer, combined=False), *video_pages()):
        yield "reviewer", as_reviewer, page
    for queue in queues.QUEUES:
        yield "reviewer", as_reviewer, Page("workspace", f"the page, {queue}", f"{reverse('review')}?queue={queue}")
    for name in ("metrics", "readyz"):
        yield "superuser", as_root, Page("operating", name, reverse(f"api:{name}"))
    for page in rest_pages():
        yield "reviewer", as_reviewer, page
        if not page.name.startswith(("video", "faces", "reviews", "task")) or page.name.startswith("videos"):
            yield "client", as_owner, page


def time_page(who: str, client: Client, page: Page, *, repeat: int) -> Timing | None:
    """Time one page; None if it takes no GET or is not for this user."""
    return timed(who, page, lambda: client.get(page.url, secure=settings.HTTPS), repeat=repeat)


def timed(who: str, page: Page, load: Callable[[], Any], *, repeat: int) -> Timing | None:
    """Load once to count queries, then `repeat` times to measure."""
    with CaptureQueriesContext(connection) as captured:
        response: HttpResponse = load()
    queries = len(captured)  # the next request forgets them
    if response.status_code in (302, 403, 404, 405):
        return None
    taken: list[float] = []
    while len(taken) < repeat and (not taken or sum(taken) < ENOUGH_S * 1000):
        started = time.perf_counter()
        load()
        taken.append((time.perf_counter() - started) * 1000)
    return _timing(who, page, response.status_code, queries, taken)


def time_workspace(reviewer: User, *, repeat: int) -> list[Timing]:
    """Time the workspace's calls for each queue: next, answer, undo."""
    client = browser(reviewer)
    found: list[Timing] = []
    for queue in (queues.MIXED, *queues.QUEUES):
        taken: dict[str, list[float]] = {}
        queries: dict[str, int] = {}
        for turn in range(repeat + 1):
            for name, ms, count in _round(client, queue):
                queries.setdefault(name, count)
                if turn:  # the first time was for the count of queries
                    taken.setdefault(name, []).append(ms)
        found += [
            _timing("reviewer", Page("workspace", f"{name}, {queue}", _call(name)), 200, queries[name], times)
            for name, times in taken.items()
        ]
    return found


def _round(client: Client, queue: str) -> list[tuple[str, float, int]]:
    """Call next, answer, undo and release, so that each round finds what the first did; return (name, ms, queries)."""
    rows = []

    def call(name: str, **body: Any) -> Any:
        with CaptureQueriesContext(connection) as queries:
            started = time.perf_counter()
            response = client.post(
                _call(name), json.dumps(body), content_type="application/json", secure=settings.HTTPS
            )
            ms = (time.perf_counter() - started) * 1000
        answer = response.json()
        assert response.status_code == 200, (queue, name, answer)
        rows.append((name, ms, len(queries)))
        return answer

    item = call("next", queue=queue)["item"]
    if item is not None:
        call("answer", claim=item["claim"], label="real", seconds=3)
        again = call("undo")["item"]
        if again is not None:
            call("release", claims=[again["claim"]])
    return rows


def _call(name: str) -> str:
    return reverse(f"review-{name}")


def _timing(who: str, page: Page, status: int, queries: int, taken: list[float]) -> Timing:
    low, middle, high = (round(value, 1) for value in (min(taken), median(taken), max(taken)))
    return Timing(who, page.group, page.name, page.url, status, queries, middle, low, high)


def claim_as(reviewers: tuple[User, ...]) -> None:
    """Claim a video for each reviewer, from every queue in turn."""
    for number, reviewer in enumerate(reviewers):
        workspace.next_item(reviewer=reviewer, queue=queues.QUEUES[number % len(queues.QUEUES)])
