"""Files that are written whole or not at all."""

import errno
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import UserError
from .text import escape_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

DRAWN = b"drawn by glat"  # in the metadata of every picture, and so near the beginning or the end of its file
TEMPORARY = ".glat-tmp-"  # begins the names of files that are being written, and of no others
_TEMPORARY_NAME = re.compile(re.escape(TEMPORARY) + r".*-[a-z0-9_]{8}(\.\w+)?")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and is removed when it does not.

    A reader sees the old file or the new one, also after a kill or a power cut between any two instructions. The
    temporary name keeps the suffix, by which libraries choose a format. What a kill leaves of it, `remove_temporary`
    removes.
    """
    with _temporary(path) as temporary:
        yield temporary
        _complete(temporary)
        temporary.replace(path)


def remove_temporary(*folders: Path) -> None:
    """Remove what killed processes left of files that they were writing in these folders.

    Only files go that have a name of `replaced` and lie directly in a folder; no links, and no folders. Call it where
    no other process writes there: while the folder's lock is held.
    """
    for folder in folders:
        if folder.is_dir():
            with os.scandir(folder) as entries:
                left = [entry for entry in entries if _TEMPORARY_NAME.fullmatch(entry.name)]
            for entry in left:
                if entry.is_file(follow_symlinks=False):
                    Path(entry.path).unlink(missing_ok=True)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """An empty temporary file beside `path`, which is gone when the block ends."""
    descriptor, name = tempfile.mkstemp(prefix=f"{TEMPORARY}{path.stem[:100]}-", suffix=path.suffix, dir=path.parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _complete(temporary: Path) -> None:
    """Bring a file to the disk, with the permissions of a new file."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.chmod(0o666 & ~_umask())  # mkstemp's 0600 would hide results from a group


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn an OSError of the block, which writes where the user said, into a UserError.

    Args:
        what: the flag and the path, to begin the message with.
    """
    try:
        yield
    except BrokenPipeError:  # whoever reads our output has enough
        raise
    except OSError as error:
        raise UserError(f"{what} cannot be written ({error.strerror}); choose another") from None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with replaced(path) as temporary:
        temporary.write_text(to_json_text(value, indent=2) + "\n", encoding="utf-8")


def write_new_json(path: Path, value: Any) -> None:
    """As `write_json`, and raise FileExistsError where the file is there already, also for two processes at once."""
    with _temporary(path) as temporary:
        temporary.write_text(to_json_text(value, indent=2) + "\n", encoding="utf-8")
        _complete(temporary)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            temporary.replace(path)


def to_json_text(value: Any, **options: Any) -> str:
    """JSON that every parser takes: NaN and infinities, which JSON does not have, become null.

    Control characters and bidirectional marks are escaped, so that it can be printed.
    """
    return escape_json(json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, **options))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed, or its process ends; False where another process holds the lock.

    Where the system or the file system has no such locks, nobody is kept out.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
