"""select_crops: the fused kernel of every device here equals the reference, and so does its gradient."""

import math
import os
import pathlib
import shutil
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from glat.kernels import Crops, _dispatch, select_crops
from glat.kernels.crops import reference
from glat.kernels.crops.api import SCORE_DTYPES
from glat.kernels.crops.reference import SUPPRESS_MODES
from glat.kernels.testing import assert_same_crops, crop_inputs, need_fused

INF, NAN = math.inf, math.nan


def test_a_machine_that_can_build_the_cpu_library_has_it() -> None:
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    header = pathlib.Path(torch.__file__).parent / "include/torch/csrc/stable/library.h"
    if compiler is None or not shutil.which(compiler) or not header.is_file():
        pytest.skip("no C++ compiler or no headers of torch: the reference is what runs here")
    assert _dispatch.fused_missing("select_crops", "cpu") is None


SHAPES = {  # B, T, L, S, N, W
    "smallest": (1, 1, 1, 1, 1, 1),
    "no clips": (0, 5, 4, 50, 2, 10),
    "odd": (3, 7, 5, 101, 3, 11),
    "whole wave": (2, 9, 6, 64, 2, 64),
    "one past a block": (2, 63, 129, 4097, 5, 1025),
    "all classes": (2, 13, 40, 333, 40, 32),
    "many frames": (1, 300, 3, 100, 3, 7),
    "paper, shorter": (4, 62, 527, 32_000, 5, 9_600),
}


