"""Recordings in which no class sounds, named by a folder or a list."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import UserError
from .annotations.files import Files, name_in
from .annotations.tables import text_of
from .folders import recordings_below
from .recording import Recording
from .table_format import SUFFIXES, delimiter_of


def with_negatives(recordings: Sequence[Recording], negatives: Path) -> list[Recording]:
    """The recordings, and those of `negatives` that are not among them.

    Args:
        negatives: a folder at any depth, a list (.txt, a path a line) or a table with a column file.

    Raises:
        UserError: no such folder or list, or none in it that is not listed already.
    """
    if negatives.is_dir():
        root, paths = negatives, recordings_below(negatives)[0]
    elif negatives.is_file():
        root = negatives.parent
        files = Files(root)
        paths = [files.find(name) for name in _names(negatives)]
    else:
        raise UserError(f"--negatives {negatives}: no such folder or list; give recordings in which no class sounds")
    strong = any(recording.soundings is not None for recording in recordings)
    listed = {recording.path.resolve() for recording in recordings}
    names = {recording.name for recording in recordings}
    added: list[Recording] = []
    for path in dict.fromkeys(paths):
        if path.resolve() in listed:
            continue
        name = name_in(root, path)
        name = name if name not in names else f"{root.resolve().name}/{name}"
        added.append(Recording(name, path, (), None, () if strong else None))
    if not added:
        raise UserError(f"--negatives {negatives}: holds no recording that --data does not list; leave it out")
    if any(recording.fold is not None for recording in recordings):
        added = [replace(recording, fold="") for recording in added]
    return [*recordings, *added]


def _names(table: Path) -> list[str]:
    text = text_of(table, "--negatives")
    if table.suffix.lower() not in SUFFIXES:
        return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = csv.DictReader(text.splitlines(), delimiter=delimiter_of(table))
    column = next((name for name in rows.fieldnames or () if name.strip().casefold() in ("file", "filename")), None)
    if column is None:
        seen = ", ".join(rows.fieldnames or ())[:200]
        raise UserError(f"--negatives {table}: no column file; seen: {seen}; call the column of the paths file")
    return [name for row in rows if (name := (row[column] or "").strip())]
