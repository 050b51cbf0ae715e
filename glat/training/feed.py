"""Batches for training: the sampler's rows, loaded, on the device, in the parts of a step."""

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
    """The batches of training, loaded ahead of their use, and the sampler's state after the last consumed batch.

    Args:
        source: the training clips.
        sampler: draws the rows of whole steps. Every rank draws the same rows and loads its own share of them.
        loading: how clips are read.
        draw: rows a step, over all ranks.
        accumulate: this rank's share of a step is cut into so many parts.
        waiting: a context that is entered while a batch is waited for.
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
        self._waiting = waiting
        self._stream, self._accumulate = RowStream(sampler, draw), accumulate
        self._share = ranks.part(draw)
        self._drawn = deque[Tensor]()  # rows of the steps that are being loaded
        self._batches = loading.batches(source, self._parts(), device)
        self._heard: dict[int, Tensor] = {}  # rows of each step since `take_heard`

    def _parts(self) -> Iterator[Tensor]:
        for rows in self._stream:
            self._drawn.append(rows)
            yield from rows[self._share].chunk(self._accumulate)

    def parts(self, step: int) -> Iterator[Batch]:
        """This rank's parts of the next batch, whose rows are noted as those of `step`."""
        for _ in range(self._accumulate):
            with self._waiting():
                batch = next(self._batches)
            yield batch
        self._heard[step] = self._drawn.popleft()
        self._stream.delivered()

    def take_heard(self) -> dict[int, Tensor]:
        """Rows [B] int64, of all ranks, of each step since the last call."""
        heard, self._heard = self._heard, {}
        return heard

    def state(self) -> State:
        """The sampler's state after the last step."""
        return self._stream.state()

    def close(self) -> None:
        """Stop loading; no thread is left."""
        self._batches.close()


def load_batch(source: ClipSource, rows: Tensor, loading: Loading, device: torch.device) -> Batch:
    """The batch of some rows, now."""
    batches = loading.batches(source, [rows], device)
    try:
        return next(batches)
    finally:
        batches.close()


class SomeClips(Iterable[Tensor]):
    """Waves [b, S] of evenly spaced clips, `count` to twice as many, or all where there are fewer; read at each use."""

    def __init__(self, source: ClipSource, loading: Loading, count: int) -> None:
        self._source, self._loading = source, loading
        self._rows = torch.arange(0, len(source), max(1, len(source) // count))

    def __iter__(self) -> Iterator[Tensor]:
        cpu = torch.device("cpu")
        yield from (batch.wave for batch in self._loading.batches(self._source, self._rows.split(16), cpu))
