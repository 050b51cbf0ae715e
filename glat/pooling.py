"""Pooling of the scores of several crops into one score a clip, as probabilities and in log space."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def max_mean(probs: Tensor, dim: int) -> Tensor:
    """P of the paper's equation 3 and of its fusion: ``0.5 (max + mean)`` along `dim`."""
    return 0.5 * (probs.amax(dim) + probs.mean(dim))


def max_mean_log_probs(logits: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """``log p`` and ``log(1 - p)`` of ``p = 0.5 (max + mean)`` of ``sigmoid(logits)`` along `dim`, without a clamp.

    p is a mean of probabilities with weights w that sum to one, 1/2N each and 1/2 more for the largest, so::

        log p = logsumexp(log w_i + logsigmoid(z_i)),    log(1 - p) = logsumexp(log w_i + logsigmoid(-z_i))

    finite for any finite logits (the probability itself is 0 or 1 in float32 from 17 and 104 on). Runs in float32
    (float64 for float64), also under autocast. At a tie the first maximum takes the half and its gradient.

    Args:
        logits: [..., N, ...], any floating dtype.
        dim: the axis of N.

    Returns:
        Two tensors without that axis; differentiable.

    Source: paper, equation 3 and section 2.3. Deviation: in log space, since the paper's BCE of a pooled probability
    needs a clamp, whose gradient is zero exactly where the network is most wrong.
    """
    with torch.autocast(logits.device.type, enabled=False):
        z = logits.to(torch.promote_types(logits.dtype, torch.float32))
        N = z.shape[dim]
        largest = F.one_hot(z.argmax(dim), N).movedim(-1, dim)
        log_weights = torch.where(largest.bool(), math.log(0.5 + 0.5 / N), math.log(0.5 / N)).to(z.dtype)
        return (
            torch.logsumexp(log_weights + F.logsigmoid(z), dim),
            torch.logsumexp(log_weights + F.logsigmoid(-z), dim),
        )
