"""Messages of other versions: during an upgrade, and after one is taken back, workers meet what they did not send."""

from __future__ import annotations

import inspect
from typing import Any

import structlog
from celery import Task

log = structlog.get_logger(__name__)


class Job(Task):  # type: ignore[type-arg]
    """A task that takes the arguments it knows and leaves others alone.

    What is to be done is in the row that the message names, so nothing is lost with an argument of a later version.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task with the arguments that it knows."""
        known = list(inspect.signature(self.run).parameters)
        taken = {name: value for name, value in kwargs.items() if name in known}
        if len(args) > len(known) or len(taken) < len(kwargs):
            unknown = [*(repr(value)[:60] for value in args[len(known) :]), *(kwargs.keys() - taken.keys())]
            log.warning("unknown_arguments", task=self.name, unknown=unknown)
        return super().__call__(*args[: len(known)], **taken)
