"""Files that a command writes where its user says: never over what it reads, nor over what is not its own."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .files import DRAWN, replaced, writing
from .runs.folder import record_of

_LOOKED_AT = 1 << 16  # bytes at each end of a file that tell what it is


@dataclass(frozen=True)
class Kind:
    """A kind of result, and how a file of it is told from any other.

    Args:
        what: to be said, such as "a table of glat evaluate".
        begins: a pattern that the first bytes of such a file match.
        holds: bytes that lie near its beginning or its end.
    """

    what: str
    begins: str = ""
    holds: bytes = b""

    def is_of(self, path: Path) -> bool:
        """Whether a file is of this kind; an empty one is of any: nothing is lost with it."""
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT)
            file.seek(0, os.SEEK_END)
            file.seek(max(len(head), file.tell() - _LOOKED_AT))
            tail = file.read()
        matches = re.match(self.begins.encode(), head) is not None
        return not head or (matches and self.holds in head + tail)


PICTURE = Kind("a picture that glat drew", holds=DRAWN)


@dataclass(frozen=True)
class Output:
    """A file to write; looked at before the work is begun, and again before it is written.

    Args:
        flag: that names it, for messages.
        path: of the file; its folder exists.
        kind: what is written: a file of the same kind is replaced.
        reads: files and folders that the command reads. Neither such a file is written over, nor one in such a folder
            that is of another kind.
        overwrite: whether the user said that a file of another kind is to be replaced.

    Raises:
        UserError: a path that is no place for a file, is read by the command, is of a run's record, or holds a file of
            another kind.
    """

    flag: str
    path: Path
    kind: Kind
    reads: tuple[Path, ...] = ()
    overwrite: bool = False

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise UserError where the file must not be written."""
        named = f"{self.flag} {self.path}"
        if self.path.is_dir() or not self.path.parent.is_dir():
            raise UserError(f"{named}: give a file in a folder that exists")
        if any(_same(self.path, other) for other in self.reads):
            raise UserError(f"{named} is a file that this command reads; choose another name")
        if (run := record_of(self.path.resolve())) is not None:
            raise UserError(f"{named} belongs to the record of the run in {run}; choose another name")
        if not self.path.exists():
            return
        if not self.path.is_file():
            raise UserError(f"{named} is neither a file nor free; choose another name")
        try:
            own = self.kind.is_of(self.path)
        except OSError as error:
            raise UserError(f"{named} exists and cannot be read ({error.strerror}); choose another name") from None
        if own:
            return
        if any(self.path.resolve().is_relative_to(folder.resolve()) for folder in self.reads if folder.is_dir()):
            raise UserError(f"{named} lies among the files that this command reads; choose another name")
        if not self.overwrite:
            raise UserError(
                f"{named} exists and is not {self.kind.what}; choose another name, or add --overwrite to replace it"
            )

    @contextmanager
    def replaced(self) -> Iterator[Path]:
        """A temporary path that takes the file's place when the block ends well, as of `glat.files.replaced`."""
        self.check()
        with writing(f"{self.flag} {self.path}"), replaced(self.path) as temporary:
            yield temporary


def read_by(*paths: Path | Iterable[Path] | None) -> tuple[Path, ...]:
    """The paths among flags of which some are left out and some are many."""
    found: list[Path] = []
    for path in paths:
        if isinstance(path, Path):
            found.append(path)
        elif path is not None:
            found += path
    return tuple(found)


def _same(path: Path, other: Path) -> bool:
    """Whether two names are of one file, through links too."""
    try:
        return path.samefile(other)
    except OSError:  # one of them does not exist
        return path.resolve() == other.resolve()
