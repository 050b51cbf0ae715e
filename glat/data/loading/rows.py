"""Makers of batches: from clips in memory, or row by row from packs and from files that soundfile decodes."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..clips import Clips, ClipSource
from ..recordings.decoding import UnreadableAudio
from .remarks import Remarks


class Maker(Protocol):
    """Makes batches in the background."""

    def start(self, rows: list[int]) -> Any:
        """Start a batch; pass the result to `finish`."""
        ...

    def finish(self, started: Any) -> tuple[Tensor, Tensor, dict[int, str]]:
        """Finish the oldest batch: wave [B, S], lengths [B], {place in the batch: why it could not be read}."""
        ...

    def close(self) -> None:
        """Stop all threads."""
        ...


def read_row(source: ClipSource, row: int, known: dict[int, str], remarks: Remarks) -> NDArray[Any] | str:
    """The valid samples of a clip, whose oddities are noted, or the reason why it cannot be read."""
    if row in known:
        return known[row]
    try:
        samples, odd = source.hear(row)
    except UnreadableAudio as error:
        return error.reason
    remarks.note(source, row, odd)
    return samples


class FromMemory:
    """Clips in memory: indexed in the caller's thread."""

    def __init__(self, source: Clips) -> None:
        self.source = source

    def start(self, rows: list[int]) -> list[int]:
        return rows

    def finish(self, started: list[int]) -> tuple[Tensor, Tensor, dict[int, str]]:
        return self.source.waves[started], torch.from_numpy(self.source.lengths[started]), {}

    def close(self) -> None:
        pass


class RowByRow:
    """A pool of threads reads the clips, and decodes those that are encoded; each clip is one job.

    Threads suffice, since file reads, libsndfile and soxr release Python's lock. Unlike DataLoader's worker processes
    they need not copy the samples between processes.
    """

    def __init__(
        self, source: ClipSource, workers: int, known: dict[int, str], remarks: Remarks, device: torch.device
    ) -> None:
        self.source, self.known, self.remarks, self.pin = source, known, remarks, device.type == "cuda"
        self.workers = workers
        self.pool = ThreadPoolExecutor(workers, "glat-loader")

    def start(self, rows: list[int]) -> tuple[Tensor, list[Future[int | str]]]:
        size = len(rows), self.source.clip_samples
        wave = torch.empty(size, dtype=self.source.wave_dtype, pin_memory=self.pin)
        places = wave.numpy()
        return wave, [self.pool.submit(self._fill, place, row) for place, row in zip(places, rows, strict=True)]

    def _fill(self, place: NDArray[Any], row: int) -> int | str:
        samples = self.read(row)
        if isinstance(samples, str):
            return samples
        place[: len(samples)] = samples
        place[len(samples) :] = 0
        return len(samples)

    def read(self, row: int) -> NDArray[Any] | str:
        """The valid samples of a clip, or the reason why it cannot be read."""
        return read_row(self.source, row, self.known, self.remarks)

    def finish(self, started: tuple[Tensor, list[Future[int | str]]]) -> tuple[Tensor, Tensor, dict[int, str]]:
        wave, jobs = started
        results = [job.result() for job in jobs]
        reasons = {place: result for place, result in enumerate(results) if isinstance(result, str)}
        return wave, torch.tensor([0 if isinstance(result, str) else result for result in results]), reasons

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)
