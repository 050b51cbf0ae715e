"""Audacity's label tracks: a text file a recording, with a line ``onset TAB offset TAB label`` a label."""

import re
from pathlib import Path

from .gathered import Gathered
from .tables import text_of

_TIME = r"-?\d[\d.,:]*"
_LINE = re.compile(rf"{_TIME}\t{_TIME}(\t.*)?")
_PREFIXES = re.compile(r"(\.(labels|selections|table\.\d+))+$", re.IGNORECASE)


def is_track(path: Path) -> bool:
    """Whether a text file begins as a label track does."""
    with path.open("rb") as stream:
        head = stream.read(4096).decode("utf-8-sig", "replace")
    first = next((line for line in head.splitlines() if line.strip() and not line.startswith("\\")), "")
    return bool(_LINE.fullmatch(first))


def belongs_to(path: Path) -> str:
    """What the recording of a track or selection table is called, with or without its suffix: a.wav of a.labels.txt."""
    return _PREFIXES.sub("", path.stem)


def read_track(path: Path, recording: Path, gathered: Gathered) -> None:
    """Read a track into `gathered`; lines of frequencies, which begin with a backslash, say nothing of times.

    Raises:
        UserError: a line that is no label.
    """
    gathered.recording(recording)
    for number, line in enumerate(text_of(path).splitlines(), 1):
        if not line.strip() or line.startswith("\\"):
            continue
        onset, offset, label = (*(cell.strip() for cell in line.split("\t", 2)), "", "")[:3]
        gathered.add(path, number, recording, (onset, offset), (1.0, 1.0), label)
