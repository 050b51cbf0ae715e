"""Sources whose clips are windows of recordings in memory or in files."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..clips import ClipSource, Origin
from ..recordings.audio import to_int16
from ..recordings.stretch import StretchedFile, read_stretch
from ..targets import Targets
from .grid import count_windows, window_name
from .timeline import Timeline

PLACES = 1 << 16  # starts of a window to draw from: 5 samples apart in 10 s at 32 kHz


class Span(NamedTuple):
    """A stretch of a recording, in samples."""

    recording: int
    start: int
    samples: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Windows(ClipSource):
    """M windows of R recordings; a subclass says where the samples of the recordings lie.

    Evaluated windows begin at `low`; `places` is then 1. Drawn windows begin from `low` to `high`, and `targets` are
    then the classes that may be heard, by which samplers draw: what is heard, `present` says.
    """

    recordings: tuple[str, ...]  # [R], names
    totals: NDArray[np.int64]  # [R], samples of each
    recording: NDArray[np.int32]  # [M], index into recordings
    low: NDArray[np.int64]  # [M], first sample of the recording that the window may begin at
    high: NDArray[np.int64]  # [M], last
    timeline: Timeline | None = None  # of the R recordings; None: their labels are weak

    row_arrays = ("recording", "low", "high")

    def span(self, row: int) -> Span:
        """Where a row or drawn row lies."""
        place, window = divmod(row, len(self))
        low, high, recording = int(self.low[window]), int(self.high[window]), int(self.recording[window])
        start = low + (high - low) * place // max(1, self.places - 1)
        return Span(recording, start, min(self.clip_samples, int(self.totals[recording]) - start))

    def name_of(self, row: int) -> str:
        """See `ClipSource.name_of`."""
        if self.places == 1:
            return self.names[row]
        span = self.span(row)
        return window_name(self.recordings[span.recording], span.start, span.samples, self.sample_rate_hz)

    def goes_bad_with(self, row: int) -> str:
        """See `ClipSource.goes_bad_with`: of drawn windows the recording, or each of its windows would be named."""
        return self.names[row] if self.places == 1 else self.recordings[self.recording[row % len(self)]]

    def present(self, rows: Tensor) -> Tensor:
        """See `ClipSource.present`."""
        if self.timeline is None or self.places == 1:
            return self.targets.dense(rows % len(self))
        found = torch.zeros(len(rows), len(self.classes), dtype=torch.bool)
        rate = self.sample_rate_hz
        for i, row in enumerate(rows.tolist()):
            span = self.span(row)
            events = self.timeline.within(span.recording, span.start / rate, (span.start + span.samples) / rate)
            found[i, [event.label for event in events]] = True
        return found

    def identity(self) -> bytes:
        """See `ClipSource.identity`."""
        times = b"" if self.timeline is None else self.timeline.to_bytes()
        return np.stack([self.low, self.high]).tobytes() + self.totals.tobytes() + times


@dataclass(frozen=True, eq=False, kw_only=True)
class WindowsInMemory(Windows):
    """Windows of recordings that are decoded."""

    waves: tuple[NDArray[np.int16], ...]  # [R] of [S]

    storage = "memory"

    def read(self, row: int) -> NDArray[np.int16]:
        """See `ClipSource.read`; nothing can go bad here."""
        span = self.span(row)
        return self.waves[span.recording][span.start : span.start + span.samples]


@dataclass(frozen=True, eq=False, kw_only=True)
class WindowsOfFiles(Windows):
    """Windows that are decoded as they are heard: the decoder seeks, and reads no more than the window."""

    files: tuple[StretchedFile, ...]  # [R]

    storage = "files"
    wave_dtype: ClassVar[torch.dtype] = torch.float32

    def read(self, row: int) -> NDArray[np.int16]:
        """See `ClipSource.read`."""
        return to_int16(self.read_samples(row))

    def read_samples(self, row: int) -> NDArray[np.float32]:
        """The samples of a window, full scale ±1.

        Raises:
            UnreadableAudio: gone, or gone bad since the source was opened; samples on another scale. A silent window
                is heard: its recording need not be silent.
        """
        span = self.span(row)
        return read_stretch(self.files[span.recording], span.start, span.samples, self.sample_rate_hz)


@dataclass(frozen=True, eq=False)
class Opened:
    """R recordings, ready to be cut into windows.

    Attributes:
        base: a source of type `kind` without its windows: where the samples lie, rate, length of a clip and classes.
        weak: [R, L], the labels of the recordings; used where `timeline` is None.
    """

    kind: type[Windows]
    base: dict[str, Any]
    weak: Targets
    least_seconds: float  # a shorter rest of a recording is no window of its own
    folds: tuple[str, ...] | None = None  # [R]
    remarks: tuple[tuple[str, ...], ...] | None = None  # [R]

    def windows(self, recordings: NDArray[np.int64], drawn: bool) -> Windows:
        """Windows of some recordings.

        Args:
            recordings: [r], their indices.
            drawn: for training, which draws where each begins.
        """
        S, rate = self.base["clip_samples"], self.base["sample_rate_hz"]
        totals: NDArray[np.int64] = self.base["totals"]
        least = round(self.least_seconds * rate)
        counts = np.array([count_windows(int(totals[r]), S, least) for r in recordings], np.int64)
        recording = np.repeat(recordings, counts)
        index = np.concatenate([np.arange(count) for count in counts] or [np.zeros(0, np.int64)])
        of = np.repeat(counts, counts)
        if drawn:
            room = np.maximum(0, totals[recording] - S)  # what a window may begin at, beyond 0
            low, high = room * index // of, room * (index + 1) // of
        else:
            low = high = index * S
        lengths = np.minimum(S, totals[recording] - low)
        spans = list(zip(recording.tolist(), low.tolist(), (high + lengths).tolist(), strict=True))
        names: tuple[str, ...] = self.base["recordings"]
        timeline: Timeline | None = self.base["timeline"]
        events = None
        targets = self.weak.subset(recording)
        if timeline is not None:
            events = tuple(timeline.within(r, start / rate, end / rate) for r, start, end in spans)
            labels = ([event.label for event in found] for found in events)
            targets = Targets.from_labels(labels, self.weak.num_classes)

        def of_windows(column: tuple[Any, ...] | None) -> Any:
            return None if column is None else tuple(column[r] for r in recording.tolist())

        return self.kind(
            **self.base,
            names=tuple(window_name(names[r], start, end - start, rate) for r, start, end in spans),
            recording=recording.astype(np.int32),
            low=low,
            high=high,
            lengths=lengths,
            targets=targets,
            events=None if drawn else events,
            origins=tuple(Origin(names[r], start / rate) for r, start, _ in spans),
            folds=of_windows(self.folds),
            remarks=self._remarks(recording),
            places=PLACES if drawn else 1,
        )

    def _remarks(self, recording: NDArray[np.int64]) -> tuple[tuple[str, ...], ...] | None:
        """Those of a recording stand beside its first window."""
        if self.remarks is None:
            return None
        is_first = np.concatenate([[True], recording[1:] != recording[:-1]])
        return tuple(self.remarks[r] if begins else () for r, begins in zip(recording, is_first, strict=True))
