"""Text of others (labels, names of files, messages of libraries) on its way out: shown as it is, and never obeyed.

A label can hold an escape sequence that moves a terminal's cursor, a newline that makes one log line two, a mark that
turns the direction of what follows, or a spreadsheet's formula. One function a sink makes it safe: `shown` for lines,
`escape_json` for JSON, `CsvWriter` for CSV; `glat.terminal` uses them for all that the commands print.
"""

import csv
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import IO, Any

# Control characters (C0, DEL, C1), the marks and overrides of bidirectional text, line and paragraph separators, and
# surrogates: bytes of a file's name that are not UTF-8.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
# A spreadsheet takes what begins with = or @ for a formula. What begins with + or - is one too, but only words and
# numbers in it call nothing, and many names of AudioSet's recordings begin with a minus.
_FORMULA = re.compile(r"[=@]|[+-](?![\w.-]*$)")


def shown(text: object) -> str:
    r"""A text as one line that a terminal shows and does not obey: ``\x1b``, ``\n`` and ``\u202e`` are spelt out."""
    return _OBEYED.sub(_spelt, str(text))


def _spelt(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte of a name that is not UTF-8
        return rf"\x{code - 0xDC00:02x}"
    return rf"\x{code:02x}" if code < 0x100 else rf"\u{code:04x}"


def counted(n: int, one: str, many: str) -> str:
    """A number with its noun and what agrees with it: ``counted(n, "clip has", "clips have")``."""
    return f"{n} {one if n == 1 else many}"


def size(count: float) -> str:
    """So many bytes as a text: ``312 bytes``, ``4.9 kB``, ``1.3 MB``, ``2.0 GB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"


def complain(line: object) -> None:
    """Print one line, `shown`, on the standard error; nothing where nobody reads it any more (``2>&1 | head``)."""
    with suppress(BrokenPipeError):
        print(shown(line), file=sys.stderr)


def escape_json(text: str) -> str:
    """JSON with the same meaning that a terminal shows and does not obey; its own line breaks stay."""
    return _OBEYED.sub(lambda match: match[0] if match[0] in "\n\r\t" else rf"\u{ord(match[0]):04x}", text)


class CsvWriter:
    """As `csv.writer`, for spreadsheets too: text is written as `shown`, and a formula gets an apostrophe before it.

    Numbers are written as they are. A formula is text that begins with = or @, or with + or - where anything else than
    letters, digits and ``_ . -`` follows.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._writer = csv.writer(stream)

    def writerow(self, cells: Iterable[Any]) -> None:
        """Write one line."""
        self._writer.writerow([_cell(cell) if isinstance(cell, str) else cell for cell in cells])

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write some lines."""
        for row in rows:
            self.writerow(row)


def _cell(text: str) -> str:
    text = shown(text)
    return f"'{text}" if _FORMULA.match(text) else text
