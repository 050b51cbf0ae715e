"""Events on the standard output, for a program behind a pipe: nothing is kept, so that nothing goes on."""

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from ..errors import UserError
from .events import TaggedEvent
from .formats import text_format
from .job import Done

STANDARD_OUTPUT = Path("-")


class Printed:
    """What `Job` is for a file or a folder.

    Args:
        format_name: one of `FORMATS`.
        names: of the recordings, in order.

    Attributes:
        rows: events that are written.
        done: nothing, as there was no process before.

    Raises:
        UserError: a format that is no text, or that holds one recording a file where there are several.
    """

    def __init__(self, format_name: str, names: Sequence[str], stream: TextIO) -> None:
        self.out, self.rows, self.done = STANDARD_OUTPUT, 0, list[Done]()
        if format_name == "parquet":
            raise UserError("--events -: parquet is no text; give a file that ends in .parquet")
        self._format, self._stream = text_format(format_name), stream
        if self._format.one_recording and len(names) > 1:
            raise UserError(
                f"--events -: {format_name} holds the events of one recording, and there are {len(names)}; choose "
                "another --format, or give a folder"
            )
        self._header = self._format.header

    def commit(self, events: Sequence[TaggedEvent], windows: int, error: str | None) -> None:
        """Print the events of the next recording."""
        self._stream.write(self._header + self._format.rows(events, self.rows))
        self._stream.flush()
        self._header, self.rows = "", self.rows + len(events)

    def finish(self) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """The stream is not ours."""