@pytest.mark.parametrize("suppress", SUPPRESS_MODES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.usefixtures("poison")
def test_fused_equals_reference_over_shapes(shape: tuple[int, ...], suppress: Any, device: str) -> None:
    B, T, L, S, N, W = shape
    lengths = torch.arange(B, device=device) * S // 3 + 1
    for special in (False, True):
        inputs = crop_inputs(B, T, L, S, special=special, device=device)
        for given_lengths in (None, lengths, lengths.int()):
            options: dict[str, Any] = {
                "num_crops": N,
                "crop_samples": W,
                "suppress": suppress,
                "lengths": given_lengths,
            }
            assert_same_crops(
                select_crops(*inputs, impl="auto", **options), select_crops(*inputs, impl="reference", **options)
            )


@pytest.mark.parametrize("wave_dtype", [*SCORE_DTYPES, torch.int16], ids=str)
@pytest.mark.parametrize("score_dtype", SCORE_DTYPES, ids=str)
@pytest.mark.usefixtures("poison")
def test_fused_equals_reference_over_dtypes(score_dtype: torch.dtype, wave_dtype: torch.dtype, device: str) -> None:
    for seed, suppress in enumerate(SUPPRESS_MODES):
        inputs = crop_inputs(
            3, 31, 20, 5001, score_dtype=score_dtype, wave_dtype=wave_dtype, special=True, device=device, seed=seed
        )
        options: dict[str, Any] = {"num_crops": 4, "crop_samples": 1001, "suppress": suppress}
        fused = select_crops(*inputs, impl="fused", **options)
        assert fused.audio.dtype == (torch.float32 if wave_dtype == torch.int16 else wave_dtype)
        assert_same_crops(fused, select_crops(*inputs, impl="reference", **options))


def test_rank_scores_and_frame_logits_may_differ_in_dtype(device: str) -> None:
    rank, logits, wave = crop_inputs(2, 31, 20, 500, device=device)
    for a in SCORE_DTYPES:
        for b in SCORE_DTYPES:
            inputs = rank.to(a), logits.to(b), wave
            assert_same_crops(
                select_crops(*inputs, crop_samples=99, impl="fused"),
                select_crops(*inputs, crop_samples=99, impl="reference"),
            )


def test_any_strides_of_scores_lengths_and_batch(device: str) -> None:
    rank, logits, wave = crop_inputs(4, 12, 10, 300, special=True, device=device)
    lengths = torch.tensor([300, 7, 120, 250], device=device)
    expected = select_crops(rank, logits, wave, num_crops=3, crop_samples=50, lengths=lengths, impl="reference")
    padded = torch.full((4, 700), 7.0, device=device)
    padded[:, 33:333] = wave
    for name, inputs, given_lengths in (
        (
            "classes first",
            (rank.T.contiguous().T, logits.permute(2, 1, 0).contiguous().permute(2, 1, 0), wave),
            lengths,
        ),
        ("frames last", (rank, logits.mT.contiguous().mT, padded[:, 33:333]), lengths),
        ("every second", (rank.repeat_interleave(2, 1)[:, ::2], logits.repeat_interleave(2, 1)[:, ::2], wave), lengths),
        ("strided lengths", (rank, logits, wave), lengths.repeat_interleave(3)[::3]),
    ):
        crops = select_crops(*inputs, num_crops=3, crop_samples=50, lengths=given_lengths, impl="fused")
        assert crops.audio.is_contiguous(), name
        assert_same_crops(crops, expected)


def test_expanded_inputs_count_as_copies(device: str) -> None:
    rank, logits, wave = crop_inputs(1, 12, 10, 300, device=device)
    lengths = torch.tensor([200], device=device)
    expanded = rank.expand(5, -1), logits.expand(5, -1, -1), wave.expand(5, -1)
    options: dict[str, Any] = {"num_crops": 3, "crop_samples": 50, "impl": "fused"}
    assert_same_crops(
        select_crops(*expanded, lengths=lengths.expand(5), **options),
        Crops(
            *(x.repeat(5, *[1] * (x.ndim - 1)) for x in select_crops(rank, logits, wave, lengths=lengths, **options))
        ),
    )
    constant = select_crops(rank[:, :1].expand(1, 10), logits[:, :1, :1].expand(1, 12, 10), wave, **options)
    assert constant.classes.tolist() == [[0, 1, 2]]
    assert constant.starts.tolist() == [[0, 0, 0]]


def test_a_wave_of_one_sample_may_have_any_last_stride(device: str) -> None:
    rank, logits, _ = crop_inputs(3, 4, 5, 1, device=device)
    wave = torch.arange(12.0, device=device).view(3, 4)[:, 2:3].as_strided((3, 1), (4, 9))
    crops = select_crops(rank, logits, wave, num_crops=2, crop_samples=1)
    assert crops.audio[:, :, 0].tolist() == [[2.0, 2.0], [6.0, 6.0], [10.0, 10.0]]


@pytest.mark.parametrize("wave_dtype", [*SCORE_DTYPES, torch.int16], ids=str)
@pytest.mark.usefixtures("three_threads")
def test_threads_that_share_a_crop_cut_it_once(wave_dtype: torch.dtype, device: str) -> None:
    inputs = crop_inputs(2, 31, 20, 120_000, wave_dtype=wave_dtype, device=device)
    for W in (1, 50_001, 99_999):
        out = torch.full((2, 3, W), NAN, device=device).to(select_crops(*inputs, crop_samples=1).audio.dtype)
        expected = select_crops(*inputs, num_crops=3, crop_samples=W, impl="reference")
        assert_same_crops(select_crops(*inputs, num_crops=3, crop_samples=W, impl="fused"), expected)
        assert_same_crops(select_crops(*inputs, num_crops=3, crop_samples=W, out=out, impl="fused"), expected)


@pytest.mark.parametrize("wave_dtype", [torch.float32, torch.bfloat16, torch.int16], ids=str)
def test_large_outputs_are_whole(wave_dtype: torch.dtype, device: str) -> None:
    """Past 32 MiB the CPU kernel stores past the cache; odd sizes put every edge off its 16 bytes."""
    rank, logits, wave = crop_inputs(3, 31, 8, 2_000_001, wave_dtype=wave_dtype, device=device)
    W = 1_500_001
    dtype = torch.float32 if wave_dtype == torch.int16 else wave_dtype
    buffer = torch.full((3 * 4 * W + 74,), 3.0, dtype=dtype, device=device)
    out = buffer[37 : 37 + 3 * 4 * W].view(3, 4, W)
    crops = select_crops(rank, logits, wave, num_crops=4, crop_samples=W, out=out, impl="fused")
    assert (buffer[:37] == 3).all()
    assert (buffer[-37:] == 3).all()
    scaled = wave.float() * (1.0 / 32767.0) if wave_dtype == torch.int16 else wave
    for b in range(3):
        for n in range(4):
            start = int(crops.starts[b, n])
            assert torch.equal(crops.audio[b, n], scaled[b, start : start + W])


def test_memory_off_its_natural_address_is_written_right() -> None:
    need_fused()
    rank, logits, wave = crop_inputs(1, 9, 4, 400, wave_dtype=torch.int16)
    memory = np.full(4 * 2 * 101 + 8, 7, dtype=np.uint8)
    out = torch.from_numpy(memory[1 : 1 + 4 * 2 * 101].view(np.float32).reshape(1, 2, 101))
    assert_same_crops(
        select_crops(rank, logits, wave, num_crops=2, crop_samples=101, out=out, impl="fused"),
        select_crops(rank, logits, wave, num_crops=2, crop_samples=101, impl="reference"),
    )
    assert (memory[[0, *range(-7, 0)]] == 7).all()


def test_int16_is_scaled_by_the_float32_constant(device: str) -> None:
    every = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16).to(device)[None]
    rank, logits, _ = crop_inputs(1, 2, 1, 1, device=device)
    crops = select_crops(rank, logits, every, num_crops=1, crop_samples=65536)
    expected = np.arange(-32768, 32768).astype(np.float32) * np.float32(1 / 32767)
    assert crops.audio.cpu().numpy().tobytes() == expected.tobytes()
    assert crops.audio.max() == 1.0


