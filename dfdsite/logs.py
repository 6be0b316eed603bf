"""Logs: one line an event, as JSON where a machine reads them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import structlog

_shared: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


class OneLineARequest(logging.Filter):
    """Leaves out the line that a request has come: the one that it is answered says the same and more.

    A client that polls would have two lines a second.  The level DEBUG shows both.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for the event `request_started`."""
        return not (isinstance(record.msg, dict) and record.msg.get("event") == "request_started")


class SweepsAreQuiet(logging.Filter):
    """Leaves out that a sweep was sent, received and has succeeded: that is so every few seconds, day and night.

    What a sweep did, and what went wrong in it, has lines of its own.  The level DEBUG shows all.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for Celery's routine lines of the task `worker.tasks.sweep`."""
        args = record.args.values() if isinstance(record.args, Mapping) else record.args or ()
        return record.levelno > logging.INFO or "worker.tasks.sweep" not in args


def configured(*, as_json: bool, level: str) -> dict[str, Any]:
    """Django's LOGGING; structlog itself is set up on the way."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    # Plain tracebacks: the default one, where `rich` is installed, prints local variables (tokens, too) and takes
    # seconds.
    lines: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    quiet = level != "DEBUG"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *lines],
                "foreign_pre_chain": _shared,
            },
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["console"], "level": level},
        "filters": {"one_line_a_request": {"()": OneLineARequest}, "sweeps_are_quiet": {"()": SweepsAreQuiet}},
        "loggers": {
            "django.server": {"handlers": ["console"], "propagate": False},
            "django_structlog.middlewares.request": {"filters": ["one_line_a_request"] if quiet else []},
            **{
                name: {"filters": ["sweeps_are_quiet"] if quiet else []}
                for name in ("celery.beat", "celery.worker.strategy", "celery.app.trace")
            },
        },
    }
