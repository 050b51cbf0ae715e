"""select_crops against the released program's loop, and against the reference, eager and by torch.compile.

``copy_`` copies a tensor of the output's size into memory that exists already: each byte is read and written once.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from glat.kernels import Crops, implementations, select_crops
from glat.kernels.crops import reference
from glat.kernels.testing import assert_same_crops, crop_inputs

from ..released import released_selection
from ..timing import Rotation, cache_bytes, captured, poison, poison_freed
from ..work import copy_work, samples_inside, select_crops_step_work, select_crops_work

FUSED = {"cpu": "C++", "cuda": "Triton"}
T, L, S, N, W = 62, 527, 320_000, 5, 96_000  # the paper's CNN10: 10 s at 32 kHz, five crops of 3 s


@pytest.fixture(autouse=True)
def fused_is_there(device: str) -> None:
    found = implementations(device)["select_crops"]
    if found != FUSED[device]:
        pytest.skip(f"nothing to time on {device}: {found}")


def checked(expected: Any, candidates: dict[str, Callable[[], Any]], *outputs: Tensor) -> None:
    """Run every competitor once, with poisoned outputs, and compare; what is wrong is not timed."""
    for name, call in candidates.items():
        poison(outputs)
        poison_freed([expected] if isinstance(expected, Tensor) else expected)
        got = call()
        if isinstance(got, Tensor):
            assert torch.equal(got, expected), name
        elif len(got) == 3:  # the released program has no peaks
            assert_same_crops((*got, expected.peaks), expected)
        else:
            assert_same_crops(got, expected)


def the_other_copy(inputs: Rotation[tuple[Tensor, Tensor, Tensor]], suppress: str, out: Tensor) -> Callable[[], Any]:
    """The Triton kernel with the copy that its launcher does not choose: by samples, or by granules of 16 bytes."""
    from glat.kernels.crops import _triton

    shipped = _triton.default_sizes(inputs()[2])
    other = shipped._replace(wide=not shipped.wide)
    return lambda: _triton.select_crops_fwd(*inputs(), None, N, W, suppress, out, sizes=other)


@pytest.mark.guarded
@pytest.mark.parametrize(
    ("dtype", "suppress"),
    [
        (torch.float32, "none"),
        (torch.float32, "released"),
        (torch.float32, "crop"),
        (torch.int16, "none"),
    ],
    ids=["float32-none", "float32-released", "float32-crop", "int16-none"],
)
@pytest.mark.parametrize("B", [1, 32])
def test_forward(B: int, dtype: torch.dtype, suppress: Any, device: str, benchmark: Any, race: Any) -> None:
    torch._dynamo.reset()
    rank, logits, wave = crop_inputs(B, T, L, S, wave_dtype=dtype, device=device)
    if suppress == "released":  # that program ranks probabilities, and saturated ones would tie where logits do not
        rank, logits = (0.2 * rank).sigmoid(), (0.2 * logits).sigmoid()
    inputs = Rotation((rank, logits, wave), cache_bytes(device))
    options: dict[str, Any] = {"num_crops": N, "crop_samples": W, "suppress": suppress}
    expected = Crops(*reference.select_crops(rank, logits, wave, None, N, W, suppress))
    compiled = torch.compile(reference.select_crops, fullgraph=True, dynamic=False)
    out, source, target = (torch.empty_like(expected.audio) for _ in range(3))
    source.normal_()
    fused = FUSED[device]

    competitors: dict[str, Callable[[], Any]] = {
        fused: lambda: select_crops(*inputs(), impl="fused", **options),
        f"{fused} out=": lambda: select_crops(*inputs(), impl="fused", out=out, **options),
        "eager": lambda: reference.select_crops(*inputs(), None, N, W, suppress),
        "compiled": lambda: compiled(*inputs(), None, N, W, suppress),
    }
    if device == "cuda":
        competitors[f"{fused} out=, graph"] = captured(competitors[f"{fused} out="])
        competitors[f"{fused}, the other copy"] = the_other_copy(inputs, suppress, out)
    if suppress == "released":
        competitors["released loop"] = lambda: released_selection(*inputs(), N, W)
    if dtype == torch.int16:
        converted = torch.empty_like(wave, dtype=torch.float32)

        def convert_first() -> Crops:
            rank, logits, wave = inputs()
            torch.mul(wave, reference.INT16_SCALE, out=converted)
            return select_crops(rank, logits, converted, impl="fused", out=out, **options)

        competitors[f"convert, {fused} out="] = convert_first
    checked(expected, competitors, out)

    competitors["copy_"] = lambda: target.copy_(source)
    finished = race(
        f"forward {str(dtype).removeprefix('torch.')} {suppress} B={B}",
        competitors,
        work=select_crops_work(
            B, S, T, L, N, W, inside=samples_inside(expected.starts, W), wave_bytes=wave.element_size()
        ),
        others={"copy_": copy_work(out)},
        outputs=[out],
        device=device,
    )
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors[fused], rounds=5, warmup_rounds=1)

    if device == "cpu" and B == 32:  # what the project promises at this size
        finished.promise(fused, 1, "compiled")
        finished.promise(fused, 6, "eager")
        if suppress == "released":
            finished.promise(f"{fused} out=", 5, "released loop")
        if dtype == torch.int16:
            finished.promise(f"{fused} out=", 1, f"convert, {fused} out=")
        else:
            finished.promise(f"{fused} out=", 1 / 1.25, "copy_")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("B", [4, 64, 256])
def test_sizes(B: int, dtype: torch.dtype, device: str, benchmark: Any, race: Any) -> None:
    """From what fits into the caches to 0.5 GB; the reference is only the check, a few clips at a time."""
    rank, logits, wave = crop_inputs(B, T, L, S, wave_dtype=dtype, device=device)
    inputs = Rotation((rank, logits, wave), cache_bytes(device))
    options: dict[str, Any] = {"num_crops": N, "crop_samples": W, "impl": "fused"}
    out = torch.empty(B, N, W, dtype=dtype, device=device)
    fused = FUSED[device]
    competitors: dict[str, Callable[[], Any]] = {
        fused: lambda: select_crops(*inputs(), **options),
        f"{fused} out=": lambda: select_crops(*inputs(), out=out, **options),
    }
    if device == "cuda":
        competitors[f"{fused}, the other copy"] = the_other_copy(inputs, "none", out)
    for call in competitors.values():
        poison([out])
        poison_freed([out])
        crops = Crops(*call())
        for b in range(0, B, 16):
            part = slice(b, b + 16)
            expected = reference.select_crops(rank[part], logits[part], wave[part], None, N, W, "none")
            assert_same_crops(Crops(*(x[part] for x in crops)), expected)
        inside = samples_inside(crops.starts, W)
        del crops
    source, target = torch.zeros_like(out), torch.zeros_like(out)
    competitors["copy_"] = lambda: target.copy_(source)
    finished = race(
        f"forward {str(dtype).removeprefix('torch.')} none B={B}",
        competitors,
        work=select_crops_work(
            B, S, T, L, N, W, inside=inside, wave_bytes=out.element_size(), audio_bytes=out.element_size()
        ),
        others={"copy_": copy_work(out)},
        outputs=[out],
        device=device,
    )
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors[fused], rounds=3, warmup_rounds=1)


@pytest.mark.guarded
@pytest.mark.parametrize("B", [4, 32])
def test_forward_and_backward(B: int, device: str, benchmark: Any, race: Any) -> None:
    torch._dynamo.reset()
    rank, logits, wave = crop_inputs(B, T, L, S, device=device)
    wave.requires_grad_()
    grad = torch.randn(B, N, W, device=device)

    def crop(impl: Any) -> Tensor:
        return select_crops(rank, logits, wave, num_crops=N, crop_samples=W, impl=impl).audio

    starts = reference.select_crops(rank, logits, wave.detach(), None, N, W, "none")[2]

    compiled = torch.compile(lambda: crop("reference"), fullgraph=True, dynamic=False)
    fused = FUSED[device]
    competitors: dict[str, Callable[[], Any]] = {
        fused: lambda: torch.autograd.grad(crop("fused"), wave, grad)[0],
        "eager": lambda: torch.autograd.grad(crop("reference"), wave, grad)[0],
        "compiled": lambda: torch.autograd.grad(compiled(), wave, grad)[0],
    }
    checked(competitors["eager"](), competitors)
    source, target = torch.zeros_like(grad), torch.zeros_like(grad)
    competitors["copy_"] = lambda: target.copy_(source)
    finished = race(
        f"forward+backward float32 none B={B}",
        competitors,
        work=select_crops_step_work(B, S, T, L, N, W, samples_inside(starts, W)),
        others={"copy_": copy_work(grad)},
        device=device,
    )
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors[fused], rounds=3, warmup_rounds=1)
    if device == "cpu":
        finished.promise(fused, 1, "eager")
        finished.promise(fused, 1, "compiled")
