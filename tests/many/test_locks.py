"""On Postgres, two at once where it hurts: nobody gets an error of the database, and what is left agrees."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.many.machines import Machine
from tests.many.servers import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(900)]
Cases = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def cases(postgres: Postgres) -> Iterator[Cases]:
    machine = Machine("locks", {"DATABASE_URL": postgres.migrated("locks")})
    yield json.loads(machine.run([sys.executable, "-m", "tests.many.interleavings"]).splitlines()[-1])
    machine.close()


def test_a_video_that_is_deleted_while_it_is_queued_again_is_gone_and_nothing_deadlocks(cases: Cases) -> None:
    expected = {"first": "queued", "second": "None", "second_waited": True, "there": False}
    assert cases["analyze_and_delete"] == expected


def test_who_asks_for_a_video_that_is_being_deleted_is_told_that_it_is_gone(cases: Cases) -> None:
    assert cases["delete_and_analyze"] == {"first": "None", "second": "not_found", "second_waited": True, "left": 0}
    expected = {"first": "1", "second": "not_found", "second_waited": True, "there": False}
    assert cases["retention_and_analyze"] == expected


def test_a_preview_is_stored_while_its_video_is_deleted(cases: Cases) -> None:
    assert cases["preview_and_delete"] == {"first": "None", "second": "None", "second_waited": True, "there": False}


def test_a_rescore_leaves_alone_what_has_been_queued_again(cases: Cases) -> None:
    found = cases["rescore_and_analyze"]
    assert (found["second"], found["status"], found["newest"]) == ("queued", "queued", "queued")


def test_a_rescore_and_a_workers_verdict_do_not_wait_for_each_other(cases: Cases) -> None:
    found = cases["rescore_and_finish"]
    assert (found["first"], found["second"], found["status"]) == ("0", "None", "succeeded")


def test_of_two_training_runs_asked_for_at_once_one_is_made_though_there_is_no_model(cases: Cases) -> None:
    assert cases["two_runs"] == {"first": "queued", "second": "training_open", "second_waited": True, "open": 1}


def test_a_rollback_and_a_promotion_leave_a_way_back(cases: Cases) -> None:
    assert cases["rollback_and_promotion"] == {
        "first": "True", "second": "True", "second_waited": True, "active_is_the_promoted": True, "way_back": True,
    }  # fmt: skip


def test_the_quota_of_open_analyses_holds_for_requests_at_once(cases: Cases) -> None:
    expected = {"first": "queued", "second": "quota_exceeded", "second_waited": True, "open": 1}
    assert cases["quota_of_analyses"] == expected


def test_an_upload_that_the_sweep_has_taken_for_abandoned_is_refused_whole(cases: Cases) -> None:
    found = cases["sweep_and_upload"]
    assert (found["first"], found["rows_without_a_file"]) == ("storage_late", 0)
