"""soxr's resampling as matrix products, for devices that soxr does not run on."""

import functools
import math
from typing import TypeVar

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

_LARGEST_STEP = 2048  # samples; rates that meet more seldom would need matrices of tens of megabytes
_LEAST_BLOCK = 256  # samples that one product makes at least: products of narrow matrices are slow
_NEGLIGIBLE = 1e-7  # of the largest entry: 140 dB down; soxr HQ itself is good to 120 dB


Count = TypeVar("Count", int, NDArray[np.int64])


def resampled_length(samples: Count, in_hz: Count, out_hz: int) -> Count:
    """How many samples soxr makes of so many."""
    return (2 * samples * out_hz + in_hz) // (2 * in_hz)


def can_resample(in_hz: int, out_hz: int) -> bool:
    """Whether `resample` is for these rates; for common rates it is."""
    shared = math.gcd(in_hz, out_hz)
    return max(in_hz, out_hz) // shared <= _LARGEST_STEP


def resample(wave: Tensor, in_hz: int, out_hz: int) -> Tensor:
    """Resample a batch on its device as soxr HQ does, which is linear: two matrices, measured on soxr, say all of it.

    Args:
        wave: [B, S] float32.
        in_hz, out_hz: rates for which `can_resample` holds.

    Returns:
        [B, S'], S' = resampled_length(S): within 1e-5 of soxr's samples for a wave of full scale ±1. What follows the
        last sample is taken as zeros.
    """
    S = wave.shape[1]
    step, before, head, body = _matrices(in_hz, out_hz, wave.device)
    length = resampled_length(S, in_hz, out_hz)
    blocks = max(1, -(-length // body.shape[1]))
    needed = max(before + len(head), (blocks - 1) * step + len(body))
    padded = torch.nn.functional.pad(wave, (before, max(0, needed - before - S)))
    first = padded[:, before : before + len(head)]
    # A user's choice of TF32 is for networks; here it would add noise at -60 dB.
    allowed, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    try:
        with torch.autocast(wave.device.type, enabled=False):
            out = (padded.unfold(1, len(body), step)[:, :blocks] @ body).flatten(1)
            out[:, : head.shape[1]] = first @ head
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    return out[:, :length]


@functools.lru_cache(maxsize=16)
def _matrices(in_hz: int, out_hz: int, device: torch.device) -> tuple[int, int, Tensor, Tensor]:
    """(step, before, head [J, P], body [K, P]).

    Output block k, P samples, is the product of body and the K input samples from ``k * step - before``; the first
    block is that of head and the first J samples, as soxr begins a little differently.
    """
    shared = math.gcd(in_hz, out_hz)
    step, block = in_hz // shared, out_hz // shared
    repeat = -(-_LEAST_BLOCK // block)
    step, block = repeat * step, repeat * block
    reach = -(-4096 * max(1, -(-in_hz // out_hz)) // step)  # blocks to either side, longer than soxr's filters
    blocks = 2 * reach + 1

    def responses(first: int) -> NDArray[np.float64]:
        """[step, blocks, block]: what soxr makes of a one at each of `step` samples from `first` on."""
        made = np.zeros((step, blocks, block))
        for i in range(step):
            impulse = np.zeros(blocks * step)
            impulse[first + i] = 1
            made[i] = soxr.resample(impulse, in_hz, out_hz, quality="HQ").reshape(blocks, block)
        return made

    # A one in block `reach` shows in block b what block `reach` gets of a one in block 2 * reach - b.
    middle = responses(reach * step)[:, ::-1].transpose(1, 0, 2).reshape(-1, block)
    audible = np.flatnonzero(np.abs(middle).max(1) > _NEGLIGIBLE * np.abs(middle).max())
    start, end = audible[0], audible[-1] + 1
    before = reach * step - int(start)
    after = int(end) - reach * step
    head = np.concatenate([responses(k * step)[:, 0] for k in range(-(-after // step))])
    return (
        step,
        before,
        torch.from_numpy(head.astype(np.float32)).to(device),
        torch.from_numpy(middle[start:end].astype(np.float32)).to(device),
    )
