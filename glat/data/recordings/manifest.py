"""Which recordings there are, what their labels are, and which of them are kept for the evaluation."""

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError
from ..clips import Skipped

# What soundfile reads, and what holds audio but not for it.
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".snd", ".caf", ".w64")
_FOREIGN_SUFFIXES = (".aac", ".ac3", ".amr", ".m4a", ".mka", ".mkv", ".mov", ".mp4", ".webm", ".wma")
_EVAL_SHARE = 0.2
_FOLDER_HELP = "give a folder with one sub-folder a class, or a CSV with the columns file and label"


@dataclass(frozen=True)
class Recording:
    """One file with its labels."""

    name: str  # path relative to the folder or CSV, with forward slashes
    path: Path
    labels: tuple[str, ...]  # sorted, at least one
    fold: str | None = None


@dataclass(frozen=True)
class Manifest:
    """All recordings of a source, in the order of their names or lines."""

    recordings: tuple[Recording, ...]
    classes: tuple[str, ...]  # sorted
    skipped: tuple[Skipped, ...]


def read_manifest(data: Path) -> Manifest:
    """List the recordings of a folder or CSV; opens no audio file.

    Args:
        data: a folder with one sub-folder a class, files nested at any depth, hidden ones (".x") left aside; or a CSV
            with a header and the columns file (relative to the CSV), label (several joined by ``;``), optionally fold.

    Returns:
        The manifest. Skipped are: rows without file or label or with too many cells, rows that repeat another,
        files outside a class folder, class folders without audio, audio formats that soundfile does not know.

    Raises:
        UserError: `data` does not exist or is neither folder nor CSV; nothing is listed; the CSV lacks a column,
            cannot be parsed, or lists a file twice with different labels or folds.
    """
    try:
        if data.is_dir():
            recordings, skipped = _read_folder(data)
        elif not data.exists():
            raise UserError(f"--data {data}: no such file or folder; {_FOLDER_HELP}")
        elif data.suffix.lower() != ".csv" or not data.is_file():
            raise UserError(f"--data {data}: neither a folder nor a .csv file; {_FOLDER_HELP}")
        else:
            recordings, skipped = _read_csv(data)
    except OSError as error:
        raise UserError(f"--data {data}: cannot be read ({error.strerror}); {_FOLDER_HELP}") from error
    classes = sorted({label for recording in recordings for label in recording.labels})
    return Manifest(tuple(recordings), tuple(classes), tuple(skipped))


def split(recordings: Sequence[Recording], eval_folds: tuple[str, ...], seed: int) -> list[bool]:
    """Which recordings are for the evaluation.

    With `eval_folds` those of these folds. Without, about a fifth of every class, at least one: those whose
    ``SHA-256(seed/name)`` is smallest, rare classes first; a file's fate depends on no file of another class, unless
    they share files.

    Returns:
        One bool a recording.

    Raises:
        UserError: a fold that no recording has; nothing left on one side; a class that cannot be on both sides.
    """
    chosen = in_folds(recordings, eval_folds) if eval_folds else _by_hash(recordings, seed)
    check_sides(recordings, chosen)
    return chosen


def check_sides(recordings: Sequence[Recording], chosen: Sequence[bool], skipped: int = 0) -> None:
    """Raise UserError where training or evaluation is empty, or lacks what it needs; `skipped` files are mentioned."""
    train = [recording for recording, is_eval in zip(recordings, chosen, strict=True) if not is_eval]
    evaluation = [recording for recording, is_eval in zip(recordings, chosen, strict=True) if is_eval]
    because = f" ({skipped} recordings were skipped)" if skipped else ""
    for side, there in (("training", train), ("evaluation", evaluation)):
        if not there:
            raise UserError(f"no recording is left for {side}{because}; add recordings or choose other --eval-folds")
    unknown = sorted(_labels(evaluation) - _labels(train))
    if unknown:
        raise UserError(
            f"training lacks {_some(unknown)}, which the evaluation has{because}; "
            "add recordings of it or choose other --eval-folds"
        )


def _labels(recordings: Iterable[Recording]) -> set[str]:
    return {label for recording in recordings for label in recording.labels}


def _some(names: Sequence[str]) -> str:
    """The first few of many, quoted."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(repr(name) for name in names[:5]) + more


def _printable(path: Path) -> str:
    """A file's name as UTF-8, whatever bytes the disk holds."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _read_folder(root: Path) -> tuple[list[Recording], list[Skipped]]:
    recordings: list[Recording] = []
    skipped: list[Skipped] = []
    others: Counter[str] = Counter()
    for top in sorted(root.iterdir()):
        if top.name.startswith("."):
            continue
        before = len(recordings)
        unlisted: list[OSError] = []
        for path in _walk(top, unlisted) if top.is_dir() else [top]:
            name, suffix = _printable(path.relative_to(root)), path.suffix.lower()
            if suffix in _FOREIGN_SUFFIXES:
                skipped.append(Skipped(name, f"soundfile reads no {suffix} files; convert it to .flac"))
            elif suffix not in AUDIO_SUFFIXES:
                others[suffix or "no suffix"] += 1
            elif path is top:
                skipped.append(Skipped(name, "lies in no class folder"))
            else:
                recordings.append(Recording(name, path, (_printable(Path(top.name)),)))
        for error in unlisted:
            skipped.append(
                Skipped(_printable(Path(error.filename).relative_to(root)), f"cannot be listed ({error.strerror})")
            )
        if top.is_dir() and len(recordings) == before and not unlisted:
            skipped.append(Skipped(_printable(Path(top.name)), "class folder without audio"))
    if not recordings:
        others.update(Path(skip.file).suffix.lower() for skip in skipped if Path(skip.file).suffix)
        seen = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5)) or "no files"
        raise UserError(f"--data {root}: no audio in a class folder (seen: {seen}); {_FOLDER_HELP}")
    return recordings, skipped


