"""From a sampler's rows to the parts of a step's batch, on the device."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ..data import Batch, ClipSource
from ..data.loading.batches import Loading
from ..data.loading.samplers import RowStream, Sampler, State
from ..ranks import Ranks


class Feed:
    """The batches of training, made ahead of their use, with the sampler's state as of what training has had.

    Args:
        source: the training clips.
        sampler: draws the rows of whole steps, the same on every rank, which loads its own part of them.
        loading: how they are read.
        draw: rows a step, over all ranks.
        accumulate: parts that this rank's share of a step is cut into.
        waiting: what to wait for a batch in.
    """

    def __init__(
        self,
        source: ClipSource,
        sampler: Sampler,
        loading: Loading,
        draw: int,
        accumulate: int,
        device: torch.device,
        ranks: Ranks,
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._source, self._loading, self._device = source, loading, device
        self._waiting = waiting
        self._stream, self._accumulate = RowStream(sampler, draw), accumulate
        self._share = ranks.part(draw)
        self._drawn = deque[Tensor]()  # rows of the steps that are being loaded
        self._batches = loading.batches(source, self._parts(), device)
        self.heard: dict[int, Tensor] = {}  # rows of steps, until somebody clears it

    def _parts(self) -> Iterator[Tensor]:
        for rows in self._stream:
            self._drawn.append(rows)
            yield from rows[self._share].chunk(self._accumulate)

    def parts(self, step: int) -> Iterator[Batch]:
        """This rank's parts of the next step's batch, which is noted as that of `step`."""
        for _ in range(self._accumulate):
            with self._waiting():
                batch = next(self._batches)
            yield batch
        self.heard[step] = self._drawn.popleft()
        self._stream.delivered()

    def load(self, rows: Tensor) -> Batch:
        """The clips of some rows, out of turn."""
        return load(self._source, rows, self._loading, self._device)

    def state(self) -> State:
        """The sampler's after the last step."""
        return self._stream.state()

    def close(self) -> None:
        """Leave nothing running."""
        self._batches.close()


def load(source: ClipSource, rows: Tensor, loading: Loading, device: torch.device) -> Batch:
    """The clips of some rows."""
    batches = loading.batches(source, [rows], device)
    try:
        return next(batches)
    finally:
        batches.close()


class SomeClips(Iterable[Tensor]):
    """Waves [b, S] of `count` to twice as many clips at even distances, or of all; read anew each time."""

    def __init__(self, source: ClipSource, loading: Loading, count: int) -> None:
        self._source, self._loading = source, loading
        self._rows = torch.arange(0, len(source), max(1, len(source) // count))

    def __iter__(self) -> Iterator[Tensor]:
        cpu = torch.device("cpu")
        yield from (batch.wave for batch in self._loading.batches(self._source, self._rows.split(16), cpu))
