"""Which clips a training step hears."""

import functools

import torch
from torch import Tensor


def batch_indices(step: int, batch_size: int, num_clips: int, seed: int) -> Tensor:
    """Rows [B] int64 of the clips of a step: an endless sequence of epochs, every epoch a permutation of its own.

    A pure function of its arguments, so that a resumed run needs no sampler state; batches are always full and may
    reach over the end of an epoch.
    """
    first = step * batch_size
    rows: list[int] = []
    while len(rows) < batch_size:
        epoch, offset = divmod(first + len(rows), num_clips)
        order = _epoch_order(epoch, num_clips, seed)
        rows.extend(order[offset : offset + batch_size - len(rows)])
    return torch.tensor(rows)


@functools.lru_cache(maxsize=2)
def _epoch_order(epoch: int, num_clips: int, seed: int) -> list[int]:
    # The step's own generator: the weights' and dropout's draws stay what they are.
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(num_clips, generator=generator).tolist()
