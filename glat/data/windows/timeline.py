"""What sounds when in many recordings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..clips import Event
from ..recordings.recording import Sounding

MIN_OVERLAP_SECONDS = 0.3  # about a frame of the networks (0.32 s): what is heard for less can hardly be learnt
_SLACK = 1e-6  # seconds, for times that were rounded


@dataclass(frozen=True, eq=False)
class Timeline:
    """E events of R recordings, those of a recording behind each other."""

    first: NDArray[np.int64]  # [R + 1], of each recording's events
    labels: NDArray[np.int64]  # [E], indices of classes
    onsets: NDArray[np.float64]  # [E], seconds of the recording
    offsets: NDArray[np.float64]  # [E]
    min_overlap_seconds: float

    @staticmethod
    def of(
        recordings: Iterable[Sequence[Sounding] | None], classes: tuple[str, ...], min_overlap_seconds: float
    ) -> "Timeline":
        """The events of recordings; None: of none."""
        column = {label: k for k, label in enumerate(classes)}
        each = [sorted(found or (), key=lambda s: (s.onset_seconds, s.offset_seconds, s.label)) for found in recordings]
        every = [sounding for found in each for sounding in found]
        return Timeline(
            np.concatenate([[0], np.cumsum([len(found) for found in each])]).astype(np.int64),
            np.array([column[s.label] for s in every], np.int64),
            np.array([s.onset_seconds for s in every], np.float64),
            np.array([s.offset_seconds for s in every], np.float64),
            min_overlap_seconds,
        )

    def within(self, recording: int, start_seconds: float, end_seconds: float) -> tuple[Event, ...]:
        """The events that sound long enough in a stretch of a recording, in seconds from its start, cut at its ends."""
        here = slice(int(self.first[recording]), int(self.first[recording + 1]))
        onsets, offsets = self.onsets[here], self.offsets[here]
        overlaps = np.minimum(offsets, end_seconds) - np.maximum(onsets, start_seconds)
        wanted = np.minimum(self.min_overlap_seconds, offsets - onsets)
        # A moment lies in one window only: its end is the next one's start.
        counts = (overlaps >= wanted - _SLACK) & np.where(
            offsets > onsets, overlaps > 0, (onsets >= start_seconds) & (onsets < end_seconds)
        )
        cut = np.clip(np.stack([onsets, offsets], 1)[counts], start_seconds, end_seconds) - start_seconds
        labels = self.labels[here][counts].tolist()
        return tuple(Event(label, *times) for label, times in zip(labels, cut.tolist(), strict=True))

    def subset(self, recordings: NDArray[np.int64]) -> "Timeline":
        """The events of some recordings."""
        events = [np.arange(self.first[r], self.first[r + 1]) for r in recordings.tolist()]
        rows = np.concatenate([np.zeros(0, np.int64), *events])
        first = np.concatenate([[0], np.cumsum([len(each) for each in events])]).astype(np.int64)
        return Timeline(first, self.labels[rows], self.onsets[rows], self.offsets[rows], self.min_overlap_seconds)

    def to_bytes(self) -> bytes:
        """All that labels depend on."""
        columns = (self.first, self.labels, self.onsets, self.offsets, np.array([self.min_overlap_seconds]))
        return b"".join(np.ascontiguousarray(column).tobytes() for column in columns)
