"""One process at a time trains in a folder: a live lock is respected, a stale one taken over, by one process."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from glat.errors import UserError
from glat.runs import lock


@pytest.fixture(autouse=True)
def _released():
    yield
    lock.release()


@pytest.fixture(scope="module")
def another():
    """A process that lives."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate(b"\n")


def write(folder, **changes):
    lock.take(folder)
    holder = json.loads((folder / lock.LOCK).read_text())
    lock.release()
    (folder / lock.LOCK).write_text(json.dumps(holder | changes))


def test_a_lock_says_who_holds_it_and_goes_with_its_holder(tmp_path):
    lock.take(tmp_path)
    lock.take(tmp_path)
    assert lock.holds(tmp_path)
    holder = json.loads((tmp_path / lock.LOCK).read_text())
    assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
    lock.release()
    assert not list(tmp_path.iterdir())
    assert not lock.holds(tmp_path)


def test_a_process_that_lives_keeps_its_folder(tmp_path, another):
    write(tmp_path, pid=another, started=lock._started(another))
    for refused in (lock.take, lock.check):
        with pytest.raises(UserError, match=f"process {another} on this machine trains in .*; wait for its end, or"):
            refused(tmp_path)
    lock.release()
    assert (tmp_path / lock.LOCK).exists(), "another's"


@pytest.mark.parametrize("kind", ["ended", "its number is another's now", "cut short", "empty"])
def test_a_stale_lock_is_taken_over(tmp_path, another, kind, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    if kind == "ended":
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        write(tmp_path, pid=ended.pid)
    elif kind == "its number is another's now":
        write(tmp_path, pid=another, started="1")
    else:
        (tmp_path / lock.LOCK).write_text('{"host": "a", "pi' if kind == "cut short" else "")
    lock.take(tmp_path)
    assert json.loads((tmp_path / lock.LOCK).read_text())["pid"] == os.getpid()


def test_a_lock_of_another_host_is_removed_by_hand(tmp_path):
    write(tmp_path, host="node7", pid=12)
    with pytest.raises(UserError, match=r"process 12 on node7 trains in .*, if it is gone, remove .*\.glat-lock"):
        lock.take(tmp_path)
    (tmp_path / lock.LOCK).unlink()
    lock.take(tmp_path)


def test_of_many_that_take_a_stale_lock_over_one_gets_it(tmp_path):
    for _ in range(5):
        write(tmp_path, started="1", pid=1 << 22)  # no process has this number
        read, ready = os.pipe()
        pids = []
        for _ in range(8):
            if (pid := os.fork()) == 0:
                status = 1
                try:
                    os.read(read, 1)
                    lock.take(tmp_path)
                    time.sleep(0.2)  # the others are to find it held
                    status = 0
                finally:
                    os._exit(status)
            pids.append(pid)
        os.write(ready, b"." * 8)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        assert sorted(statuses) == [0] + [1] * 7
        (tmp_path / lock.LOCK).unlink()
