"""What is odd about the recordings of a run that are heard all the same: said in its folder and at its end."""

import json
from pathlib import Path

from ..data import Data
from ..data.loading.remarks import Remarks
from ..data.windows.grid import recording_of
from ..files import write_json
from ..ranks import Ranks

REMARKS = "remarks.json"
_SHOWN = 3

Remark = tuple[str, str]  # recording, what is odd


class Remarked:
    """The remarks on a run's recordings: those of the start, of earlier processes, and those found while decoding.

    Args:
        remarks: what this rank's loader finds.
    """

    def __init__(self, folder: Path, data: Data, remarks: Remarks, ranks: Ranks) -> None:
        self._path, self._remarks, self._ranks = folder / REMARKS, remarks, ranks
        self._found = {*at_the_start(data), *_read(self._path)} if ranks.first else set()
        self._written: set[Remark] = set()

    def save(self) -> None:
        """Write what every rank has found so far, where it is more than before."""
        found = {remark for part in self._ranks.gather(self._remarks.listed()) for remark in part}
        self._found |= found
        if self._found != self._written:
            write_json(self._path, [{"file": file, "remark": remark} for file, remark in sorted(self._found)])
            self._written = set(self._found)

    def lines(self) -> list[str]:
        """What to print at the end."""
        return lines(sorted(self._found), f"{REMARKS} lists them")


def at_the_start(data: Data) -> list[Remark]:
    """What was odd about some recordings when they were opened."""
    return [
        (recording_of(name), remark)
        for side in (data.train, data.evaluation)
        for name, remarks in zip(side.names, side.remarks or (), strict=False)
        for remark in remarks
    ]


def lines(found: list[Remark], listed: str) -> list[str]:
    """The first remarks, and where the others are."""
    if not found:
        return []
    count = len({file for file, _ in found})
    first = [f"  {file}: {remark}" for file, remark in found[:_SHOWN]]
    what = "recording is odd, and is" if count == 1 else "recordings are odd, and are"
    return [f"{count} {what} heard ({listed}):", *first, *(["  ..."] if len(found) > _SHOWN else [])]


def _read(path: Path) -> set[Remark]:
    """What an earlier process of the run wrote; nothing where it is not to be had."""
    try:
        return {(str(entry["file"]), str(entry["remark"])) for entry in json.loads(path.read_text(encoding="utf-8"))}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()
