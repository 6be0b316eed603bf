"""What the tests of all folders share: a state of their own, and which of them run beside each other.

`make test` runs two processes (pytest-xdist).  A file's tests stay together, so that what a module prepares is prepared
once.  Tests that start the product's processes or kill them (`e2e`, `chaos`) are one group, which one process works
through from the beginning: two products at once would starve each other, and only they wait rather than compute.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from detection import dispatch

STACKS = "stacks"
# The same examples each time, however long one takes: neither chance nor the load of the machine decides.
hypothesis.settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("steady")


# --- who runs where --------------------------------------------------------------------------------------------------


def is_worker(config: pytest.Config) -> bool:
    """Whether this is one of pytest-xdist's processes."""
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if not is_worker(config):
        os.environ["DFD_TESTS_SHARED"] = tempfile.mkdtemp(prefix="dfd-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not is_worker(config):
        shutil.rmtree(os.environ["DFD_TESTS_SHARED"], ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("e2e") or item.get_closest_marker("chaos"):
            item.add_marker(pytest.mark.xdist_group(STACKS))
    if is_worker(config):  # the longest first, so that both processes end at about the same time
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: (item.get_closest_marker("xdist_group") is None, item.path not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadgroup`, but tests of no group stay with their file."""
    from xdist.scheduler import LoadGroupScheduling

    class ByGroupOrFile(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return super()._split_scope(nodeid).split("::")[0]

    return ByGroupOrFile(config, log) if config.getoption("dist") == "loadgroup" else None


# --- a state of one's own --------------------------------------------------------------------------------------------


@pytest.fixture
def own_state(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own `VAR_DIR` and storage, below `tmp_path`; and a worker that has loaded no model yet."""
    from worker.process import runtime

    settings.VAR_DIR = tmp_path / "var"
    settings.MEDIA_ROOT = str(tmp_path / "media")
    monkeypatch.setattr(runtime, "_loaded", None)
    return tmp_path


@pytest.fixture
def silent_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every message is published, and nobody hears it."""
    monkeypatch.setattr(dispatch, "_publish", lambda task, args: True)
