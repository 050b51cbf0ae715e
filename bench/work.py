"""What the project's tasks ask for at least: bytes and FLOP as formulas, for the limits and for the roofline page.

Letters: B clips, S samples, H hops, F mel bins, T frames, L classes, N crops, W samples of a crop; n is the DFT's size.
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
    B: int, T: int, L: int, N: int, W: int, wave_bytes: int = 4, audio_bytes: int = 4, score_bytes: int = 4
) -> Work:
    """Each crop read and written once, the rank scores read once, and the frames of the N selected classes."""
    formula = f"B·N·W·({wave_bytes} + {audio_bytes}) + B·(L + N·T)·{score_bytes} bytes"
    return Work(formula, B * N * W * (wave_bytes + audio_bytes) + B * (L + N * T) * score_bytes)


def select_crops_step_work(B: int, S: int, T: int, L: int, N: int, W: int) -> Work:
    """Forward, and backward: the crops' gradients read, the waves' gradient written and added to where crops lie."""
    forward = select_crops_work(B, T, L, N, W)
    formula = f"{forward.formula.removesuffix(' bytes')} + B·(N·W + S)·4 bytes"
    return Work(formula, forward.bytes + 4 * B * (N * W + S))


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
    counted: the waves, the weights read, and their gradients written.
    """
    with FlopCounterMode(display=False) as counter:
        call()
    weights = sum(p.numel() for p in network.parameters())
    times, passes = ("2·", "forward and backward") if gradients else ("", "forward")
    formula = f"(B·S + {times}weights)·4 bytes, FLOP of convolutions and matrix products, {passes}, as counted"
    return Work(formula, 4 * (wave.numel() + (1 + gradients) * weights), counter.get_total_flops(), dtype)


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
