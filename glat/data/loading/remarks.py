"""What is odd about recordings, found as they are decoded in batches."""

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ..clips import ClipSource

_LISTED = 1_000


class Remarks:
    """Each recording is judged the first time it is heard; those that are odd are counted, and the first 1 000 kept.

    Several threads may note at once.
    """

    def __init__(self) -> None:
        self._judged: WeakKeyDictionary[ClipSource, NDArray[np.bool_]] = WeakKeyDictionary()
        self._odd: dict[str, tuple[str, ...]] = {}  # by recording; none of those beyond the first

    @property
    def count(self) -> int:
        """Recordings that are odd."""
        return len(self._odd)

    def listed(self) -> list[tuple[str, str]]:
        """(recording, remark) of the first ones."""
        return [(name, remark) for name, remarks in list(self._odd.items())[:_LISTED] for remark in remarks]

    def unjudged(self, source: ClipSource, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some rows are heard for the first time; they count as judged from now on."""
        judged = self._judged.setdefault(source, np.zeros(len(source), bool))
        new = ~judged[rows]
        judged[rows] = True
        return new

    def note(self, source: ClipSource, row: int, remarks: tuple[str, ...]) -> None:
        """Note what was found of a clip; the first finding of a recording stays."""
        if remarks:
            self._odd.setdefault(source.goes_bad_with(row), remarks if len(self._odd) < _LISTED else ())
