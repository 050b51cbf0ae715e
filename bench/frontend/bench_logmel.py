"""The front end: log-mel against PANNs' STFT by convolutions, SpecAugment against a loop over the clips."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from glat.frontend import LogMel, spec_augment

from ..limits import products
from ..panns import ConvolutionalLogMel, hide_stripes
from ..timing import Rotation, cache_bytes
from ..work import log_mel_work, spec_augment_work

S = 320_000  # 10 s at 32 kHz
H, F = 1001, 64
TOLERANCE_DB = 1e-3


@torch.no_grad()
@products(tf32=False)  # PANNs' convolutions in TF32 are wrong by more than the tolerance
@pytest.mark.guarded
def test_log_mel(device: str, benchmark: Any, race: Any) -> None:
    torch._dynamo.reset()
    B = 32
    wave = 0.1 * torch.randn(B, S, generator=torch.Generator().manual_seed(0)).to(device)
    inputs = Rotation((wave,), cache_bytes(device))
    ours = LogMel().to(device)
    compiled = torch.compile(ours, dynamic=False)
    convolutions = ConvolutionalLogMel(ours.filters).to(device)
    competitors: dict[str, Callable[[], Any]] = {
        "glat": lambda: ours(*inputs()),
        "compiled": lambda: compiled(*inputs()),
        "PANNs' convolutions": lambda: convolutions(*inputs()),
    }
    in_float64 = ConvolutionalLogMel(ours.filters.cpu()).double()
    exact = torch.cat([in_float64(waves.double()) for waves in wave.cpu().split(4)])
    for name, call in competitors.items():
        got = call().cpu().double().view_as(exact)
        torch.testing.assert_close(got, exact, rtol=0, atol=TOLERANCE_DB, msg=partial("{}: {}".format, name))
    finished = race(f"log-mel B={B}", competitors, device=device, work=log_mel_work(B, S))
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors["glat"], rounds=1)
    if device == "cpu":
        finished.promise("glat", 1, "PANNs' convolutions")


@torch.no_grad()
def test_spec_augment(device: str, benchmark: Any, race: Any) -> None:
    torch._dynamo.reset()
    B = 32
    x = 1 + torch.rand(B, 1, H, F, generator=torch.Generator().manual_seed(0)).to(device)
    inputs, in_place = Rotation((x,), cache_bytes(device)), x.clone()
    compiled = torch.compile(spec_augment, dynamic=False)

    def by_loop() -> Tensor:
        hide_stripes(in_place)
        return in_place

    competitors: dict[str, Callable[[], Any]] = {
        "glat": lambda: spec_augment(*inputs()),
        "compiled": lambda: compiled(*inputs()),
        "loop, in place": by_loop,
    }
    for name, call in competitors.items():
        assert_striped(call(), x, name)
    finished = race(f"SpecAugment B={B}", competitors, device=device, work=spec_augment_work(B, H, F))
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors["glat"], rounds=1)


def assert_striped(got: Tensor, x: Tensor, name: str) -> None:
    """What is hidden are whole hops and whole bins of a clip, at most two stripes of each; the rest is x."""
    hidden = got == 0
    assert torch.equal(torch.where(hidden, x, got), x), name
    hops, bins = hidden.all(3, keepdim=True), hidden.all(2, keepdim=True)
    assert hops.any(), name
    assert bins.any(), name
    assert torch.equal(hidden, hops | bins), name
    assert int(hops.sum((1, 2, 3)).max()) <= 2 * 63, name
    assert int(bins.sum((1, 2, 3)).max()) <= 2 * 7, name
