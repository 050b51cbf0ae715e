"""Equations 4 to 6: the binary cross entropies of the two streams."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .pooling import max_mean_log_probs, pool_logits


class Losses(NamedTuple):
    """Scalars in float32; training minimises `total`."""

    total: Tensor
    global_: Tensor
    local_: Tensor


def global_bce(clip_logits: Tensor, targets: Tensor) -> Tensor:
    """Equation 5: mean binary cross entropy of ``sigmoid(clip_logits)``, [B, L] against targets [B, L] in 0..1.

    Source: paper. Deviation: the paper's equations 5 and 6 lack the minus sign and sum; this is the mean, as PANNs'.
    """
    with torch.autocast(clip_logits.device.type, enabled=False):
        return F.binary_cross_entropy_with_logits(*_same_precision(clip_logits, targets))


def local_bce(crop_logits: Tensor, targets: Tensor, pooling: str = "max_mean") -> Tensor:
    """Equation 6: mean binary cross entropy of ``0.5 (max + mean)`` of ``sigmoid(crop_logits)`` over the crops.

    `pooling` may choose another pool of `glat.pooling.pool_logits`, except attention.

    Computed in log space: finite for logits of ±1000, and the gradient does not vanish where the pooled probability is
    saturated on the wrong side. (If one crop alone is wrong, p is near 1/2, and its gradient is small.)

    Args:
        crop_logits: [B, N, L], any floating dtype; computed in float32 even under autocast.
        targets: [B, L] in 0..1.
        pooling: the paper's is "max_mean".

    Source: paper, equations 3 and 6. Deviation: as `global_bce`; in log space, see `max_mean_log_probs`.
    """
    with torch.autocast(crop_logits.device.type, enabled=False):
        z, y = _same_precision(crop_logits, targets)
        if pooling != "max_mean":
            return F.binary_cross_entropy_with_logits(pool_logits(z, pooling), y)
        log_p, log_not_p = max_mean_log_probs(z, dim=1)
        return -(y * log_p + (1 - y) * log_not_p).mean()


def two_stream_loss(
    clip_logits: Tensor,
    crop_logits: Tensor,
    targets: Tensor,
    global_weight: float = 1.0,
    local_weight: float = 1.0,
    crop_pooling: str = "max_mean",
) -> Losses:
    """Equation 4: ``global_weight * BCE(global) + local_weight * BCE(local)``; both weights are 1 in the paper."""
    global_, local_ = global_bce(clip_logits, targets), local_bce(crop_logits, targets, crop_pooling)
    return Losses(global_weight * global_ + local_weight * local_, global_, local_)


def _same_precision(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(dtype), targets.to(dtype)
