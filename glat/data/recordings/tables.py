"""CSV and TSV tables of recordings."""

import csv
import os
from pathlib import Path

from ...errors import UserError
from ..clips import Skipped
from ..names import clean
from .annotations.files import there
from .recording import Recording
from .table_format import TableFormat, delimiter_of

_LIKELY = {"file": ("filename", "path", "filepath", "fname", "audio"), "label": ("labels", "class", "category", "tags")}


def read_table(table: Path, format: TableFormat, audio: Path | None = None) -> tuple[list[Recording], list[Skipped]]:  # noqa: A002
    """The recordings of a table with a header, one a line.

    An empty label is a recording without any class, which is kept: a negative example. Names of columns are compared
    without regard to case.

    Raises:
        UserError: no UTF-8 table; a column that is missing, or twice there; a file that two lines
            label differently; no recording.
    """
    folder = audio or table.parent
    recordings: list[Recording] = []
    skipped: list[Skipped] = []
    first_lines: dict[str, tuple[int, Recording]] = {}
    if not format.label_separator:
        raise UserError("--label-separator is empty; give what joins several labels, such as ;")
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:  # -sig: spreadsheets write a byte-order mark
            rows = csv.reader(stream, delimiter=delimiter_of(table))
            header = next(rows, [])
            columns = _columns(table, header, format)
            for row in rows:
                line = rows.line_num
                if not any(cell.strip() for cell in row):
                    continue
                cells = {name: row[i].strip() if i < len(row) else None for name, i in columns.items()}
                file, label = cells["file"], cells["label"]
                if len(row) > len(header):
                    reason = f"line {line} has {len(row)} cells, the header {len(header)}; quote cells that hold commas"
                    skipped.append(Skipped(file or f"line {line}", reason))
                elif not file or label is None:
                    missing = "cell for the label" if file else "file"
                    skipped.append(Skipped(file or f"line {line}", f"line {line} has no {missing}"))
                else:
                    parts = (clean(part) for part in label.split(format.label_separator))
                    name = Path(os.path.normpath(file)).as_posix()
                    labels = tuple(sorted({part for part in parts if part}))
                    fold = clean(cells["fold"] or "") if "fold" in cells else None
                    recording = Recording(name, there(folder, name), labels, fold)
                    first_line, first = first_lines.setdefault(name, (line, recording))
                    if first is recording:
                        recordings.append(recording)
                    elif first == recording:
                        skipped.append(Skipped(name, f"line {line} repeats line {first_line}"))
                    else:
                        raise UserError(
                            f"--data {table}: lines {first_line} and {line} disagree on {name}; "
                            f"keep one line for a file, its labels joined by {format.label_separator}"
                        )
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--data {table}: cannot be read as a UTF-8 CSV ({error}); save it as one") from error
    if not recordings:
        because = f" ({skipped[0].reason})" if skipped else ""
        raise UserError(f"--data {table}: lists no recording{because}; give a line with file and label for each")
    return recordings, skipped


def _columns(table: Path, header: list[str], format: TableFormat) -> dict[str, int]:  # noqa: A002
    """Where the columns file, label and perhaps fold stand."""
    wanted = {"file": clean(format.file_column), "label": clean(format.label_column), "fold": "fold"}
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|") and not table.suffix.lower() == ".tsv":
        raise UserError(
            f"--data {table}: its first line is one column ({header[0][:80]!r}); separate columns by commas, or "
            "name the table .tsv and separate them by tabs"
        )
    header = [clean(column) for column in header]
    found = {}
    for name, column in wanted.items():
        places = [i for i, seen in enumerate(header) if seen == column]
        places = places or [i for i, seen in enumerate(header) if seen.casefold() == column.casefold()]
        if len(places) > 1:
            raise UserError(
                f"--data {table}: {len(places)} columns are called {column}; keep one, or rename the others"
            )
        if places:
            found[name] = places[0]
    missing = [name for name in ("file", "label") if name not in found]
    if missing:
        seen = ", ".join(header) or "none"
        raise UserError(
            f"--data {table}: the columns {wanted['file']} and {wanted['label']} are wanted, seen: {seen[:200]}; "
            + _way_out(table, header, missing)
        )
    return found


def _way_out(table: Path, header: list[str], missing: list[str]) -> str:
    likely = {name: column for name in missing for column in header if column.casefold() in (name, *_LIKELY[name])}
    if set(likely) == set(missing):
        return "give " + " ".join(f"--{name}-column {column}" for name, column in likely.items())
    if missing == ["label"] and len(header) > 2:
        return (
            "give --label-column, or, where each class has a column, make one column label of them, with the names of "
            "the classes that are present joined by ;"
        )
    separated = "commas" if table.suffix.lower() == ".csv" else "tabs"
    return f"name them in the first line, separated by {separated}, or give --file-column and --label-column"
