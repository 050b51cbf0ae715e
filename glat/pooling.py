"""Pooling of the scores of several frames or crops into one score a clip, as probabilities and in log space."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import UserError


def largest(x: Tensor, dim: int) -> Tensor:
    """The maximum along `dim`, whose gradient goes to where it was found: at a tie, to the first.

    Not ``amax``: its gradient looks for the entries that equal the maximum. torch.compile computes the entries a second
    time in the backward pass, without the rounding to bfloat16 in between; then none is equal, and the gradient is
    0 / 0. An index cannot be missed.
    """
    return x.max(dim).values


def max_mean(probs: Tensor, dim: int) -> Tensor:
    """P of the paper's equation 3 and of its fusion: ``0.5 (max + mean)`` along `dim`; ties as in `largest`."""
    return 0.5 * (largest(probs, dim) + probs.mean(dim))


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
        z = _at_least_float32(logits)
        return _weighted_log_probs(z, _max_mean_log_weights(z, dim), dim)


POOLINGS = ("max", "average", "max_mean", "linear", "exponential", "attention")


def pool_logits(frame_logits: Tensor, pooling: str, dim: int = 1, attention: Tensor | None = None) -> Tensor:
    """The logit of a clip's probability, pooled from the probabilities of its frames without leaving log space.

    With ``y_t = sigmoid(z_t)``, the clip's probability p is a mean of them with weights w that sum to one::

        max          1 for the largest                  average      1 / T
        max_mean     1 / 2T, and 1/2 more for the largest
        linear       y_t / sum y                        exponential  e^y_t / sum e^y
        attention    softmax over the frames of `attention`

        logit p = log p - log(1 - p) = logsumexp(log w_t + logsigmoid(z_t)) - logsumexp(log w_t + logsigmoid(-z_t))

    finite, with a gradient, for any finite frame logits: the loss needs no clamp. Runs in float32 (float64 for
    float64), also under autocast. Any stream that scores its frames can be pooled so; so can crops.

    Args:
        frame_logits: [B, T, L] (or any shape with frames along `dim`), any floating dtype.
        pooling: one of `POOLINGS`. "max" and "average" are GMP and GAP of the probabilities, "linear" and
            "exponential" the softmaxes of TALNet.
        dim: the axis of T.
        attention: logits of the weights, the shape of `frame_logits`; for "attention" only.

    Returns:
        [B, L] float32 (float64); differentiable in `frame_logits` and `attention`. At a tie the first
        maximum takes the gradient of "max" and the half of "max_mean".

    Raises:
        UserError: an unknown name, attention logits where none are wanted or missing where they are.

    Source: Wang, Li and Metze, "A comparison of five multiple instance learning pooling functions for sound event
    detection with weak labeling", 2019, table I; "max_mean": GL-AT, equation 3. Deviation: a logit; TALNet's program
    clamps the frame probabilities to [1e-7, 1 - 1e-7] instead, whose gradient is zero where it is most wrong.
    """
    if pooling not in POOLINGS:
        raise UserError(f"unknown pooling {pooling!r}; choose one of {', '.join(POOLINGS)}")
    if (attention is not None) != (pooling == "attention"):
        raise UserError(f"pooling {pooling!r} {'needs' if attention is None else 'takes no'} attention logits")
    with torch.autocast(frame_logits.device.type, enabled=False):
        z = _at_least_float32(frame_logits)
        if pooling == "max":
            return largest(z, dim)
        if pooling == "average":
            log_weights = z.new_zeros(())  # a common factor cancels in the difference
        elif pooling == "max_mean":
            log_weights = _max_mean_log_weights(z, dim)
        elif pooling == "linear":
            log_weights = F.logsigmoid(z).log_softmax(dim)
        elif pooling == "exponential":
            log_weights = z.sigmoid().log_softmax(dim)
        else:
            assert attention is not None
            log_weights = attention.to(z.dtype).log_softmax(dim)
        log_p, log_not_p = _weighted_log_probs(z, log_weights, dim)
        return log_p - log_not_p


class ClipPooling(nn.Module):
    """`pool_logits` as a layer, for a stream's clip score: attention brings its own weights, the others have none.

    Args:
        pooling: one of `POOLINGS`.
        channels, num_classes: C and L of the stream.

    Args of forward:
        features: [B, T, C], what the frames' classifier saw.
        frame_logits: [B, T, L].

    Returns of forward:
        Clip logits [B, L], float32.
    """

    def __init__(self, pooling: str, channels: int, num_classes: int) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise UserError(f"unknown pooling {pooling!r}; choose one of {', '.join(POOLINGS)}")
        self.pooling = pooling
        self.attention = nn.Linear(channels, num_classes) if pooling == "attention" else None

    def forward(self, features: Tensor, frame_logits: Tensor) -> Tensor:
        attention = None if self.attention is None else self.attention(features)
        return pool_logits(frame_logits, self.pooling, attention=attention)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _max_mean_log_weights(z: Tensor, dim: int) -> Tensor:
    """log of 1/2N each and 1/2 more for the largest."""
    N = z.shape[dim]
    first_largest = F.one_hot(z.argmax(dim), N).movedim(-1, dim)
    return torch.where(first_largest.bool(), math.log(0.5 + 0.5 / N), math.log(0.5 / N)).to(z.dtype)


def _weighted_log_probs(z: Tensor, log_weights: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """``log p`` and ``log(1 - p)`` of ``p = sum w sigmoid(z)`` along `dim`."""
    return (
        torch.logsumexp(log_weights + F.logsigmoid(z), dim),
        torch.logsumexp(log_weights + F.logsigmoid(-z), dim),
    )
