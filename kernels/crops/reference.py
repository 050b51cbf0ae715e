"""What select_crops means, in plain PyTorch: any device, no Triton, no host sync, no data-dependent shape."""

import torch
from torch import Tensor

SUPPRESS_MODES = ("none", "released", "crop")
INT16_SCALE = 1.0 / 32767.0  # applied as a float32 constant

# Keys of `order_key`: NaN and frames that may not be searched; minus infinity, which is probability zero.
NEVER_KEY = -(2**31)
ZERO_KEY = -(2**31) + 0x7FFFFF


def order_key(scores: Tensor) -> Tensor:
    """Integers in the order of the scores: ``a < b`` iff ``key(a) < key(b)``, ``-0.0 == 0.0``, NaN lowest."""
    x = scores.float()
    bits = torch.where(x == 0, torch.zeros_like(x), x).view(torch.int32)
    return torch.where(x.isnan(), NEVER_KEY, bits ^ ((bits >> 31) & 0x7FFFFFFF))


def locate(
    rank_scores: Tensor,
    frame_logits: Tensor,
    wave_samples: int,
    num_crops: int,
    crop_samples: int,
    suppress: str,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Classes [B, N] int64, starts [B, N] int64 in samples, peaks [B, N] float32; by the rules of `select_crops`."""
    device = frame_logits.device
    B, T, _ = frame_logits.shape
    S, N, W = wave_samples, num_crops, crop_samples
    classes = order_key(rank_scores).sort(dim=1, descending=True, stable=True).indices[:, :N]
    logits = frame_logits.gather(2, classes[:, None, :].expand(B, T, N)).mT.float()  # [B, N, T]

    frame = torch.arange(T, device=device)
    length = torch.full((B, 1), S, device=device) if lengths is None else lengths.long().clamp(0, S)[:, None]
    valid = frame < (T * length + S - 1) // S  # [B, T]: frames that begin before the clip ends
    last_start = (length - W).clamp(min=0)
    keys = order_key(logits).masked_fill(~valid[:, None, :], NEVER_KEY)

    peak_frames, starts = [], []
    for n in range(N):  # a later crop depends on the earlier ones when maps are suppressed
        m = keys[:, n].argmax(dim=1, keepdim=True)  # the first of equals
        centre = S * m // T
        start = torch.minimum((centre - W // 2).clamp(min=0), last_start)
        peak_frames.append(m)
        starts.append(start)
        if suppress == "crop":
            sample = S * frame // T
            spent = (sample >= start) & (sample < start + W)
            keys = keys.masked_fill(spent[:, None, :], NEVER_KEY)
        elif suppress == "released":
            o = W * T // S // 4
            end = valid.sum(dim=1, keepdim=True)
            right = centre + W // 2 >= last_start + W  # tested first
            left = centre - W // 2 < 0
            # o == 0 at the right edge: the slice [-0:] is the whole map.
            low = torch.where(right, end - 2 * o if o else 0, torch.where(left, 0, m - o))
            high = torch.where(right, end, torch.where(left, 2 * o, m + o))
            spent = (frame >= low) & (frame < high) & valid
            keys = keys.masked_fill(spent[:, None, :], ZERO_KEY)
    peaks = logits.gather(2, torch.stack(peak_frames, 1))[..., 0].sigmoid()
    return classes, torch.cat(starts, 1), peaks


def select_crops(
    rank_scores: Tensor,
    frame_logits: Tensor,
    wave: Tensor,
    lengths: Tensor | None,
    num_crops: int,
    crop_samples: int,
    suppress: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Audio [B, N, W], classes, starts, peaks."""
    B, S = wave.shape
    classes, starts, peaks = locate(rank_scores, frame_logits, S, num_crops, crop_samples, suppress, lengths)
    source = starts[:, :, None] + torch.arange(crop_samples, device=wave.device)
    audio = wave[:, None, :].expand(B, num_crops, S).gather(2, source)
    if wave.dtype == torch.int16:
        audio = audio.float() * INT16_SCALE
    return audio, classes, starts, peaks


def select_crops_backward(grad_audio: Tensor, starts: Tensor, wave_samples: int) -> Tensor:
    """Gradient [B, S] of the wave: ``grad[b, s] = sum over n of grad_audio[b, n, s - starts[b, n]]``.

    Summed in float32 in the order of the crops (one crop touches a sample once), so that two runs give equal bits.
    """
    B, N, W = grad_audio.shape
    grad = torch.zeros(B, wave_samples, dtype=torch.float32, device=grad_audio.device)
    offset = torch.arange(W, device=grad_audio.device)
    for n in range(N):
        grad.scatter_add_(1, starts[:, n, None] + offset, grad_audio[:, n].float())
    return grad.to(grad_audio.dtype)
