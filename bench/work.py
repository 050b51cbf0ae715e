"""The least work of the project's tasks: bytes and FLOP as formulas, for the limits and for the roofline page.

Letters: B clips, S samples, H hops, F mel bins, T frames, L classes, N crops, W samples of a crop; n is the DFT's size.
If a formula leaves out the larger part, such as a codec's decoding, it says so.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from glat.config import ModelConfig
from glat.losses import two_stream_loss
from glat.model import build_model

from .limits import Work


def select_crops_work(
    B: int,
    S: int,
    T: int,
    L: int,
    N: int,
    W: int,
    *,
    inside: int | None = None,
    wave_bytes: int = 4,
    audio_bytes: int = 4,
) -> Work:
    """Each sample inside a crop read once, each crop written, the rank scores and the frames of the N classes read.

    Args:
        inside: samples of the waves that lie in one crop or more; None: as many as there can be.
    """
    at_most = B * min(N * W, S)
    read, letter = (at_most, "B·min(N·W, S)") if inside is None else (inside, "R")
    formula = f"{letter}·{wave_bytes} + B·N·W·{audio_bytes} + B·(L + N·T)·4 bytes"
    if inside is not None:
        formula += "; R samples lie inside crops, which overlap"
    return Work(formula, read * wave_bytes + B * N * W * audio_bytes + B * (L + N * T) * 4)


def samples_inside(starts: Tensor, crop_samples: int) -> int:
    """How many samples lie in one crop or more of their clip; starts [B, N]."""
    ordered = starts.sort(1).values
    return int(ordered.diff(dim=1).clamp(max=crop_samples).sum()) + len(starts) * crop_samples


def copy_work(x: Tensor) -> Work:
    """A tensor read, and written elsewhere."""
    return Work("each byte of the crops read and written", 2 * x.numel() * x.element_size())


def select_crops_step_work(B: int, S: int, T: int, L: int, N: int, W: int, inside: int) -> Work:
    """Forward, and backward: the crops' gradients read, the waves' gradient written."""
    forward = select_crops_work(B, S, T, L, N, W, inside=inside)
    formula = forward.formula.replace(" bytes", " + B·(N·W + S)·4 bytes")
    return Work(formula, forward.bytes + 4 * B * (N * W + S))


def clip_work(
    file_bytes: float, S: int, sample_bytes: int, what: str = "file", source_samples: int | None = None, clips: int = 1
) -> Work:
    """Clips that are read from a file each and written as S samples.

    Args:
        file_bytes: of one clip.
        what: the letter or word for them in the formula.
        source_samples: where the clip has to be resampled, its samples before.
        clips: how many.
    """
    flop, formula = 0.0, f"{f'{clips}·(' if clips > 1 else ''}{what} + S·{sample_bytes}{')' if clips > 1 else ''} bytes"
    if source_samples is not None:
        flop = 2.5 * (source_samples * math.log2(source_samples) + S * math.log2(S))
        formula += f", {f'{clips}·' if clips > 1 else ''}5/2·(s·log2 s + S·log2 S) FLOP"
        formula += " to resample s samples as two FFTs"
    if what == "file":
        formula += "; decoding is not counted"
    return Work(formula, clips * (file_bytes + S * sample_bytes), clips * flop)


def bootstrap_work(M: int, L: int, R: int) -> Work:
    """Targets, scores, and how often each of M clips was drawn in R resamples, read; AP and AUC written."""
    formula = "M·L·(1 + 4) + M·R·4 + 2·L·R·8 bytes of M clips and R resamples; ranking and adding up are not counted"
    return Work(formula, M * L * 5 + M * R * 4 + 2 * L * R * 8)


def log_mel_work(B: int, S: int, hop_samples: int = 320, fft_samples: int = 1024, mel_bins: int = 64) -> Work:
    """Waves read, spectrogram written; a real DFT of n samples by an FFT is 5/2 n log2 n FLOP."""
    H, bins = 1 + S // hop_samples, fft_samples // 2 + 1
    flop = B * H * (2.5 * fft_samples * math.log2(fft_samples) + 3 * bins + 2 * bins * mel_bins)
    formula = "B·(S + H·F)·4 bytes, B·H·(5/2·n·log2 n + 3·(n/2 + 1) + 2·(n/2 + 1)·F) FLOP"
    return Work(formula, 4 * B * (S + H * mel_bins), flop)


def spec_augment_work(B: int, H: int, F: int) -> Work:
    """The spectrograms read and written."""
    return Work("2·B·H·F·4 bytes", 8 * B * H * F)


def network_work(
    network: nn.Module, wave: Tensor, call: Callable[[], Any], gradients: bool, dtype: str = "float32"
) -> Work:
    """One call of a network with waves [B, S], with the backward pass where it makes gradients.

    PyTorch counts the FLOP of convolutions and matrix products. Of the bytes only those that no cache can save are
    counted: the waves, the weights read, and the gradients of those that are trained written.
    """
    with FlopCounterMode(display=False) as counter:
        call()
    weights = sum(p.numel() for p in network.parameters())
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad) if gradients else 0
    more, passes = (" + gradients", "forward and backward") if gradients else ("", "forward")
    formula = f"(B·S + weights{more})·4 bytes, FLOP of convolutions and matrix products, {passes}, as counted"
    if gradients:
        formula += "; the optimiser is not counted"
    return Work(formula, 4 * (wave.numel() + weights + trained), counter.get_total_flops(), dtype)


def step_work(backbone: str, B: int, width: float = 1.0, dtype: str = "float32") -> Work:
    """Forward and backward of GL-AT as the paper trains it: 10 s clips, five crops of 3 s, 527 classes."""
    S, L = 320_000, 527
    config = ModelConfig(backbone=backbone, width=width, spec_augment=False, dropout_scale=0.0)
    with FakeTensorMode():  # nothing is computed or stored
        model = build_model(config, L).train()
        wave, targets = torch.empty(B, S), torch.zeros(B, L)

        def step() -> None:
            scores = model(wave)
            two_stream_loss(scores.clip_logits, scores.crop_logits, targets, 1.0, 1.0).total.backward()

        return network_work(model, wave, step, gradients=True, dtype=dtype)
