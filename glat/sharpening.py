"""Frame probabilities sharpened by what the local stream says of each crop."""

import numpy as np
from numpy.typing import NDArray

WEIGHT = 0.5  # the two streams heard the same samples, so the second opinion counts half
_LEAST = 1e-7  # probabilities nearer to 0 or 1 count as this: what float32 tells apart there is noise

Floats = NDArray[np.float64]


def sharpened(
    frame_logits: NDArray[np.floating],
    clip_probs: NDArray[np.floating],
    crop_probs: NDArray[np.floating],
    classes: NDArray[np.int64],
    starts: NDArray[np.int64],
    crop_samples: int,
    clip_samples: int,
    weight: float = WEIGHT,
) -> Floats:
    """Frame probabilities of a clip, raised in crops that the local stream confirms and lowered in those it refuses.

    A frame's odds of the class k that a crop was cut for are multiplied by the local stream's odds of k in that crop
    over the global stream's odds of k in the clip, to the power of `weight`::

        logit s_tk = logit g_tk + weight (logit l_nk - logit G_k)      for frames t in a crop n that was cut for k

    Where crops of a class overlap, the larger l counts. Frames outside all crops of a class keep ``g_tk``. A local
    stream that hears in the crop what the global stream heard in the clip changes nothing.

    Args:
        frame_logits: [T, L], logit g, of the global stream. Frame t is in a crop where its middle is: S (t + 1/2) / T.
        clip_probs: [L], G, of the global stream.
        crop_probs: [N, L], l, of the local stream.
        classes, starts: [N], the class that each crop was cut for, and its first sample.
        crop_samples, clip_samples: W and S.
        weight: 0 leaves the frames as they are.

    Returns:
        [T, L] probabilities.

    Source: none.
    """
    T, L = frame_logits.shape
    middles = (np.arange(T) + 0.5) * clip_samples / T
    inside = (middles >= starts[:, None]) & (middles < starts[:, None] + crop_samples)  # [N, T]
    local = np.full((T, L), -np.inf)
    for n, k in enumerate(classes):
        local[inside[n], k] = np.maximum(local[inside[n], k], _logit(crop_probs[n, k]))
    more = np.where(np.isinf(local), 0.0, weight * (local - _logit(clip_probs)))
    with np.errstate(over="ignore"):  # exp(inf): a probability of 0
        return np.asarray(1 / (1 + np.exp(-(frame_logits.astype(np.float64) + more))))


def _logit(probs: NDArray[np.floating]) -> Floats:
    p = np.clip(np.asarray(probs, np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(p / (1 - p)))
