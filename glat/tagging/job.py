"""A tagging job: each recording's events are written whole or not at all, and a killed job goes on where it was.

Beside the output lies a journal of JSON lines: what the job was asked, then a line for each recording that is done,
with the length that the output had behind it. A process that goes on cuts the output to the last of these lengths.
"""

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ..data.parallel import Part
from ..errors import UserError
from ..files import replaced, to_json_text, try_lock
from .events import TaggedEvent
from .formats import text_format, write_parquet

JOURNAL = ".job.jsonl"  # how its name ends


@dataclass(frozen=True)
class Done:
    """A recording that the journal holds."""

    file: str
    windows: int  # that reached the model
    rows: int
    bytes: int  # of the output behind it; 0 where each recording has a file of its own
    error: str | None


class Job:
    """Where the events of many recordings go, and how far they are.

    Args:
        out: a file, or a folder for one file a recording.
        format_name: one of `FORMATS`.
        settings: all that the events depend on beside the recordings.
        names: of the recordings, in order.
        in_folder: whether `out` is a folder.
        part: of the recordings, where several processes share a folder.

    Attributes:
        done: the recordings that an earlier process finished, in order.

    Raises:
        UserError: a folder of something else, or of a job with other recordings or settings; a job that another
            process is at; several recordings for a format that holds one a file.
    """

    def __init__(
        self,
        out: Path,
        format_name: str,
        settings: Mapping[str, Any],
        names: Sequence[str],
        *,
        in_folder: bool,
        part: Part | None = None,
    ) -> None:
        self.out, self.names, self.in_folder = out, list(names), in_folder
        self.format, self.is_parquet = text_format(format_name), format_name == "parquet"
        if self.format.one_recording and not in_folder and len(names) > 1:
            raise UserError(
                f"--events {out}: a file of {format_name} holds the events of one recording, and there are "
                f"{len(names)}; give a folder: --events {out.with_suffix('')}/ --format {format_name}"
            )
        if in_folder and self.is_parquet:
            raise UserError(
                f"--events {out}: parquet is one file for all recordings; give a file that ends in .parquet"
            )
        self.journal = (
            (part or Part()).named(out / f"glat{JOURNAL}") if in_folder else out.with_name(out.name + JOURNAL)
        )
        # Parquet cannot be added to: its rows are collected as JSON lines, of which it is made at the end.
        self.rows_file = out.with_name(out.name + ".rows.jsonl") if self.is_parquet else out
        digest = hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()
        self.asked = {"format": format_name, **settings, "recordings": len(names), "names_sha256": digest}
        self.done: list[Done] = []
        begun = self.journal.exists()
        if in_folder and not begun:
            self._make_folder()
        self._file = self._hold()
        try:
            if begun and (lines := self.journal.read_bytes().split(b"\n"))[1:]:
                self._go_on(lines)
            else:
                self._begin()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def begun(out: Path) -> bool:
        """Whether a file is that of a job, which can go on."""
        journal = out.with_name(out.name + JOURNAL)
        return journal.exists() and journal.stat().st_size > 0

    @property
    def rows(self) -> int:
        """Events that are written."""
        return sum(done.rows for done in self.done)

    @property
    def failed(self) -> list[Done]:
        """The recordings that could not be read."""
        return [done for done in self.done if done.error is not None]

    def commit(self, events: Sequence[TaggedEvent], windows: int, error: str | None) -> None:
        """Write the events of the next recording."""
        name = self.names[len(self.done)]
        length = 0
        if self.in_folder:
            if error is None:
                path = self.file_of(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with replaced(path) as temporary:
                    temporary.write_text(self.format.header + self.format.rows(events, 0), encoding="utf-8", newline="")
        else:
            with self.rows_file.open("ab") as file:
                file.write(self.format.rows(events, self.rows).encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
                length = file.tell()
        done = Done(name, windows, len(events), length, error)
        self._note(asdict(done))
        self.done.append(done)

    def finish(self) -> None:
        """Make what can only be made at the end."""
        if self.is_parquet and self.rows_file.exists():
            with replaced(self.out) as temporary:
                write_parquet(self.rows_file, temporary)
            self.rows_file.unlink()

    def close(self) -> None:
        """Let other processes go on with the job."""
        self._file.close()

    def file_of(self, name: str) -> Path:
        """Where the events of a recording go, of a job in a folder."""
        relative = Path(os.path.relpath(Path(name).absolute(), self._root))
        return self.out / relative.with_name(relative.name + self.format.suffix)

    @functools.cached_property
    def _root(self) -> str:
        """The folder that all recordings lie in."""
        try:
            return os.path.commonpath([Path(name).absolute().parent for name in self.names])
        except ValueError:  # Windows
            raise UserError(f"--events {self.out}: the recordings lie on several drives; give a file") from None

    def _make_folder(self) -> None:
        if self.out.is_dir() and not any(self.out.glob(f"*{JOURNAL}")) and any(self.out.iterdir()):
            raise UserError(f"--events {self.out} is a folder of something else; give a new or an empty one")
        self.out.mkdir(parents=True, exist_ok=True)

    def _hold(self) -> IO[bytes]:
        """The journal, to be added to by this process alone."""
        file = self.journal.open("ab")
        if not try_lock(file):
            file.close()
            raise UserError(
                f"--events {self.out}: another process is writing it; wait for its end, or share the work in a folder "
                "with --part"
            )
        return file

    def _note(self, entry: Mapping[str, Any]) -> None:
        """Add a line to the journal."""
        self._file.write((to_json_text(entry) + "\n").encode("utf-8", "backslashreplace"))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _begin(self) -> None:
        if not self.in_folder:
            self.out.unlink(missing_ok=True)  # whose kind the caller has looked at
        self._file.truncate(0)  # a kill may have cut the first line short
        self._note(self.asked)
        if not self.in_folder:
            self.rows_file.write_bytes(self.format.header.encode())

    def _go_on(self, lines: list[bytes]) -> None:
        try:
            recorded = json.loads(lines[0])
            # What follows the last line end is a line that a kill cut short.
            self.done = [Done(**json.loads(line)) for line in lines[1:-1]]
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.journal} is damaged ({error}); remove it and {self.out} to start anew") from None
        for key in dict.fromkeys([*self.asked, *recorded]):
            if recorded.get(key) != self.asked.get(key):
                raise UserError(
                    f"--events {self.out} was begun with {_said(key, recorded)}, and is now asked for with "
                    f"{_said(key, self.asked)}; ask as before to go on, or give another --events"
                )
        self._file.truncate(sum(len(line) + 1 for line in lines[:-1]))
        if self.in_folder or (self.is_parquet and len(self.done) == len(self.names) and self.out.exists()):
            return
        if not self.done:
            self.rows_file.write_bytes(self.format.header.encode())
            return
        length = self.done[-1].bytes
        if not self.rows_file.exists() or self.rows_file.stat().st_size < length:
            raise UserError(
                f"{self.rows_file} has been changed since: it is shorter than {self.journal.name} says; remove both "
                "to start anew"
            )
        with self.rows_file.open("r+b") as file:
            file.truncate(length)


def _said(key: str, values: Mapping[str, Any]) -> str:
    what = {"names_sha256": "other recordings", "recordings": f"{values.get(key)} recordings"}
    return what.get(key) or f"{key} {values.get(key, 'unset')}"