def test_bits_of_the_wave_are_copied_unchanged(device: str) -> None:
    """NaN with a payload, signed zeros, denormals."""
    bits = torch.tensor([0x7F800001, 0x7FC12345, -0x400000, -0x80000000, 1, 0], dtype=torch.int32, device=device)
    rank, logits, _ = crop_inputs(1, 2, 1, 1, device=device)
    crops = select_crops(rank, logits, bits.view(torch.float32)[None], num_crops=1, crop_samples=6)
    assert crops.audio.view(torch.int32).flatten().tolist() == bits.tolist()


def test_concurrent_callers_get_their_own_results() -> None:
    need_fused()
    inputs = [crop_inputs(4, 31, 20, 40_000, seed=seed) for seed in range(4)]
    expected = [select_crops(*x, crop_samples=9_000, impl="reference") for x in inputs]
    got: list[Crops | None] = [None] * 4

    def work(i: int) -> None:
        for _ in range(5):
            got[i] = select_crops(*inputs[i], crop_samples=9_000, impl="fused")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine, wanted in zip(got, expected, strict=True):
        assert mine is not None
        assert_same_crops(mine, wanted)


def overlapping(device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Crops of 700 samples in 3000: some of five overlap in every clip."""
    return crop_inputs(4, 31, 20, 3000, wave_dtype=dtype, device=device)


@pytest.mark.parametrize("impl", ["auto", "reference"])
@pytest.mark.parametrize("dtype", SCORE_DTYPES, ids=str)
@pytest.mark.usefixtures("poison")
def test_gradient_adds_crops_in_float32_in_their_order(dtype: torch.dtype, impl: Any, device: str) -> None:
    rank, logits, wave = overlapping(device, dtype)
    wave.requires_grad_()
    crops = select_crops(rank, logits, wave, crop_samples=700, impl=impl)
    grad = torch.randn(crops.audio.shape, generator=torch.Generator().manual_seed(1)).to(dtype).to(device)
    (first,) = torch.autograd.grad(crops.audio, wave, grad, retain_graph=True)
    (second,) = torch.autograd.grad(crops.audio, wave, grad)

    expected = torch.zeros(wave.shape)
    touched = torch.zeros(wave.shape)
    for b in range(4):
        for n in range(5):
            start = int(crops.starts[b, n])
            expected[b, start : start + 700] += grad[b, n].float().cpu()
            touched[b, start : start + 700] += 1
    assert (touched.amax(1) > 1).all()
    assert first.dtype == dtype
    assert first.cpu().view(torch.uint8).equal(expected.to(dtype).view(torch.uint8))
    assert first.view(torch.uint8).equal(second.view(torch.uint8))


def test_gradient_agrees_with_autograd_through_the_gather(device: str) -> None:
    rank, logits, wave = overlapping(device, torch.float32)
    grads = []
    for run in (
        lambda w: select_crops(rank, logits, w, crop_samples=700, suppress="crop").audio,
        lambda w: reference.select_crops(rank, logits, w, None, 5, 700, "crop")[0],
    ):
        leaf = wave.clone().requires_grad_()
        run(leaf).square().sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(grads[0], grads[1])


def test_gradient_is_the_adjoint_of_the_crop(device: str) -> None:
    """<crop(v), g> == <v, crop'(g)> for the linear map that cropping is, and finite differences say the same."""
    rank, logits, wave = overlapping(device, torch.float32)
    wave.requires_grad_()
    v = torch.randn_like(wave)
    audio = select_crops(rank, logits, wave, crop_samples=700).audio
    g = torch.randn_like(audio)
    (grad,) = torch.autograd.grad(audio, wave, g)
    moved = select_crops(rank, logits, (wave + 0.5 * v).detach(), crop_samples=700).audio
    exact = (v.double() * grad.double()).sum()
    of_v = select_crops(rank, logits, v, crop_samples=700).audio
    torch.testing.assert_close((of_v.double() * g.double()).sum(), exact, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(
        ((moved - audio.detach()).double() * g.double()).sum() / 0.5, exact, rtol=1e-4, atol=1e-2
    )


@pytest.mark.usefixtures("poison", "three_threads")
def test_gradient_takes_any_strides_and_sizes(device: str) -> None:
    rank, logits, wave = crop_inputs(3, 31, 20, 40_001, device=device)
    wave.requires_grad_()
    audio = select_crops(rank, logits, wave, crop_samples=9_001).audio
    ones = torch.ones_like(audio)
    (expanded,) = torch.autograd.grad(audio.sum(), wave, retain_graph=True)  # arrives with strides of 0
    (dense,) = torch.autograd.grad(audio, wave, ones, retain_graph=True)
    (permuted,) = torch.autograd.grad(audio, wave, ones.permute(2, 0, 1).contiguous().permute(1, 2, 0))
    starts = select_crops(rank, logits, wave.detach(), crop_samples=9_001).starts
    expected = reference.select_crops_backward(ones, starts, 40_001)
    for got in (expanded, dense, permuted):
        assert torch.equal(got, expected)


def test_only_the_wave_has_a_gradient(device: str) -> None:
    rank, logits, wave = (x.requires_grad_() for x in overlapping(device, torch.float32))
    for impl in ("auto", "reference"):
        crops = select_crops(rank, logits, wave, crop_samples=700, impl=impl)
        assert crops.audio.requires_grad
        assert not (crops.classes.requires_grad)
        assert not (crops.starts.requires_grad)
        assert not (crops.peaks.requires_grad)
        crops.audio.sum().backward()
        assert rank.grad is None
        assert logits.grad is None
        with torch.no_grad():
            assert not select_crops(rank, logits, wave, crop_samples=700, impl=impl).audio.requires_grad
        constant = select_crops(rank, logits, wave.detach(), crop_samples=700, impl=impl)
        assert not constant.audio.requires_grad


def test_the_gradient_operator_trusts_no_start() -> None:
    need_fused()
    for start in (-1, 91, 2**62, -(2**62)):
        with pytest.raises(RuntimeError, match="starts: wanted 0 to S - W = 90"):
            torch.ops.glat.select_crops_backward(torch.ones(1, 1, 10), torch.tensor([[start]]), 100)
