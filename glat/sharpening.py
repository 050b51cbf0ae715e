"""Frame probabilities sharpened by what both streams say of the clip and of each crop."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

EventsBy = Literal["frames", "sharpened"]  # what events are found by: the frames as they are, or sharpened
EVENTS_BY: EventsBy = (
    "sharpened"  # where nobody says, by docs/study.md; without a local stream it is frames in any case
)
SAID = {"frames": "frames", "sharpened": "sharpened frames"}

Probs = NDArray[np.floating]


def sharpened(
    frame_probs: Probs,
    clip_probs: Probs,
    crop_probs: Probs,
    starts: NDArray[np.int64],
    crop_samples: int,
    clip_samples: int,
) -> Probs:
    """Frame probabilities of a clip, each averaged with what was said of the longer stretches that hold it::

        s_tk = sqrt(g_tk (G_k + l_tk) / 2)    for a frame t in a crop
        s_tk = sqrt(g_tk G_k)                 for a frame in none

    The frames of a network that was trained on clips say when a class would sound, if it sounds; whether it does, the
    clip's probability G knows better, and in a crop the local stream has half of the say: a crop that it refuses is
    damped, one that it confirms is raised. Where crops overlap, the larger l counts. A crop speaks of every class, not
    only of the one that it was cut for.

    Args:
        frame_probs: [T, L], g, of the global stream. Frame t is in a crop where its middle is: S (t + 1/2) / T.
        clip_probs: [L], G, of the global stream.
        crop_probs: [N, L], l, of the local stream.
        starts: [N], the crops' first samples.
        crop_samples, clip_samples: W and S.

    Returns:
        [T, L], of the type of `frame_probs`.

    Source: none; docs/study.md says how it was found, and what of it is the local stream's.
    """
    T, L = frame_probs.shape
    middles = (np.arange(T) + 0.5) * clip_samples / T
    weights = np.tile(clip_probs.astype(frame_probs.dtype), (T, 1))
    largest = np.zeros((T, L), frame_probs.dtype)
    for start, probs in zip(starts, crop_probs, strict=True):
        inside = (middles >= start) & (middles < start + crop_samples)
        largest[inside] = np.maximum(largest[inside], probs)
        weights[inside] = (clip_probs + largest[inside]) / 2
    return np.asarray(np.sqrt(frame_probs * weights), frame_probs.dtype)
