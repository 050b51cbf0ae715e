"""Data sets of Hugging Face's datasets, saved to disk: ``--data hf-dataset:FOLDER``.

Arrow files are mapped and looked at, never copied: a recording lies in one piece, as in a tar file, and is decoded by
our own decoders with all their checks. So pyarrow is all it takes, and a bad row is left out like a bad file.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import UserError, first_line
from ...urls import DATASET
from ..clips import Skipped
from ..names import clean
from .recording import Recording
from .table_format import TableFormat

_INFO, _STATE, _SPLITS = "dataset_info.json", "state.json", "dataset_dict.json"
_TRAIN = "train"
_FOLD = "fold"

Labels = Callable[[Any], list[str]]  # of a cell


def is_saved(data: Path) -> bool:
    """Whether a flag names a saved data set."""
    return str(data).startswith(DATASET)


def saved_sides(data: Path) -> tuple[Path, Path | None]:
    """What to train on and what to evaluate on: of two saved splits, one of them train; else all, and None.

    Raises:
        UserError: other splits.
    """
    splits = _splits(_folder(data))
    if not splits:
        return data, None
    if len(splits) == 1:
        return data / splits[0], None
    others = [split for split in splits if split != _TRAIN]
    if len(splits) == 2 and len(others) == 1:
        return data / _TRAIN, data / others[0]
    seen = ", ".join(splits)
    raise UserError(
        f"--data {data}: holds the splits {seen}; say which: --data {data}/{splits[0]} --eval-data {data}/{splits[-1]}"
    )


def read_saved(data: Path, table: TableFormat) -> tuple[list[Recording], list[Skipped]]:
    """The recordings of a saved data set, a row each, called by their row and name, and before it their split.

    Args:
        data: ``hf-dataset:`` and the folder of ``save_to_disk``: of a data set, or of one split.
        table: names the column with the sounds (where there are several) and the one with the labels: a ClassLabel or
            a text (several joined by the separator), or a list of either; or a list of zeros and ones, whose
            classes are called by their numbers. A column ``fold`` is one.

    Raises:
        UserError: no such data set; a split that was not chosen; no column of sounds or of labels that can be read;
            Arrow files that are damaged or compressed; pyarrow is not installed.
    """
    folder = _folder(data)
    if splits := _splits(folder):
        if len(splits) > 1:
            raise UserError(f"--data {data}: holds the splits {', '.join(splits)}; give one, {data}/{splits[0]}")
        folder = folder / splits[0]
    try:
        import pyarrow
    except ImportError:
        raise UserError(f"--data {data}: it needs pyarrow: pip install 'glat[datasets]'") from None
    files = [folder / str(entry["filename"]) for entry in _json(folder / _STATE)["_data_files"]]
    features = _json(folder / _INFO).get("features") or {}
    found: list[Recording] = []
    skipped: list[Skipped] = []
    columns, row = None, 0
    for file in files:
        try:
            with pyarrow.memory_map(str(file)) as mapped:
                whole = mapped.read_buffer(mapped.size())
                batches = pyarrow.ipc.open_stream(whole)
                columns = columns or _columns(data, batches.schema, features, table)
                for batch in batches:
                    found += _recordings(data, file, batch, columns, row, whole, skipped)
                    row += batch.num_rows
        except (OSError, pyarrow.ArrowException) as error:
            raise UserError(f"--data {data}: {file.name} cannot be read ({first_line(error)}); save it again") from None
    if not found:
        raise UserError(f"--data {data}: holds no recording; save it again")
    return found, skipped


class _Columns(NamedTuple):
    sounds: str
    labels: str
    read: Labels


def _columns(data: Path, schema: Any, features: dict[str, Any], table: TableFormat) -> _Columns:
    sounds = _audio_column(data, schema, features, table.file_column)
    labels = _label_column(data, schema, table.label_column)
    kind = schema.field(labels).type
    return _Columns(sounds, labels, _reader(data, labels, features.get(labels, {}), kind, table.label_separator))


def _recordings(
    data: Path, file: Path, batch: Any, columns: _Columns, first_row: int, whole: Any, skipped: list[Skipped]
) -> list[Recording]:
    sounds = batch.column(columns.sounds)
    pieces = _pieces(data, sounds.field("bytes"), whole)
    names = sounds.field("path").to_pylist() if _has(sounds.type, "path") else [None] * len(sounds)
    split = file.parent.name if (file.parent.parent / _SPLITS).is_file() else ""
    cells = batch.column(columns.labels).to_pylist()
    folds = batch.column(_FOLD).to_pylist() if _FOLD in batch.schema.names else [None] * len(cells)
    found = []
    for i, (piece, given, cell, fold) in enumerate(zip(pieces, names, cells, folds, strict=True)):
        name = "/".join(filter(None, (split, str(first_row + i), given and Path(given).name)))
        labels = tuple(sorted(set(filter(None, map(clean, columns.read(cell))))))
        in_fold = None if fold is None else clean(str(fold))
        if piece is not None:
            found.append(Recording(name, file, labels, in_fold, offset=piece[0], size=piece[1]))
        elif given:
            found.append(Recording(name, file.parent / given, labels, in_fold))
        else:
            skipped.append(Skipped(name, "holds no sound"))
    return found


def _pieces(data: Path, sounds: Any, whole: Any) -> list[tuple[int, int] | None]:
    """Where each sound of a column lies in its file, and how long it is; None where there is none."""
    import numpy as np
    import pyarrow

    if sounds.null_count == len(sounds):
        return [None] * len(sounds)
    _, offsets, values = sounds.buffers()
    kind = np.int64 if pyarrow.types.is_large_binary(sounds.type) else np.int32
    starts = np.frombuffer(offsets, kind)[sounds.offset : sounds.offset + len(sounds) + 1].astype(np.int64)
    if starts[-1] == starts[0]:
        return [None] * len(sounds)
    at = values.address - whole.address
    if not 0 <= at <= whole.size - int(starts[-1]):
        raise UserError(f"--data {data}: its Arrow files are compressed; save it with save_to_disk, which does not")
    there = sounds.is_valid().to_pylist()
    return [
        (at + int(start), int(end - start)) if valid and end > start else None
        for start, end, valid in zip(starts[:-1], starts[1:], there, strict=True)
    ]


def _audio_column(data: Path, schema: Any, features: dict[str, Any], asked: str) -> str:
    import pyarrow.types as types

    columns = [
        field.name
        for field in schema
        if types.is_struct(field.type)
        and _has(field.type, "bytes")
        and (types.is_binary(field.type.field("bytes").type) or types.is_large_binary(field.type.field("bytes").type))
        and features.get(field.name, {}).get("_type", "Audio") == "Audio"
    ]
    if asked in columns:
        return asked
    if len(columns) == 1:
        return columns[0]
    if columns:
        raise UserError(f"--data {data}: sounds are in {', '.join(columns)}; choose one, --file-column {columns[0]}")
    raise UserError(
        f"--data {data}: none of its columns ({', '.join(schema.names)}) holds sounds; make one with "
        "cast_column('audio', Audio(decode=False)), and save it again"
    )


def _has(struct: Any, name: str) -> bool:
    return any(field.name == name for field in struct)


def _label_column(data: Path, schema: Any, asked: str) -> str:
    if asked in schema.names:
        return asked
    likely = next(
        (n for n in schema.names if n.casefold() in ("labels", "class", "category", "tags", "target")), "NAME"
    )
    raise UserError(
        f"--data {data}: has no column {asked}, but {', '.join(schema.names)}; say where the labels are, "
        f"--label-column {likely}"
    )


def _reader(data: Path, column: str, feature: dict[str, Any], kind: Any, separator: str) -> Labels:
    """How the labels of a cell are read."""
    import pyarrow.types as types

    several = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    inner = kind.value_type if several else kind
    of_inner = feature.get("feature", {}) if several else feature
    names: Sequence[str] | None = of_inner.get("names")
    if names is not None:

        def named(value: int) -> list[str]:
            if not -1 <= value < len(names):
                raise UserError(f"--data {data}: {column} holds {value}, and {len(names)} classes have names")
            return [names[value]] if value >= 0 else []  # -1: none, as datasets writes it

        return _of_list(named) if several else _of_cell(named)
    if types.is_string(inner) or types.is_large_string(inner):
        return _of_list(lambda text: [text]) if several else _of_cell(lambda text: text.split(separator))
    if several and (types.is_boolean(inner) or types.is_integer(inner) or types.is_floating(inner)):
        width: set[int] = set()

        def present(cell: Any) -> list[str]:
            width.add(len(cell or ()))
            if cell is None or len(width) > 1 or any(value not in (0, 1) for value in cell):
                raise UserError(
                    f"--data {data}: {column} holds lists of numbers that are no row of zeros and ones a class; "
                    f"cast_column({column!r}, Sequence(ClassLabel(names=[...]))), and save it again"
                )
            return [str(k) for k, value in enumerate(cell) if value]

        return present
    raise UserError(
        f"--data {data}: {column} holds {kind}, which names no class; cast_column({column!r}, "
        "ClassLabel(names=[...])), and save it again"
    )


def _of_cell(read: Labels) -> Labels:
    return lambda cell: [] if cell is None else read(cell)


def _of_list(read: Labels) -> Labels:
    return lambda cell: [label for value in cell or () if value is not None for label in read(value)]


def _folder(data: Path) -> Path:
    folder = Path(str(data).removeprefix(DATASET))
    if not ((folder / _STATE).is_file() or (folder / _SPLITS).is_file()):
        raise UserError(
            f"--data {data}: no data set was saved there (it lacks {_STATE}); give the folder of save_to_disk"
        )
    return folder


def _splits(folder: Path) -> list[str]:
    return [] if not (folder / _SPLITS).is_file() else [str(split) for split in _json(folder / _SPLITS)["splits"]]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        raise ValueError("it holds no entries")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}); save the data set again") from None
