"""The embedded broker: one per folder, apart from its starter, and nothing is lost by a kill -9."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.stack import wait_for
from worker.management.commands import up
from worker.process import embedded_broker
from worker.process.embedded_broker import BrokerError, BrokerSilentError


def client(folder: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(folder / "valkey.sock"))


def unwritten(broker: redis.Redis) -> int:
    """Bytes of the log that are not with the kernel yet, and syncs that have begun."""
    told: dict[str, int] = dict(broker.info("persistence"))
    return told["aof_buffer_length"] + told["aof_pending_bio_fsync"]


@contextmanager
def paused(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


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


def test_one_that_is_silent_is_waited_for_and_gets_no_second_beside_it(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = embedded_broker.ensure()
    client(embedded).lpush("queue", "message")
    socket = (embedded / "valkey.sock").stat().st_ino
    monkeypatch.setattr(embedded_broker, "ANSWER_TIMEOUT_S", 0.2)
    with paused(pid):
        with pytest.raises(BrokerSilentError, match=rf"process {pid}\) runs and does not answer"):
            embedded_broker.ensure(patience_s=0)
        assert (embedded / "valkey.sock").stat().st_ino == socket
        with monkeypatch.context() as patch:
            patch.setattr(time, "sleep", lambda _: os.kill(pid, signal.SIGCONT))  # while it is being waited for
            patch.setattr(embedded_broker, "ANSWER_TIMEOUT_S", 0.2)
            assert embedded_broker.ensure() == pid
    assert client(embedded).llen("queue") == 1


def test_one_that_loads_its_data_is_not_started_again(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = embedded_broker.ensure()

    def loads(_: object) -> None:
        raise redis.exceptions.BusyLoadingError("loading the dataset in memory")

    with monkeypatch.context() as patch:
        patch.setattr(redis.Redis, "ping", loads)
        with pytest.raises(BrokerSilentError, match="loading"):
            embedded_broker.ensure(patience_s=0)
    assert embedded_broker.ensure() == pid


def test_one_that_has_lost_its_socket_is_not_replaced_while_it_lives(embedded: Path) -> None:
    pid = embedded_broker.ensure()
    (embedded / "valkey.sock").unlink()
    with pytest.raises(BrokerSilentError, match=f"process {pid}"):
        embedded_broker.ensure(patience_s=0)
    os.kill(pid, signal.SIGKILL)
    second = embedded_broker.ensure()
    assert second != pid
    (embedded / "valkey.sock").unlink()
    assert embedded_broker.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_another_process_with_the_number_of_a_dead_broker_keeps_none_from_starting(embedded: Path) -> None:
    pid = embedded_broker.ensure()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not embedded_broker._is_alive(pid), "its end")
    (embedded / "valkey.pid").write_text(f"{os.getpid()}\n")
    assert embedded_broker.ensure(patience_s=0) not in (pid, os.getpid())


def test_up_says_that_it_is_silent_and_goes_on(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    watch = up.BrokerWatch(said.append)
    watch.look()
    pid = embedded_broker.running_pid()
    assert pid is not None
    assert said == []
    monkeypatch.setattr(up, "PATIENCE_S", 0)
    monkeypatch.setattr(embedded_broker, "ANSWER_TIMEOUT_S", 0.2)
    with paused(pid):
        watch.look()
        watch.look()
        assert len(said) == 1
        assert f"process {pid}) runs and does not answer" in said[0]
    monkeypatch.setattr(embedded_broker, "ANSWER_TIMEOUT_S", 60.0)
    watch.look()
    watch.look()
    assert said[1:] == [f"The embedded broker (process {pid}) answers again."]
