"""Recordings as windows, read ahead by threads while the model computes."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from ..data.recordings.decoding import Header, UnreadableAudio, decode_mono
from ..data.recordings.level import Meter, max_of, wrong_peak
from ..errors import UserError
from .windows import Cutter, Grid, Window

_BLOCK_SECONDS = 10

Take = Callable[[NDArray[np.float32]], None]  # takes the next block [n] of a recording


class Source(Protocol):
    """A recording to hear."""

    @property
    def name(self) -> str: ...

    def read(self, sample_rate_hz: int, begin: Callable[[], Take]) -> tuple[str, ...]:
        """Hand over the recording as mono at `sample_rate_hz`, block by block.

        Args:
            begin: called before the first block, and once more where reading has to start anew.

        Returns:
            What is odd about the recording, to be told to the user.

        Raises:
            UserError: at the block where it is found out that this is no recording to hear.
        """
        ...


class _AtRate:
    """Takes blocks at one rate and hands them on at another."""

    def __init__(self, rate_hz: int, sample_rate_hz: int, take: Take) -> None:
        self.take, self.peak = take, 0.0
        self.stream = None
        if rate_hz != sample_rate_hz:
            self.stream = soxr.ResampleStream(rate_hz, sample_rate_hz, 1, dtype="float32", quality="HQ")

    def __call__(self, block: NDArray[np.float32], last: bool = False) -> None:
        # A copy, as the decoder overwrites its block.
        block = block.copy() if self.stream is None else self.stream.resample_chunk(block, last=last)
        if len(block):
            self.peak = max_of(self.peak, max(float(block.max()), -float(block.min())))
            self.take(block)

    def finish(self) -> None:
        """Hand on what the resampler has left."""
        if self.stream is not None:
            self(np.zeros(0, np.float32), last=True)


@dataclass(frozen=True)
class FileSource:
    """A file to hear."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def read(self, sample_rate_hz: int, begin: Callable[[], Take]) -> tuple[str, ...]:
        """See `Source`."""
        at_rate: list[_AtRate] = []

        def start(header: Header) -> Take:
            at_rate[:] = [_AtRate(header.rate_hz, sample_rate_hz, begin())]
            return at_rate[0]

        facts = decode_mono(self.path, start)
        at_rate[0].finish()
        if reason := wrong_peak(at_rate[0].peak):  # the resampler makes NaN near the end of float32
            raise UnreadableAudio(self.path, reason)
        return facts.remarks


@dataclass(frozen=True)
class ArraySource:
    """Samples to hear: [S], floating with full scale ±1 or int16 with ±32767."""

    samples: NDArray[Any]
    rate_hz: int
    name: str = ""

    def read(self, sample_rate_hz: int, begin: Callable[[], Take]) -> tuple[str, ...]:
        """See `Source`."""
        take, samples, what = begin(), self.samples, self.name or "the array"
        if samples.ndim != 1 or not len(samples):
            raise UserError(f"{what} has the shape {list(samples.shape)}; wanted [S], samples of one channel, S > 0")
        if samples.dtype != np.int16 and not np.issubdtype(samples.dtype, np.floating):
            raise UserError(f"{what} is of {samples.dtype}; wanted floats with full scale ±1, or int16")
        at_rate, meter = _AtRate(self.rate_hz, sample_rate_hz, take), Meter()
        step = _BLOCK_SECONDS * self.rate_hz
        for start in range(0, len(samples), step):
            block = samples[start : start + step].astype(np.float32)
            if samples.dtype == np.int16:
                block /= 32767
            peak = float(np.abs(block).max())
            if not np.isfinite(peak):
                raise UserError(f"{what} holds NaN or infinite samples near {start / self.rate_hz:.1f} s")
            if peak > 1 and (reason := wrong_peak(peak)):
                raise UserError(f"{what} {reason}")
            at_rate(meter.mono(block[:, None]))
        if reason := meter.refusal():  # as of a file
            raise UserError(f"{what} {reason}; leave it out")
        at_rate.finish()
        return meter.remarks()


class Again(NamedTuple):
    """The recording starts anew: what came of it before is void."""


class Ended(NamedTuple):
    """A recording is read to its end."""

    samples: int
    remarks: tuple[str, ...]


Item = Window | Again | Ended | Exception


def cut(source: Source, grid: Grid, put: Callable[[Item], None]) -> None:
    """Read a recording and hand over its windows, then `Ended`."""
    cutter: Cutter | None = None

    def begin() -> Take:
        nonlocal cutter
        if cutter is not None:
            put(Again())
        cutter = own = Cutter(grid)

        def take(block: NDArray[np.float32]) -> None:
            for window in own.take(block):
                put(window)

        return take

    remarks = source.read(grid.sample_rate_hz, begin)
    assert cutter is not None
    for window in cutter.finish():
        put(window)
    if not cutter.samples:
        raise UserError(f"{source.name}: holds no samples at {grid.sample_rate_hz} Hz; leave it out")
    put(Ended(cutter.samples, remarks))


class _Stopped(Exception):  # noqa: N818  # no error: nobody wants the items any more
    pass


class ReadAhead:
    """The items of several producers, one producer after the other, which threads make ahead of their use.

    Args:
        producers: each hands its items to the function that it is given; what it raises is its last item.
        threads: producers at work at once.
        depth: items that each may be ahead.
    """

    _END = object()

    def __init__(self, producers: Sequence[Callable[[Callable[[Item], None]], None]], threads: int, depth: int) -> None:
        self._producers, self._depth, self._threads = producers, depth, threads
        self._queues: dict[int, queue.Queue[Any]] = {}
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[tuple[int, Item]]:
        """(index of the producer, item)."""
        started = 0
        try:
            for index in range(len(self._producers)):
                while started < min(len(self._producers), index + self._threads):
                    self._start(started)
                    started += 1
                items = self._queues.pop(index)
                while (item := items.get()) is not self._END:
                    yield index, item
        finally:
            self._stopped.set()

    def _start(self, index: int) -> None:
        items: queue.Queue[Any] = queue.Queue(self._depth)
        self._queues[index] = items

        def put(item: Any) -> None:
            while not self._stopped.is_set():
                try:
                    items.put(item, timeout=0.2)
                except queue.Full:
                    continue
                return
            raise _Stopped

        def work() -> None:
            try:
                try:
                    self._producers[index](put)
                except _Stopped:
                    raise
                except Exception as error:  # raised again by the thread that waits for the items
                    put(error)
                put(self._END)
            except _Stopped:
                pass

        threading.Thread(target=work, daemon=True, name=f"glat-read-{index}").start()
