"""Whether the files behind the clips are still those that were opened."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import remote
from .parallel import in_parallel

_NO_FILE = (-1, -1, -1)


def _none() -> NDArray[np.int64]:
    return np.empty((0, 3), np.int64)


@dataclass(frozen=True, eq=False)
class Stamps:
    """Files with their size, time of modification and inode as they were when they were opened.

    Of a file elsewhere the tag of its storage (ETag) stands in place of the time, and 0 in place of the inode. Not
    their content, which would have to be read: a file of the same length and time with other content is missed unless
    it is another file (another inode).
    """

    paths: tuple[Path, ...] = ()
    values: NDArray[np.int64] = field(default_factory=_none)  # [M, 3]: bytes, nanoseconds, inode; -1: no such file

    @staticmethod
    def of(paths: Iterable[Path], workers: int | None = None) -> "Stamps":
        """Look at files."""
        found = tuple(paths)
        values = in_parallel(lambda i: _stamp(found[i]) or _NO_FILE, len(found), workers)
        return Stamps(found, np.array(values, np.int64).reshape(-1, 3))

    def subset(self, rows: Sequence[int]) -> "Stamps":
        """Those of some files."""
        return Stamps(tuple(self.paths[row] for row in rows), self.values[list(rows)])

    def changed(self, rows: range) -> list[Path]:
        """Which of some files are others now, or gone; of those that cannot be looked at nothing is said."""
        return [
            self.paths[row]
            for row in rows
            if (now := _stamp(self.paths[row])) is not None and now != tuple(self.values[row].tolist())
        ]

    def changed_since(self, before: NDArray[np.int64]) -> list[Path]:
        """Which files differ from the `values` that another process noted of the same files.

        Inodes count where at least one is still the same: a copy of the whole folder has others everywhere.
        """
        if before.shape != self.values.shape:
            return []  # other files: the run's fingerprint says so
        differ = before != self.values
        if differ[:, 2].all():
            differ = differ[:, :2]
        return [self.paths[row] for row in np.flatnonzero(differ.any(1))]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    if remote.is_remote(path):
        return remote.stamp(path)
    try:
        found = path.stat()
    except OSError:
        return _NO_FILE
    return found.st_size, found.st_mtime_ns, found.st_ino & (2**63 - 1)
