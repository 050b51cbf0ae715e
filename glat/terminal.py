"""The one way to a terminal: lines and tables whose text cannot move a cursor or pass for another line."""

import re
import textwrap
from typing import Any

import rich.console
import rich.table
from rich.text import Text

from .text import shown

_LABEL = re.compile(r"\w[\w ]{0,12}?\s{2,}")  # as in "device      CPU, 2 threads"

__all__ = ["Console", "Table", "Text"]


class Console(rich.console.Console):
    """rich's console for lines that hold names and labels: `shown`, without markup, emoji codes and highlighting."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print lines, and tables of `Table`: lines wrap at words on a terminal, and are never cut anywhere else."""
        if self.is_terminal:
            options["soft_wrap"] = all(isinstance(item, str) for item in objects)
        super().print(*(self._line(item) if isinstance(item, str) else item for item in objects), **options)

    def _line(self, text: str) -> str:
        """A line as it is shown; on a terminal wrapped, what is wrapped below what it belongs to."""
        text = shown(text)
        if not self.is_terminal or len(text) <= self.width:
            return text
        label = _LABEL.match(text)
        indent = " " * (label.end() if label else 2)
        # Words longer than a line, which are paths, stay whole: they can be copied.
        return textwrap.fill(text, self.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


class Table(rich.table.Table):
    """rich's table, whose cells are `shown`; a cell of several lines of our own is given as `Text`."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a line."""
        super().add_row(*(Text(shown(cell)) if isinstance(cell, str) else cell for cell in cells), **options)
