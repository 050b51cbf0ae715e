"""The released program's selection of crops, rewritten: the loop that select_crops replaces."""

import torch
from torch import Tensor


def released_selection(
    clip_probs: Tensor, frame_probs: Tensor, wave: Tensor, num_crops: int, crop_samples: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Crops [B, N, W], classes [B, N] and starts [B, N] by a loop over clips and crops, each waiting for its value.

    Args:
        clip_probs: [B, L] probabilities.
        frame_probs: [B, T, L] probabilities.
        wave: [B, S]; the program assumes that S is ten seconds.
        num_crops: N.
        crop_samples: W, even.
    """
    B, T, _ = frame_probs.shape
    S, W = wave.shape[1], crop_samples
    half, o = W // 2, int(W * T / S) // 4
    classes = torch.sort(clip_probs, dim=1, descending=True).indices[:, :num_crops]
    crops, starts = [], []
    for b in range(B):
        maps = frame_probs[b][:, classes[b]].T.contiguous()  # [N, T]
        for n in range(num_crops):
            m = int(torch.argmax(maps[n]))  # the host waits for the device here
            centre = int(S * m / T)
            if centre + half >= S:
                start = S - W
                maps[:, -2 * o :] = 0  # all of it where o is 0
            elif centre - half < 0:
                start = 0
                maps[:, : 2 * o] = 0
            else:
                start = centre - half
                maps[:, m - o : m + o] = 0
            crops.append(wave[b, start : start + W])
            starts.append(start)
    audio = torch.stack(crops).view(B, num_crops, W)
    return audio, classes, torch.tensor(starts, device=wave.device).view(B, num_crops)
