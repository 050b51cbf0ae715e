"""Which recordings to tag: files, folders, CSVs and lists as a command names them."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..data import Skipped
from ..data.recordings.folders import recordings_below
from ..data.recordings.table_format import SUFFIXES as _TABLES
from ..data.recordings.table_format import delimiter_of
from ..errors import UserError

_LISTS = (".txt", ".lst", ".m3u", ".m3u8")


class Listed(NamedTuple):
    """Recordings, each once, and what folders hold besides."""

    files: tuple[Path, ...]
    skipped: tuple[Skipped, ...]


def list_recordings(paths: Sequence[Path]) -> Listed:
    """The recordings that paths name, each once, in the order of the paths and below them of the names.

    Args:
        paths: recordings; folders, searched at any depth (links are followed, hidden names left aside); CSV or TSV
            tables with a column file; lists with a path a line (.txt, .m3u; # begins a comment). Paths in tables and
            lists are relative to them.

    Raises:
        UserError: nothing is listed; a table without the column, or that is no text.
    """
    files: dict[Path, None] = {}
    skipped: list[Skipped] = []
    for path in paths:
        suffix = path.suffix.lower()
        if path.is_dir():
            found, left_out = recordings_below(path)
            files |= dict.fromkeys(found)
            skipped += left_out
        elif suffix in _TABLES or suffix in _LISTS:
            files |= dict.fromkeys(_in_list(path, suffix))
        else:
            files[path] = None  # whatever its suffix: the decoder looks at what it holds
    if not files:
        raise UserError(f"no recordings in {', '.join(map(str, paths)) or 'nothing'}; give files, folders or a CSV")
    return Listed(tuple(files), tuple(skipped))


def _in_list(path: Path, suffix: str) -> Iterator[Path]:
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            if suffix in _LISTS:
                lines = (line.strip() for line in stream)
                names = [line for line in lines if line and not line.startswith("#")]
            else:
                rows = csv.DictReader(stream, delimiter=delimiter_of(path))
                columns = [(column or "").strip().casefold() for column in rows.fieldnames or []]
                if "file" not in columns:
                    seen = ", ".join(columns)[:200] or "none"
                    raise UserError(f"{path}: the column file is wanted, seen: {seen}; name it in the first line")
                rows.fieldnames = columns
                names = [row["file"].strip() for row in rows if (row["file"] or "").strip()]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}); give a UTF-8 table or list") from None
    if any("\0" in name for name in names):
        raise UserError(f"{path} is no text; give a UTF-8 table or list")
    return (path.parent / name for name in dict.fromkeys(names))
