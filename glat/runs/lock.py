"""One process at a time trains in a run's folder."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".glat-lock"  # hidden, as all that a killed start may leave in a folder
_held: set[Path] = set()


def take(folder: Path) -> None:
    """Hold a run's folder until `release`; a lock whose process has ended is taken over.

    The file says who holds it: host, process and when that process started, since numbers of processes are used again.

    Raises:
        UserError: another process holds the folder, or may hold it on another host.
    """
    path = (folder / LOCK).resolve()
    mine = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}) + "\n"
    while path not in _held:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            with os.fdopen(descriptor, "w") as file:
                file.write(mine)
            _held.add(path)
        except OSError as error:
            if not isinstance(error, FileExistsError):
                raise UserError(f"{path} cannot be written ({error.strerror}); choose another --run-dir") from None
            text = _read(path)
            if text is not None and text != mine:  # not gone meanwhile, nor left by an earlier run of this process
                check(folder)
            if text is not None and _replace(path, text, mine):
                _held.add(path)


def holds(folder: Path) -> bool:
    """Whether this process holds a folder."""
    return (folder / LOCK).resolve() in _held


def check(folder: Path) -> None:
    """Raise UserError where another process holds a folder, or may hold it on another host."""
    path = folder / LOCK
    try:
        holder = json.loads(_read(path) or "null")
        host, pid, started = str(holder["host"]), int(holder["pid"]), str(holder["started"])
    except (ValueError, KeyError, TypeError):  # no lock, or one that a kill cut short
        return
    if host != socket.gethostname():
        raise UserError(
            f"process {pid} on {host} trains in {folder}; wait for its end, or, if it is gone, remove {path}"
        )
    if pid != os.getpid() and _started(pid) in ("", started):
        raise UserError(f"process {pid} on this machine trains in {folder}; wait for its end, or end it")


def release() -> None:
    """Give back what this process holds."""
    while _held:
        path = _held.pop()
        with suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads(path.read_text())["pid"] == os.getpid():  # else somebody removed ours, and another took it
                path.unlink()


@contextmanager
def released() -> Iterator[None]:
    """Give back at the end of the block, or of the function this decorates, what it took."""
    try:
        yield
    finally:
        release()


def _read(path: Path) -> str | None:
    """The text of a lock, empty where a kill cut it short; None: there is none."""
    for _ in range(10):  # it is made, then written
        try:
            if text := path.read_text(errors="replace"):
                return text
        except FileNotFoundError:
            return None
        time.sleep(0.1)
    return ""


def _replace(path: Path, text: str, mine: str) -> bool:
    """Write another text over that of a lock; False where it is another by now."""
    try:
        with path.open("r+", errors="replace") as file:
            if fcntl is not None:
                with suppress(OSError):  # a file system without locks
                    # Of two processes that take the lock over at once, the second waits here and finds another text.
                    fcntl.flock(file, fcntl.LOCK_EX)
            if file.read() != text:
                return False
            file.seek(0)
            file.write(mine)
            file.truncate()
            return True
    except FileNotFoundError:
        return False


def _started(pid: int) -> str | None:
    """When a process of this machine started, in the system's own words; empty: it runs; None: it does not."""
    if os.name != "posix":
        return ""  # os.kill would end it; a lock is then removed by hand
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # another user's
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else fields[18]  # in ticks since the machine started
    except OSError:
        pass
    try:
        return subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
