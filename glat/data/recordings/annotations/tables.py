"""Tables with a header: CSV and TSV with the columns file, onset, offset and label; Raven's selection tables."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ....errors import UserError
from ...names import clean
from ..table_format import TableFormat, delimiter_of
from .files import Files
from .gathered import Gathered
from .times import base_and_unit, is_nothing

_ONSETS = ("onset", "start", "begin", "onset_time", "start_time", "begin_time", "time_start")
_OFFSETS = ("offset", "end", "stop", "offset_time", "end_time", "stop_time", "time_end")
_DURATIONS = ("duration", "delta_time", "event_duration")
_FILES = (
    *("file", "filename", "file_name", "filepath", "file_path", "path", "audio_filename", "audio_file", "segment_id"),
    *("begin_path", "begin_file", "recording", "fname", "audio"),
)
_LABELS = ("event_label", "label", "labels", "class", "annotation", "species", "category", "event", "tag", "tags")
_IN_FILE = "file_offset"  # Raven: the onset in the file, where Begin Time counts from the first of several


class Columns(NamedTuple):
    """Where the columns of a table stand; -1: nowhere."""

    file: tuple[int, ...]  # in the order in which they are looked at
    onset: int
    offset: int  # or the duration
    label: int
    units: tuple[float, float]
    lasts: bool  # `offset` is a duration
    in_file: int
    fold: int
    selection: int
    size: int  # of the header


def text_of(table: Path, flag: str = "--data") -> str:
    """What a table holds, with or without a byte-order mark, as UTF-8 or (Excel's "Unicode text") UTF-16.

    Args:
        flag: which named the table, for the error.

    Raises:
        UserError: neither.
    """
    data = table.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{flag} {table}: is no UTF-8 text ({error}); save it as UTF-8") from error


def has_times(table: Path) -> bool:
    """Whether the first line of a table has columns of times."""
    with table.open("rb") as stream:
        head = stream.readline(1 << 16)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = table.read_bytes()
        line = head.decode("utf-16", "replace").partition("\n")[0]
    else:
        line = head.decode("utf-8-sig", "replace")
    line = next(iter(line.splitlines()), "")  # old Macs end lines with CR alone
    header = next(csv.reader([line], delimiter=_delimiter(table, line)), [])
    bases = {base_and_unit(column)[0] for column in header}
    return bool(bases & set(_ONSETS)) and bool(bases & {*_OFFSETS, *_DURATIONS})


def _delimiter(table: Path, header: str) -> str:
    """Spreadsheets of countries with decimal commas separate by semicolons."""
    usual = delimiter_of(table)
    return max(",;\t", key=header.count) if usual == "," else usual


def read_events(table: Path, format: TableFormat, files: Files, gathered: Gathered, own: Path | None) -> None:  # noqa: A002
    """Read a table into `gathered`.

    Args:
        files: where the files that it names lie.
        own: the recording of a table that names none.

    Raises:
        UserError: a column is missing or twice there; times that are none; several files with times from the first.
    """
    text = text_of(table)
    first = text.partition("\n")[0].rstrip("\r")
    header = next(csv.reader([first], delimiter=_delimiter(table, first)))
    columns = _columns(table, header, format, own)
    views: set[tuple[str, ...]] = set()  # Raven has a line for each view of a selection
    paths: dict[Path, int] = {}
    for line, row in _rows(table, text):
        cells = [row[i].strip() if i < len(row) else "" for i in range(columns.size)]
        if len(row) > columns.size:
            what = f"{len(row)} cells, the header {columns.size}; quote cells that hold commas"
            raise UserError(f"--data {table}: line {line} has {what}")

        def cell(i: int, cells: list[str] = cells) -> str:
            return cells[i] if i >= 0 else ""

        named = next((cell(i) for i in columns.file if cell(i)), "")
        if not named and own is None:
            raise UserError(f"--data {table}: line {line} names no file")
        path = gathered.file(files, named, table, line) if named else own
        assert path is not None
        if columns.selection >= 0:
            key = (cell(columns.selection), named, cell(columns.onset), cell(columns.offset), cell(columns.label))
            if cell(columns.selection) and key in views:
                continue
            views.add(key)
        shift = cell(columns.in_file)
        paths.setdefault(path, line)
        if len(paths) > 1 and columns.selection >= 0 and is_nothing(shift):
            raise UserError(
                f"--data {table}: line {line} is of a second file, and its times count from the first; save the "
                "selections with the column File Offset (s)"
            )
        gathered.add(
            *(table, line, path, (cell(columns.onset), cell(columns.offset)), columns.units, cell(columns.label)),
            lasts=columns.lasts,
            shift=None if is_nothing(shift) else shift,
            fold=(clean(cell(columns.fold)) or None) if columns.fold >= 0 else None,
        )
    if not paths and own is not None:
        gathered.recording(own)  # a table without selections, of a recording without events


def _rows(table: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) below the header."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(table, text.partition("\n")[0]))
    try:
        next(rows)
        for row in rows:
            if any(cell.strip() for cell in row):
                yield rows.line_num, row
    except csv.Error as error:
        raise UserError(f"--data {table}: line {rows.line_num}: {error}; save it as UTF-8 CSV or TSV") from error


def _columns(table: Path, header: list[str], format: TableFormat, own: Path | None) -> Columns:  # noqa: A002
    names = [clean(column).casefold() for column in header]
    bases = [base_and_unit(column) for column in names]

    def place(wanted: tuple[str, ...]) -> int:
        for base in wanted:
            found = [i for i, (name, _) in enumerate(bases) if name == base]
            if len(found) > 1:
                raise UserError(f"--data {table}: {len(found)} columns are called {header[found[0]]}; keep one")
            if found:
                return found[0]
        return -1

    def asked(flag: str, column: str, usual: str, others: tuple[str, ...]) -> int:
        if clean(column).casefold() in names:
            return names.index(clean(column).casefold())
        if column != usual:
            raise UserError(f"--data {table}: --{flag}-column {column} is wanted, seen: {', '.join(header)[:200]}")
        return place(others)

    files = tuple(dict.fromkeys(i for i in (place((name,)) for name in ("begin_path", "begin_file")) if i >= 0))
    first = asked("file", format.file_column, "file", _FILES)
    files = files if first in files else (first,) if first >= 0 else files
    label = asked("label", format.label_column, "label", _LABELS)
    seen = ", ".join(header)[:200]
    if label < 0:
        raise UserError(f"--data {table}: no column of labels among {seen}; give --label-column")
    if not files and own is None:
        raise UserError(f"--data {table}: no column of files among {seen}; give --file-column")
    onset, offset = place(_ONSETS), place(_OFFSETS)
    lasts = offset < 0
    offset = place(_DURATIONS) if lasts else offset
    units = (bases[onset][1], bases[offset][1])
    if 0 in units:
        raise UserError(f"--data {table}: {header[onset]} and {header[offset]} are no times; give seconds")
    others = (place((_IN_FILE,)), place(("fold",)), place(("selection",)))
    return Columns(files, onset, offset, label, units, lasts, *others, len(header))
