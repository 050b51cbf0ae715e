"""Many recordings through one model: read ahead, windows of several in a batch, one outcome each, in order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .hearing import Listener, check_finite
from .reading import Again, Ended, Item, ReadAhead, Source, cut
from .recording import Recording
from .windows import Grid, Window


@dataclass(frozen=True)
class Outcome:
    """One recording, heard to its end or given up."""

    index: int
    windows: int  # that reached the model
    samples: int
    recording: Recording | None  # None where there is an error
    error: UserError | None
    remarks: tuple[str, ...] = ()  # what is odd about it


class Start(NamedTuple):
    """Where hearing begins, so that a job that goes on makes the batches that it would have made."""

    recording: int = 0  # the first to read
    drop: int = 0  # of its windows, heard by an earlier process in an earlier batch
    wanted: int = 0  # the first recording whose outcome is wanted

    @staticmethod
    def after(windows_done: Sequence[int], batch_size: int) -> "Start":
        """Behind recordings that are done and had so many windows each."""
        total = sum(windows_done)
        boundary = total // batch_size * batch_size  # windows from here on shared a batch with what is to come
        before = total
        recording = len(windows_done)
        while before > boundary:
            recording -= 1
            before -= windows_done[recording]
        return Start(recording, boundary - before, len(windows_done))


def hear(
    listener: Listener,
    grid: Grid,
    sources: Sequence[Source],
    make: Callable[[int], Recording],
    *,
    batch_size: int,
    threads: int = 1,
    start: Start | None = None,
    report: Callable[[float], None] = lambda seconds: None,
) -> Iterator[Outcome]:
    """Hear recordings; what is held grows neither with their number nor with their length.

    A batch is made of the windows in the order of the recordings, whatever recordings they are of: its rows depend on
    nothing but `sources` and `batch_size`, so that a job in two parts says the same, bit for bit, as in one.

    Args:
        make: the `Recording` for an index of `sources`.
        batch_size: windows at a time.
        threads: recordings that are read at once.
        start: where to begin.
        report: told how many seconds of audio went through the model since the last time.

    Returns:
        An outcome for each of `sources` from `start.wanted` on, in order.
    """
    start = start or Start()
    hearing = _Hearing(listener, grid, make, start.wanted)
    producers = [partial(cut, source, grid) for source in sources[start.recording :]]
    waiting: list[tuple[int, Item]] = []
    ready: list[Window] = []
    drop = start.drop
    for index, item in ReadAhead(producers, threads, 2 * batch_size):
        if isinstance(item, Exception) and not isinstance(item, UserError):
            raise item
        if isinstance(item, Window):
            if drop:
                drop -= 1  # only recordings before `wanted` have such windows
                continue
            ready.append(item)
        waiting.append((start.recording + index, item))
        if len(ready) == batch_size or not ready:
            yield from hearing.go(waiting, ready)
            report(_seconds(ready, grid))
            waiting, ready = [], []
    yield from hearing.go(waiting, ready)
    report(_seconds(ready, grid))


def _seconds(ready: list[Window], grid: Grid) -> float:
    return sum(window.new for window in ready) / grid.sample_rate_hz


class _Hearing:
    def __init__(self, listener: Listener, grid: Grid, make: Callable[[int], Recording], wanted: int) -> None:
        self.listener, self.make, self.wanted = listener, make, wanted
        self.current: Recording | None = None
        self.error: UserError | None = None
        self.windows = 0

    def go(self, waiting: list[tuple[int, Item]], ready: list[Window]) -> Iterator[Outcome]:
        """Score the windows and hand everything to its recording, in order."""
        row = 0
        heard = self.listener.hear(np.stack([w.wave for w in ready]), [w.valid for w in ready]) if ready else None
        for index, item in waiting:
            wanted = index >= self.wanted
            if wanted and self.current is None:
                self.current = self.make(index)
            if isinstance(item, Window):
                self.windows += 1
                assert heard is not None
                if self.current is not None and self.error is None:
                    try:
                        check_finite(self.current.name, heard, row, self.listener.streams)
                        self.current.add(item, heard, row)
                    except UserError as error:
                        self.error = error
                row += 1
                continue
            if isinstance(item, Again):
                if wanted:
                    self.current = self.make(index)
                continue
            failure = item if isinstance(item, UserError) else self.error
            count, recording = self.windows, self.current
            self.current, self.error, self.windows = None, None, 0
            if wanted:
                samples, remarks = (item.samples, item.remarks) if isinstance(item, Ended) else (0, ())
                yield Outcome(index, count, samples, None if failure else recording, failure, remarks)
