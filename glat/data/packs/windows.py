"""Windows that training draws from packs of long recordings; see `glat.data.packs.cutting`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..windows.source import Opened, Windows
from .read import PackedClips


@dataclass(frozen=True, eq=False, kw_only=True)
class WindowsOfPacks(Windows):
    """Windows of recordings whose rows follow each other; one lies in at most two rows."""

    packed: PackedClips
    first_row: NDArray[np.int64]  # [R], of each recording in `packed`

    storage = "pack"

    def read(self, row: int) -> NDArray[np.int16]:
        """See `PackedClips.read`."""
        span = self.span(row)
        index, skipped = divmod(span.start, self.clip_samples)
        row = int(self.first_row[span.recording]) + index
        part = self.packed.read(row)[skipped:]
        if len(part) >= span.samples:
            return part[: span.samples]
        return np.concatenate([part, self.packed.read(row + 1)[: span.samples - len(part)]])


def drawn(packed: PackedClips) -> Windows:
    """Windows to train on, of packs of long recordings: whole ones, as their rows follow each other."""
    assert packed.origins is not None
    starts = packed.starts
    first = np.flatnonzero(starts == 0)
    base = {
        "packed": packed,
        "first_row": first,
        "recordings": tuple(packed.origins[row].recording for row in first.tolist()),
        "totals": np.add.reduceat(packed.lengths, first),
        "timeline": packed.timeline,
        "classes": packed.classes,
        "sample_rate_hz": packed.sample_rate_hz,
        "clip_samples": packed.clip_samples,
    }
    opened = Opened(
        WindowsOfPacks,
        base,
        packed.targets.subset(first),  # of weakly labelled recordings every row has the labels of all
        0.0,
        folds=None if packed.folds is None else tuple(packed.folds[row] for row in first.tolist()),
        remarks=None if packed.remarks is None else tuple(packed.remarks[row] for row in first.tolist()),
    )
    return opened.windows(np.arange(len(first)), drawn=True)
