"""Recordings that cannot be read: those of the start, and those that went bad while the run goes on."""

from ..data import Skipped
from ..ranks import Ranks
from ..text import complain


class LeftOut:
    """Every recording that is left out, on this rank.

    Args:
        at_the_start: recordings that could not be opened, the same on every rank.
    """

    def __init__(self, at_the_start: tuple[Skipped, ...]) -> None:
        self._at_the_start = at_the_start
        self._later: dict[Skipped, None] = {}

    def report(self, skipped: Skipped) -> None:
        """Note a recording that went bad, and say so the first time: every evaluation meets it again."""
        if skipped not in self._later:
            complain(f"left out from here on: {skipped.file}: {skipped.reason}")
        self._later[skipped] = None

    def of_all(self, ranks: Ranks) -> tuple[Skipped, ...]:
        """Those of every rank, each once, on rank 0."""
        later = (skipped for part in ranks.gather(tuple(self._later)) for skipped in part)
        return tuple(dict.fromkeys((*self._at_the_start, *later)))
