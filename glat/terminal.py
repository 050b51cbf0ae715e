"""The one way to a terminal: lines and tables whose text cannot move a cursor or pass for another line."""

from typing import Any

import rich.console
import rich.table
from rich.text import Text

from .text import shown

__all__ = ["Console", "Table", "Text"]


class Console(rich.console.Console):
    """rich's console for lines that hold names and labels: `shown`, without markup, emoji codes and highlighting."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print lines, and tables of `Table`."""
        super().print(*(shown(item) if isinstance(item, str) else item for item in objects), **options)


class Table(rich.table.Table):
    """rich's table, whose cells are `shown`; a cell of several lines of our own is given as `Text`."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a line."""
        super().add_row(*(Text(shown(cell)) if isinstance(cell, str) else cell for cell in cells), **options)
