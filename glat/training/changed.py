"""Says which recordings were changed or replaced under a run: its numbers are then not those of one set of clips."""

from pathlib import Path

import numpy as np
import torch

from ..data.stamps import Stamps
from ..errors import UserError
from ..runs.checkpoints import naming_failures
from ..runs.digests import read_weights, write_weights
from ..runs.folder import RECORDINGS
from ..text import complain
from ..urls import shown_path

A_LOOK, LAST_LOOK = 10_000, 100_000  # files: thousandths of a second each on a network's file system
MOST_NAMED = 3


class ChangedFiles:
    """Looks at the recordings of a run again and again, and says once which have changed. For rank 0.

    Args:
        folder: of the run. What the files were when it began is kept there.
        stamps: the files as this process has opened them.
    """

    def __init__(self, folder: Path, stamps: Stamps) -> None:
        self._path, self._stamps = folder / RECORDINGS, stamps
        self._said: set[Path] = set()
        self._next = 0

    def since_the_start(self) -> None:
        """Say what has changed since the run began, or note the files where it begins now."""
        if not self._stamps.paths:
            return
        try:
            before = read_weights(self._path)[0]["stamps"].numpy()
        except FileNotFoundError:
            with naming_failures(self._path):
                stamps = torch.from_numpy(np.ascontiguousarray(self._stamps.values))
                write_weights(self._path, {"stamps": stamps}, {})
        except (UserError, KeyError):
            self._print(f"{self._path} is damaged: whether recordings have changed since the run began is not known")
        else:
            self._say(self._stamps.changed_since(before), "since the run began")

    def look(self, last: bool = False) -> None:
        """Look at the next files, by turns, so that a look costs little however many there are."""
        count = len(self._stamps.paths)
        most = min(count, LAST_LOOK if last else A_LOOK)
        end = self._next + most
        found = self._stamps.changed(range(self._next, min(end, count)))
        found += self._stamps.changed(range(max(0, end - count)))
        self._next = end % count if count else 0
        self._say(found, "while the run goes on")

    def _say(self, paths: list[Path], when: str) -> None:
        new = [path for path in paths if path not in self._said]
        self._said.update(new)
        if new:
            names = ", ".join(shown_path(path) for path in new[:MOST_NAMED]) + (
                ", ..." if len(new) > MOST_NAMED else ""
            )
            were = "recording was" if len(new) == 1 else "recordings were"
            self._print(f"{len(new)} {were} changed, replaced or removed {when}: {names}")

    def _print(self, text: str) -> None:
        complain(f"warning: {text}")
