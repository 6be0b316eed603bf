"""Throttle client programs."""

from __future__ import annotations

import math
from time import time as now
from typing import TYPE_CHECKING, cast

import structlog
from django.conf import settings
from django.core.cache import caches
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from detection.api.counts import Counts

if TYPE_CHECKING:  # REST framework's views import this file
    from rest_framework.views import APIView

log = structlog.get_logger(__name__)

WINDOW_S = 60
KEYS = 4
"""A user's counts take turns in so many keys, each of which has run out before its turn comes again: so a user takes no
more room than that in the table that all share."""


class RequestsAMinute(BaseThrottle):
    """Limit a user's requests per minute of the clock, over all of the user's tokens.

    Requests by session do not count: a reviewer's browser loads dozens of images per page, from our own pages.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count the request; return whether it is within the limit."""
        if request.auth is None:
            return True
        minute, passed = divmod(now(), WINDOW_S)
        self.left_s = WINDOW_S - passed
        return _counted(f"requests:{request.user.pk}:{int(minute) % KEYS}") <= settings.DFD_MAX_REQUESTS_A_MINUTE

    def wait(self) -> float:
        """Return the seconds until the next minute."""
        return math.ceil(self.left_s)


def _counted(key: str) -> int:
    """Return the request's number within its minute, or 0 if the cache is away: nobody is refused for that."""
    try:
        return cast(Counts, caches["requests"]).count(key, timeout=2 * WINDOW_S)
    except Exception as error:  # whatever the cache's library raises when its server is away
        log.warning("requests_not_counted", error=str(error))
        return 0
