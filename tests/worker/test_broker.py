"""The embedded broker: one per folder, apart from its starter, and nothing is lost by a kill -9."""

from __future__ import annotations

import os
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from tests.stack import wait_for
from worker.process import embedded_broker
from worker.process.embedded_broker import BrokerError


def client(folder: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(folder / "valkey.sock"))


def unwritten(broker: redis.Redis) -> int:
    """Bytes of the log that are not with the kernel yet, and syncs that have begun."""
    told: dict[str, int] = dict(broker.info("persistence"))
    return told["aof_buffer_length"] + told["aof_pending_bio_fsync"]


def test_many_starters_at_once_get_the_same_broker(embedded: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        pids = set(pool.map(lambda _: embedded_broker.ensure(), range(8)))
    assert len(pids) == 1


def test_it_listens_on_a_private_socket_and_on_no_port(embedded: Path) -> None:
    embedded_broker.ensure()
    assert client(embedded).config_get("port") == {"port": "0"}
    assert stat.S_IMODE((embedded / "valkey.sock").stat().st_mode) == 0o700


def test_a_ctrl_c_in_the_starters_terminal_does_not_reach_it(embedded: Path) -> None:
    pid = embedded_broker.ensure()
    assert os.getsid(pid) == os.getpgid(pid) == pid


def test_what_was_written_survives_a_kill_9(embedded: Path) -> None:
    pid = embedded_broker.ensure()
    for number in range(200):
        client(embedded).lpush("queue", number)
    wait_for(lambda: not unwritten(client(embedded)), "a write to the disk")  # appendfsync everysec
    os.kill(pid, signal.SIGKILL)
    assert embedded_broker.ensure() != pid
    assert client(embedded).llen("queue") == 200


def test_stop_ends_it_and_keeps_the_data(embedded: Path) -> None:
    pid = embedded_broker.ensure()
    client(embedded).lpush("queue", "message")
    assert embedded_broker.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert embedded_broker.running_pid() is None
    assert not embedded_broker.stop()
    embedded_broker.ensure()
    assert client(embedded).lrange("queue", 0, -1) == [b"message"]


def test_a_folder_that_others_may_write_to_is_refused(embedded: Path) -> None:
    embedded.chmod(0o777)
    with pytest.raises(BrokerError, match="nobody else may write"):
        embedded_broker.ensure()
    embedded.chmod(0o700)
