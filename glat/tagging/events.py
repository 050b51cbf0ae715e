"""Frame probabilities to events: when each class begins, ends and is clearest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from ..arguments import real, whole
from ..errors import UserError
from ..sharpening import EventsBy
from .frames import Frames
from .windows import Grid

THRESHOLD = 0.5  # where neither the user nor the run has any


@dataclass(frozen=True)
class TaggedEvent:
    """One sounding of a class.

    Attributes:
        file: the recording, "" of an array.
        label: the class.
        onset_seconds, offset_seconds: from the first to the end of the last frame, in seconds of the recording.
        peak_seconds: the middle of the likeliest frame.
        probability: of the class in that frame.
        global_, local_, fused: of the class in the window (a clip as long as those of the training) in whose middle the
            peak lies; local_ is NaN where the model has no local stream.
        events_by: which frames these are: "frames", as the global stream says them, or "sharpened".
    """

    file: str
    label: str
    onset_seconds: float
    offset_seconds: float
    peak_seconds: float
    probability: float
    global_: float
    local_: float
    fused: float
    events_by: EventsBy = "frames"


@dataclass(frozen=True)
class EventRules:
    """What counts as an event.

    Args:
        thresholds: [L], a frame belongs to an event of a class where its probability is at least this.
        min_seconds: shorter events are left out.
        merge_gap_seconds: two events of a class that are at most this far apart are one.
        top: only the so many classes of a recording whose fused probability is largest; None: all.
        events_by: which frames these are; it is noted with each event.

    Raises:
        UserError: numbers below zero or not finite, a `top` that is no whole number above zero.
    """

    thresholds: NDArray[np.float32]
    min_seconds: float = 0.0
    merge_gap_seconds: float = 0.0
    top: int | None = None
    events_by: EventsBy = "frames"

    def __post_init__(self) -> None:
        real("min_seconds", self.min_seconds, 0)
        real("merge_gap_seconds", self.merge_gap_seconds, 0)
        if self.top is not None:
            whole("top", self.top, 1)


def thresholds_of(value: float | Mapping[str, float] | None, classes: tuple[str, ...]) -> NDArray[np.float32]:
    """One threshold a class, [L].

    Args:
        value: one number for all, or numbers by class; None: 0.5. Classes that a table lacks have 0.5.

    Raises:
        UserError: a threshold outside 0 to 1, a class that the model does not know.
    """
    table = value if isinstance(value, Mapping) else dict.fromkeys(classes, THRESHOLD if value is None else value)
    if unknown := [label for label in table if label not in classes]:
        raise UserError(f"a threshold is given for {unknown[0]!r}, which is none of the model's {len(classes)} classes")
    for label, threshold in table.items():
        if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 < threshold <= 1:
            raise UserError(f"the threshold of {label!r} is {threshold!r}; give a probability above 0 and at most 1")
    return np.array([table.get(label, THRESHOLD) for label in classes], np.float32)


@dataclass
class _Open:
    """An event that may still grow."""

    onset: int
    offset: int  # behind its last frame
    peak: int
    probability: float
    streams: NDArray[np.float32]  # [3]


@dataclass
class EventFinder:
    """Finds events while the frames of one recording come; holds the events, not the frames."""

    rules: EventRules
    grid: Grid
    _open: dict[int, _Open] = field(default_factory=dict)
    _found: list[tuple[int, _Open]] = field(default_factory=list)

    def add(self, frames: Frames) -> None:
        """Take the next frames."""
        above = frames.probs >= self.rules.thresholds
        # A frame's length of slack, divided exactly: 0.5 s of frames of 0.1 s are 5 of them.
        gap = int(self.rules.merge_gap_seconds / self.grid.frame_seconds + 1e-6)
        for k in np.flatnonzero(above.any(axis=0)).tolist():
            edges = np.flatnonzero(np.diff(above[:, k], prepend=False, append=False))
            for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                peak = begin + int(frames.probs[begin:end, k].argmax())
                streams = frames.streams[peak, :, k]
                new = _Open(
                    frames.first + begin, frames.first + end, frames.first + peak, float(frames.probs[peak, k]), streams
                )
                event = self._open.get(k)
                if event is None or new.onset - event.offset > gap:
                    if event is not None:
                        self._found.append((k, event))
                    self._open[k] = new
                    continue
                event.offset = new.offset
                if new.probability > event.probability:
                    event.peak, event.probability, event.streams = new.peak, new.probability, new.streams

    def finish(
        self, file: str, seconds: float, classes: tuple[str, ...], fused: NDArray[np.float32]
    ) -> list[TaggedEvent]:
        """All events of the recording, by onset, then by class.

        Args:
            seconds: its length.
            fused: [L], its classes' largest fused probabilities, which rank them for `EventRules.top`.
        """
        kept = set(np.argsort(-fused, kind="stable")[: self.rules.top].tolist())
        unit = self.grid.frame_seconds
        events = []
        for k, event in sorted([*self._found, *self._open.items()], key=lambda e: (e[1].onset, e[0])):
            onset, offset = event.onset * unit, min(event.offset * unit, seconds)
            if k in kept and offset - onset >= self.rules.min_seconds - 1e-9:
                fused_, global_, local_ = (float(x) for x in event.streams)
                peak = min((event.peak + 0.5) * unit, seconds)
                scores = (event.probability, global_, local_, fused_)
                events.append(TaggedEvent(file, classes[k], onset, offset, peak, *scores, self.rules.events_by))
        return events
