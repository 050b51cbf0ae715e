"""From whatever says what sounds when to a list of recordings."""

import os
from collections.abc import Iterator
from pathlib import Path

from ....errors import UserError
from ...clips import Skipped
from ..folders import AUDIO_SUFFIXES, recordings_below
from ..recording import Recording
from ..table_format import SUFFIXES, TableFormat
from .files import Files, name_in
from .gathered import Gathered
from .tables import has_times, read_events
from .tracks import belongs_to, is_track, read_track

_TEXT = ".txt"
_MOST_LOOKED_AT = 200  # texts beside sounds that are no annotations


def is_annotated(data: Path) -> bool:
    """Whether a folder, table or text says what sounds when."""
    if data.is_dir():
        return any(True for _ in _texts(data, _MOST_LOOKED_AT))
    if data.suffix.lower() == _TEXT:
        return has_times(data) or is_track(data)
    return data.suffix.lower() in SUFFIXES and has_times(data)


def read_annotations(data: Path, format: TableFormat, audio: Path | None) -> tuple[list[Recording], list[Skipped]]:  # noqa: A002
    """The recordings of a table, of a text, or of a folder with a text a recording.

    Args:
        data: what `is_annotated` is true of.
        audio: the folder of the recordings; None: that of the table.

    Returns:
        The recordings with their soundings, and what was left out: of a table lines, of a folder recordings beside
        which nothing says what sounds in them.

    Raises:
        UserError: as of `read_events` and `read_track`; no recording.
    """
    root = audio or (data if data.is_dir() else data.parent)
    gathered = Gathered(root, format.label_separator)
    if data.is_dir():
        _read_folder(data, root, format, gathered)
    elif data.suffix.lower() == _TEXT:
        files = Files(root)
        own = _own(files, data)
        if is_track(data):
            if own is None:
                raise UserError(f"--data {data}: no recording {belongs_to(data)} beside it; name the two alike")
            read_track(data, own, gathered)
        else:
            read_events(data, format, files, gathered, own)
    else:
        read_events(data, format, Files(root), gathered, None)
    recordings = gathered.recordings()
    if not recordings:
        raise UserError(f"--data {data}: lists no recording; give a line with file, onset, offset and label an event")
    return recordings, gathered.skipped


def _own(files: Files, text: Path) -> Path | None:
    path = files.find(belongs_to(text))
    return path if path.is_file() else None


def _texts(root: Path, most: int | None = None) -> Iterator[Path]:
    """Tracks and selection tables below a folder; `most`: give up after so many texts that are none."""
    looked_at = 0
    for here, folders, names in os.walk(root):
        folders.sort()
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        texts = sorted(name for name in names if name.lower().endswith(_TEXT) and not name.startswith("."))
        if not texts:
            continue
        sounds = {stem for name in names if name.lower().endswith(AUDIO_SUFFIXES) for stem in (name, Path(name).stem)}
        for name in texts:
            path = Path(here, name)
            if has_times(path) or (belongs_to(path) in sounds and is_track(path)):
                yield path
            else:
                looked_at += 1
                if most is not None and looked_at >= most:
                    return


def _read_folder(data: Path, root: Path, format: TableFormat, gathered: Gathered) -> None:  # noqa: A002
    for text in _texts(data):
        files = Files(text.parent if root == data else root)
        own = _own(files, text)
        if has_times(text):
            read_events(text, format, files, gathered, own)
        elif own is not None:
            read_track(text, own, gathered)
    annotated = {recording.path for recording in gathered.recordings()}
    found, skipped = recordings_below(root)
    for path in found:
        if path in annotated:
            continue
        beside = [path.with_name(path.name + _TEXT), path.with_suffix(_TEXT)]
        if any(text.is_file() and not text.stat().st_size for text in beside):
            gathered.recording(path)  # a track without labels
        else:
            why = "nothing beside it says what sounds in it; give --negatives where that is nothing"
            skipped.append(Skipped(name_in(root, path), why))
    gathered.skipped += skipped
