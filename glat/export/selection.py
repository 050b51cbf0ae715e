"""`select_crops` in operators that every runtime has."""

import torch
from torch import Tensor

from ..kernels import Crops

_LEAST = torch.finfo(torch.float32).min
_NEVER = -torch.inf  # NaN, and frames that may not be searched


def plain_select_crops(
    rank_scores: Tensor,
    frame_logits: Tensor,
    wave: Tensor,
    *,
    num_crops: int,
    crop_samples: int,
    suppress: str,
    lengths: Tensor | None = None,
) -> Crops:
    """`glat.kernels.select_crops` of whole clips, in float32, by its rules for ties, NaN and infinities.

    The specification orders scores by their bits, which few runtimes can look at. Here a score stands for itself, NaN
    for minus infinity and minus infinity for the least finite number: the only scores that differ in the specification
    and tie here are these last two.

    Args:
        rank_scores, frame_logits, wave: as of `select_crops`, float32; T and S are known.
        num_crops, crop_samples, suppress: as of `select_crops`.
        lengths: None; a whole clip is searched.
    """
    assert lengths is None
    B, T, _ = frame_logits.shape
    S, N, W = wave.shape[1], num_crops, crop_samples
    # Stable, so that the first of equals is the better; ONNX's TopK, which it becomes, promises the same.
    classes = _keys(rank_scores).sort(dim=1, descending=True, stable=True).indices[:, :N]
    logits = frame_logits.gather(2, classes[:, None, :].expand(B, T, N)).mT  # [B, N, T]
    keys = _keys(logits)
    if suppress == "none":
        peak_frames = keys.argmax(2)  # the first of equals
        starts = crop_starts(peak_frames, S, T, W)
    else:
        found = []
        frame = torch.arange(T)
        for n in range(N):  # a later crop depends on the earlier ones
            m = keys[:, n].argmax(1, keepdim=True)
            found.append(m)
            spent = _spent(frame, m, S, W, suppress)
            keys = torch.where(spent[:, None, :], _NEVER if suppress == "crop" else _LEAST, keys)
        peak_frames = torch.cat(found, 1)
        starts = crop_starts(peak_frames, S, T, W)
    peaks = logits.gather(2, peak_frames[:, :, None])[..., 0].sigmoid()
    first = torch.arange(B, device=wave.device) * S
    source = (first[:, None, None] + starts[:, :, None]) + torch.arange(W)
    audio = wave.flatten().index_select(0, source.flatten()).view(B, N, W)
    return Crops(audio, classes, starts, peaks)


def _keys(scores: Tensor) -> Tensor:
    """Numbers in the order of the scores: equal zeros, NaN lowest."""
    keys = torch.where(scores == 0, 0.0, scores.clamp(min=_LEAST))
    return torch.where(scores.isnan(), _NEVER, keys)


def crop_starts(peak_frames: Tensor, S: int, T: int, W: int) -> Tensor:
    """The first samples of crops of W samples around frames, of T, in a clip of S samples."""
    centre = S * peak_frames // T
    return (centre - W // 2).clamp(min=0, max=S - W)


def _spent(frame: Tensor, m: Tensor, S: int, W: int, suppress: str) -> Tensor:
    """[B, T]: the frames that the crop of the peak frames m [B, 1] takes from later ones."""
    T = frame.shape[0]
    if suppress == "crop":
        start, sample = crop_starts(m, S, T, W), S * frame // T
        return (sample >= start) & (sample < start + W)
    assert suppress == "released"
    o = W * T // S // 4
    centre = S * m // T
    right = centre + W // 2 >= S  # tested first
    left = centre - W // 2 < 0
    low = torch.where(right, T - 2 * o if o else 0, torch.where(left, 0, m - o))  # o == 0: the slice [-0:] is all
    high = torch.where(right, T, torch.where(left, 2 * o, m + o))
    return (frame >= low) & (frame < high)
