"""Files that are written whole or not at all."""

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UserError


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and is removed when it does not.

    A reader sees the old file or the new one, also after a kill or a power cut between any two instructions. The
    temporary name keeps the suffix, by which libraries choose a format.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp's 0600 would hide results from a group
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn an OSError of the block, which writes where the user said, into a UserError.

    Args:
        what: the flag and the path, to begin the message with.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{what} cannot be written ({error.strerror}); choose another") from None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with replaced(path) as temporary:
        temporary.write_text(to_json_text(value, indent=2) + "\n", encoding="utf-8")


def write_new_json(path: Path, value: Any) -> None:
    """As `write_json`, and raise FileExistsError where the file is there already, also for two processes at once."""
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        write_json(temporary, value)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            temporary.replace(path)


def to_json_text(value: Any, **options: Any) -> str:
    """JSON that every parser takes: NaN and infinities, which JSON does not have, become null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, **options)


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
