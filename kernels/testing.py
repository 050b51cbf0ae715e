"""Seeded inputs and the one numeric rule, shared by tests/ and bench/."""

import unittest

import torch
from torch import Tensor

from ._dispatch import fused_missing
from .crops.api import Crops

PEAK_TOLERANCE = 1e-6  # of the sigmoid against float64; everything else of a crop is exact


def crop_inputs(
    B: int = 4,
    T: int = 62,
    L: int = 527,
    S: int = 320_000,
    *,
    score_dtype: torch.dtype = torch.float32,
    wave_dtype: torch.dtype = torch.float32,
    special: bool = False,
    device: str = "cpu",
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Rank scores [B, L], frame logits [B, T, L] and wave [B, S], a pure function of the arguments.

    `special` draws logits from a few values, so that ties abound, and strews in NaN, infinities and both zeros.
    """
    generator = torch.Generator().manual_seed(seed)

    def scores(*shape: int) -> Tensor:
        x = 4 * torch.randn(shape, generator=generator)
        if special:
            x = x.round()
            dice = torch.rand(shape, generator=generator)
            for low, value in ((0.00, float("nan")), (0.05, float("inf")), (0.07, -float("inf")), (0.12, -0.0)):
                x = torch.where((dice >= low) & (dice < low + 0.02), value, x)
        return x.to(score_dtype)

    rank_scores, frame_logits = scores(B, L), scores(B, T, L)
    if wave_dtype == torch.int16:
        wave = torch.randint(-32768, 32768, (B, S), generator=generator, dtype=torch.int32).to(torch.int16)
    else:
        wave = torch.randn(B, S, generator=generator).to(wave_dtype)
    return rank_scores.to(device), frame_logits.to(device), wave.to(device)


def assert_same_crops(actual: Crops | tuple[Tensor, ...], expected: Crops | tuple[Tensor, ...]) -> None:
    """Bit for bit, except the peaks: those within `PEAK_TOLERANCE`."""
    got, wanted = Crops(*actual), Crops(*expected)
    for name in ("classes", "starts", "audio"):
        left, right = getattr(got, name), getattr(wanted, name)
        assert left.dtype == right.dtype, f"{name}: {left.dtype} is not {right.dtype}"
        assert left.shape == right.shape, f"{name}: {tuple(left.shape)} is not {tuple(right.shape)}"
        bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[left.element_size()]
        wrong = (left.contiguous().view(bits) != right.contiguous().view(bits)).nonzero()
        assert len(wrong) == 0, f"{name}: {len(wrong)} differ, first at {wrong[0].tolist()}"
    torch.testing.assert_close(got.peaks, wanted.peaks, rtol=0, atol=PEAK_TOLERANCE, equal_nan=True)


def need_fused(device: str = "cpu", operator: str = "select_crops") -> None:
    """Skip the test that calls this, with the reason, where a device has no fused kernel."""
    if (missing := fused_missing(operator, device)) is not None:
        raise unittest.SkipTest(f"no fused kernels on {device}: {missing}")
