from __future__ import annotations

import logging
from typing import Any

import pytest
from celery.app.trace import LOG_FAILURE, LOG_RECEIVED, LOG_SUCCESS

from dfdsite import logs

BEAT = "Scheduler: Sending due task %s (%s)"


def record(message: str, *args: Any, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("celery", level, __file__, 1, message, args, None)


def facts(task: str) -> dict[str, str]:
    return {"id": "1", "name": task, "runtime": "0.1", "return_value": "None", "exc": "boom", "description": "raised"}


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (False, record(BEAT, "sweep", "worker.tasks.sweep")),
        (False, record(LOG_RECEIVED, facts("worker.tasks.sweep"))),
        (False, record(LOG_SUCCESS, facts("worker.tasks.sweep"))),
        (True, record(LOG_FAILURE, facts("worker.tasks.sweep"), level=logging.ERROR)),
        (True, record(LOG_SUCCESS, facts("worker.tasks.extract"))),
        (True, record(BEAT, "retain", "worker.tasks.retain")),
        (True, record("beat: Starting...")),
    ],
)
def test_that_a_sweep_came_and_went_is_no_line_but_that_it_failed_is(shown: bool, said: logging.LogRecord) -> None:
    assert said.getMessage()
    assert logs.SweepsAreQuiet().filter(said) is shown


@pytest.mark.parametrize(("level", "filters"), [("INFO", ["sweeps_are_quiet"]), ("DEBUG", [])])
def test_only_debug_shows_all(level: str, filters: list[str]) -> None:
    loggers = logs.configured(as_json=True, level=level)["loggers"]
    for name in ("celery.beat", "celery.worker.strategy", "celery.app.trace"):
        assert loggers[name]["filters"] == filters