def _walk(folder: Path, unlisted: list[OSError]) -> list[Path]:
    """All that is not hidden below a folder, sorted; a folder named like audio counts as a file, to be reported.

    Errors of folders that cannot be listed are appended to `unlisted`.
    """
    found: list[Path] = []
    for here, folders, files in os.walk(folder, onerror=unlisted.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        named_like_audio = [name for name in folders if Path(name).suffix.lower() in AUDIO_SUFFIXES]
        found += [Path(here, name) for name in files + named_like_audio if not name.startswith(".")]
    return sorted(found)


def _read_csv(table: Path) -> tuple[list[Recording], list[Skipped]]:
    recordings: list[Recording] = []
    skipped: list[Skipped] = []
    first_lines: dict[str, tuple[int, Recording]] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:  # -sig: spreadsheets write a byte-order mark
            rows = csv.reader(stream)
            header = [column.strip() for column in next(rows, [])]
            columns = {column: i for i, column in enumerate(header)}
            if not {"file", "label"} <= columns.keys():
                seen = ", ".join(header) or "none"
                raise UserError(
                    f"--data {table}: the columns file and label are wanted, seen: {seen[:200]}; "
                    "name them in the first line, separated by commas"
                )
            for row in rows:
                line = rows.line_num
                if not any(cell.strip() for cell in row):
                    continue
                cells = {column: row[i].strip() if i < len(row) else "" for column, i in columns.items()}
                labels = tuple(sorted({part.strip() for part in cells["label"].split(";")} - {""}))
                if len(row) > len(header):
                    reason = f"line {line} has {len(row)} cells, the header {len(header)}; quote cells that hold commas"
                    skipped.append(Skipped(cells["file"] or f"line {line}", reason))
                elif not cells["file"] or not labels:
                    missing = "label" if cells["file"] else "file"
                    skipped.append(Skipped(cells["file"] or f"line {line}", f"line {line} gives no {missing}"))
                else:
                    name = Path(os.path.normpath(cells["file"])).as_posix()
                    recording = Recording(name, table.parent / name, labels, cells.get("fold"))
                    first_line, first = first_lines.setdefault(name, (line, recording))
                    if first is recording:
                        recordings.append(recording)
                    elif first == recording:
                        skipped.append(Skipped(name, f"line {line} repeats line {first_line}"))
                    else:
                        raise UserError(
                            f"--data {table}: lines {first_line} and {line} disagree on {name}; "
                            "keep one line for a file, its labels joined by ;"
                        )
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--data {table}: cannot be read as a UTF-8 CSV ({error}); save it as one") from error
    if not recordings:
        raise UserError(f"--data {table}: lists no recording; give a line with file and label for each")
    return recordings, skipped


def in_folds(recordings: Sequence[Recording], eval_folds: tuple[str, ...]) -> list[bool]:
    """Which recordings are in one of these folds.

    Raises:
        UserError: a fold that no recording has.
    """
    wanted = {fold.strip() for fold in eval_folds}
    seen = sorted({recording.fold for recording in recordings if recording.fold})
    if not seen:
        raise UserError(f"--eval-folds {' '.join(eval_folds)}: the data name no folds; give a CSV with a column fold")
    missing = sorted(wanted - set(seen))
    if missing:
        raise UserError(f"--eval-folds: no recording is in {_some(missing)}; folds seen: {', '.join(seen[:50])}")
    return [recording.fold in wanted for recording in recordings]


def _by_hash(recordings: Sequence[Recording], seed: int) -> list[bool]:
    by_class: dict[str, list[int]] = {}
    for i in sorted(range(len(recordings)), key=lambda i: _hash(recordings[i].name, seed)):
        for label in recordings[i].labels:
            by_class.setdefault(label, []).append(i)
    single = sorted(label for label, members in by_class.items() if len(members) == 1)
    if single:
        raise UserError(
            f"one recording only of {_some(single)}, and both training and evaluation need one; "
            "add recordings, or give a CSV with a column fold and --eval-folds"
        )
    side: dict[int, bool] = {}
    for label, members in sorted(by_class.items(), key=lambda item: (len(item[1]), item[0])):
        free = [i for i in members if i not in side]
        for_eval = max(1, round(_EVAL_SHARE * len(members))) - sum(side.get(i, False) for i in members)
        side.update({i: rank < for_eval for rank, i in enumerate(free)})
        if len({side[i] for i in members}) < 2:
            raise UserError(
                f"no split puts a recording of {label!r} into both training and evaluation, as its recordings carry "
                "labels of rarer classes; add recordings, or give a CSV with a column fold and --eval-folds"
            )
    return [side[i] for i in range(len(recordings))]


def _hash(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
