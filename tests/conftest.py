"""What the tests of all folders share: a state of their own, and which of them run beside each other.

`make test` runs three processes (pytest-xdist).  A file's tests stay together, so that what a module prepares is
prepared once.  The files whose tests start the product's processes are dealt out as two, and first: they wait more than
they compute, but more than two products at once would starve each other.  Those that share a browser are one as well.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.conf import settings
from django.contrib.auth.models import Group, Permission

from detection import dispatch
from tests import installation

TOGETHER = {
    "browser": ("tests/admin/browser/",),
    "stacks-of-one-machine": (
        "tests/chaos/",
        "tests/e2e/",
        "tests/project/test_demo.py",
        "tests/proxies/",
        "tests/worker/test_throughput.py",
    ),
    "stacks-of-many": (
        "tests/api/test_memory.py",
        "tests/many/",
        "tests/worker/test_import_dataset.py",
        "tests/worker/test_loadtest.py",
    ),
}
"""Each is dealt out as one file; the two of stacks take about as long."""
# The same examples each time, however long one takes: neither chance nor the load of the machine decides.
hypothesis.settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("steady")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Leave the level of the log as it was: a command that a test runs in this process may quieten it for good."""
    root = logging.getLogger()
    level, disabled = root.level, root.manager.disable
    try:
        return (yield)
    finally:
        root.setLevel(level)
        logging.disable(disabled)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector the modules and tests, which stay: they took an eighth of all processor time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)
        gc.enable()


# --- who runs where --------------------------------------------------------------------------------------------------


def is_worker(config: pytest.Config) -> bool:
    """Whether this is one of pytest-xdist's processes."""
    return hasattr(config, "workerinput")


def group_of(nodeid: str) -> str | None:
    """The name in `TOGETHER` that the test's file belongs to, if any."""
    return next((name for name, files in TOGETHER.items() if nodeid.startswith(files)), None)


def pytest_configure(config: pytest.Config) -> None:
    if not is_worker(config):
        os.environ["DFD_TESTS_SHARED"] = tempfile.mkdtemp(prefix="dfd-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not is_worker(config):
        shutil.rmtree(os.environ["DFD_TESTS_SHARED"], ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        # schemathesis names its tests by their operations, but pytest calls them all the same; xdist would run one.
        if not item.nodeid.endswith(item.name):
            item._id = item.id.parse(f"{item.nodeid.rpartition('::')[0]}::{item.name}")
    twice = [name for name, count in Counter(item.nodeid for item in items).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"Tests of the same name, of which xdist would run one: {', '.join(twice)}")
    if is_worker(config):  # the longest first, so that both processes end at about the same time
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: (group_of(item.nodeid) is None, item.path not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadfile`, but the files of each of `TOGETHER` are one."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid) or super()._split_scope(nodeid)

    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


# --- the database ----------------------------------------------------------------------------------------------------


class MigratedRoles:
    """The groups that migrations made, and their permissions, to be made again where a test has emptied all tables."""

    def __init__(self, blocker: Any) -> None:
        self._blocker = blocker
        with blocker.unblock():
            self._permissions = {
                group.name: [permission.natural_key() for permission in group.permissions.all()]
                for group in Group.objects.prefetch_related("permissions__content_type")
            }

    def restore(self) -> None:
        """Without signals, so that no entry of the audit trail tells of it."""
        with self._blocker.unblock():
            if Group.objects.exists():
                return
            permissions = Permission.objects.select_related("content_type")
            known = {permission.natural_key(): permission for permission in permissions}
            made = Group.objects.bulk_create([Group(name=name) for name in self._permissions])
            member = Group.permissions.through
            member.objects.bulk_create(
                [member(group=group, permission=known[key]) for group in made for key in self._permissions[group.name]]
            )


ROLES = pytest.StashKey[MigratedRoles]()


@pytest.fixture(scope="session")
def django_db_keepdb(request: pytest.FixtureRequest, django_db_modify_db_settings: None) -> bool:
    """Whether the tables are there already: pytest-xdist's processes copy those that one of them has made."""
    database = settings.DATABASES["default"]
    if not is_worker(request.config) or database["ENGINE"] != "django.db.backends.sqlite3":
        return bool(request.config.getvalue("reuse_db"))
    shutil.copy(installation.migrated(), database["TEST"]["NAME"])
    return True


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> None:
    """As pytest-django has it; and remember the groups."""
    request.config.stash[ROLES] = MigratedRoles(django_db_blocker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """A test that commits empties all tables when it ends; the tests after it count on the groups."""
    try:
        return (yield)
    finally:
        marker = item.get_closest_marker("django_db")
        commits = (marker and marker.kwargs.get("transaction")) or "live_server" in getattr(item, "fixturenames", ())
        roles = item.config.stash.get(ROLES, None)
        if commits and roles and nextitem:
            roles.restore()


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
