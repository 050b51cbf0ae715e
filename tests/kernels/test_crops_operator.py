"""The operator behind select_crops: opcheck, torch.compile, fake and meta tensors, no sync."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from glat.kernels import Crops, select_crops
from glat.kernels.crops.reference import SUPPRESS_MODES
from glat.kernels.testing import assert_same_crops, crop_inputs, need_fused

INF, NAN = math.inf, math.nan


def operator_arguments(device: str, **inputs: Any) -> tuple[Any, ...]:
    rank, logits, wave = crop_inputs(3, 12, 10, 300, device=device, **inputs)
    return rank, logits, wave, torch.tensor([300, 40, 0], device=device), 3, 51, "crop"


def test_opcheck_forward(device: str) -> None:
    torch.library.opcheck(torch.ops.glat.select_crops.default, operator_arguments(device))
    torch.library.opcheck(
        torch.ops.glat.select_crops.default,
        operator_arguments(device, wave_dtype=torch.int16),
        test_utils=("test_schema", "test_faketensor"),
    )


def test_opcheck_into(device: str) -> None:
    arguments = (*operator_arguments(device), torch.empty(3, 3, 51, device=device))
    torch.library.opcheck(torch.ops.glat.select_crops_into.default, arguments)


def test_opcheck_backward(device: str) -> None:
    starts = torch.tensor([[0, 5], [7, 7]], device=device)
    torch.library.opcheck(
        torch.ops.glat.select_crops_backward.default, (torch.randn(2, 2, 30, device=device), starts, 40)
    )


@pytest.mark.parametrize("impl", ["auto", "reference"])
@pytest.mark.parametrize("suppress", SUPPRESS_MODES)
def test_compiles_to_one_graph(suppress: Any, impl: Any, device: str) -> None:
    inputs = crop_inputs(3, 12, 10, 300, special=True, device=device)
    lengths = torch.tensor([300, 40, 0], device=device)

    def run(rank: Tensor, logits: Tensor, wave: Tensor, lengths: Tensor) -> Crops:
        return select_crops(
            rank, logits, wave, num_crops=3, crop_samples=51, suppress=suppress, lengths=lengths, impl=impl
        )

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    assert_same_crops(compiled(*inputs, lengths), run(*inputs, lengths))


SIZES = {"B": 3, "T": 12, "L": 10, "S": 300, "N": 3, "W": 51}
OTHERS = {"B": (4, 2, 7), "T": (13, 5, 31), "L": (11, 5, 40), "S": (301, 60, 700), "N": (2, 5, 10), "W": (52, 7, 300)}


@pytest.mark.parametrize("dynamic", [None, True], ids=["by default", "dynamic"])
@pytest.mark.parametrize("size", SIZES)
def test_two_graphs_serve_every_size(size: str, dynamic: bool | None, device: str) -> None:
    """The first value, then any."""
    counter = CompileCounterWithBackend("aot_eager")

    def run(rank: Tensor, logits: Tensor, wave: Tensor, N: int, W: int) -> Tensor:
        return select_crops(rank, logits, wave, num_crops=N, crop_samples=W).audio

    compiled = torch.compile(run, fullgraph=True, backend=counter, dynamic=dynamic)
    for value in (SIZES[size], *OTHERS[size]):
        sizes = SIZES | {size: value}
        inputs = crop_inputs(*(sizes[letter] for letter in "BTLS"), device=device)
        audio = compiled(*inputs, sizes["N"], sizes["W"])
        assert torch.equal(audio, run(*inputs, sizes["N"], sizes["W"]))
    assert counter.frame_count <= 2


@pytest.mark.parametrize(
    "changes",
    [
        {"suppress": ["none", "released", "crop"]},
        {"lengths": [None, torch.tensor([300, 40, 0]), torch.tensor([7, 7, 7], dtype=torch.int32)]},
        {"impl": ["auto", "reference", "fused"]},
        {"num_crops": [3, 2, 1], "impl": ["reference"] * 3},
        {"crop_samples": [51, 1, 300], "impl": ["auto"] * 3},
    ],
    ids=["suppress", "lengths", "impl", "num_crops of the reference", "crop_samples to the ends"],
)
@pytest.mark.parametrize("dynamic", [None, True], ids=["by default", "dynamic"])
def test_every_argument_may_change_under_compile(changes: dict[str, Any], dynamic: bool | None, device: str) -> None:
    compiled = torch.compile(select_crops, fullgraph=True, backend="eager", dynamic=dynamic)
    inputs = crop_inputs(*(SIZES[letter] for letter in "BTLS"), device=device)
    for values in zip(*changes.values(), strict=True):
        options: dict[str, Any] = {"num_crops": 3, "crop_samples": 51} | dict(zip(changes, values, strict=True))
        if isinstance(options.get("lengths"), Tensor):
            options["lengths"] = options["lengths"].to(device)
        assert_same_crops(compiled(*inputs, **options), select_crops(*inputs, **options))


@pytest.mark.parametrize("dynamic", [None, True], ids=["by default", "dynamic"])
def test_the_gradient_takes_a_second_crop_size_under_compile(dynamic: bool | None, device: str) -> None:
    rank, logits, wave = crop_inputs(3, 12, 10, 300, device=device)

    def loss(wave: Tensor, N: int, W: int) -> Tensor:
        return select_crops(rank, logits, 2 * wave, num_crops=N, crop_samples=W).audio.square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for N, W in ((3, 51), (3, 52), (2, 70)):
        grads = []
        for run in (loss, compiled):
            leaf = wave.clone().requires_grad_()
            run(leaf, N, W).backward()
            grads.append(leaf.grad)
        assert torch.equal(*grads)


def test_gradient_compiles(device: str) -> None:
    rank, logits, wave = crop_inputs(3, 12, 10, 300, device=device)

    def loss(wave: Tensor) -> Tensor:
        return select_crops(rank, logits, 2 * wave, num_crops=3, crop_samples=51).audio.square().sum()

    grads = []
    for run in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        leaf = wave.clone().requires_grad_()
        run(leaf).backward()
        grads.append(leaf.grad)
    assert torch.equal(*grads)


def test_out_compiles(device: str) -> None:
    inputs = crop_inputs(3, 12, 10, 300, device=device)

    def run(rank: Tensor, logits: Tensor, wave: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        crops = select_crops(rank, logits, wave, num_crops=3, crop_samples=51, out=out)
        return crops.audio, crops.starts

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    out = torch.full((3, 3, 51), NAN, device=device)
    audio, starts = compiled(*inputs, out)
    expected = select_crops(*inputs, num_crops=3, crop_samples=51)
    assert audio.data_ptr() == out.data_ptr()
    assert torch.equal(out, expected.audio)
    assert torch.equal(starts, expected.starts)


def test_inductor_runs_the_operator(device: str) -> None:
    rank, logits, wave = crop_inputs(2, 5, 4, 64, device=device)

    def run(rank: Tensor, logits: Tensor, wave: Tensor) -> Tensor:
        return select_crops(rank, logits, wave, num_crops=2, crop_samples=9).audio

    assert torch.equal(torch.compile(run, fullgraph=True)(rank, logits, wave), run(rank, logits, wave))


@pytest.mark.parametrize("wave_dtype", [torch.bfloat16, torch.int16], ids=str)
def test_fake_and_meta_tensors_have_the_real_shapes(wave_dtype: torch.dtype) -> None:
    inputs = crop_inputs(3, 12, 10, 300, wave_dtype=wave_dtype)
    inputs = (inputs[0], inputs[1].mT.contiguous().mT, inputs[2])
    real = select_crops(*inputs, num_crops=3, crop_samples=51)
    mode = FakeTensorMode()
    with mode:
        fake = select_crops(*(mode.from_tensor(x) for x in inputs), num_crops=3, crop_samples=51)
    meta_inputs = [x.to("meta") for x in inputs]
    meta = select_crops(*meta_inputs, num_crops=3, crop_samples=51)
    out = torch.empty(3, 3, 51, dtype=real.audio.dtype, device="meta")
    into = select_crops(*meta_inputs, num_crops=3, crop_samples=51, out=out)
    assert into.audio is out
    for crops in (fake, meta, into):
        for name in Crops._fields:
            left, right = getattr(crops, name), getattr(real, name)
            assert (left.shape, left.dtype, left.stride()) == (right.shape, right.dtype, right.stride()), name


def test_meta_tensors_have_a_gradient() -> None:
    rank, logits, wave = (x.to("meta") for x in crop_inputs(3, 12, 10, 300))
    wave.requires_grad_()
    select_crops(rank, logits, wave, num_crops=3, crop_samples=51).audio.sum().backward()
    assert wave.grad is not None
    assert wave.grad.shape == wave.shape


class NoSync(TorchDispatchMode):
    """Raises on what would stall a stream or change a graph: reading a value, a shape that depends on data."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "_to_copy.out", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket._qualified_op_name.split("::")[-1]
        assert name not in self.FORBIDDEN, name
        self.seen.add(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("suppress", SUPPRESS_MODES)
@pytest.mark.parametrize("impl", ["fused", "reference"])
def test_no_value_is_read_on_the_host(impl: Any, suppress: Any, device: str) -> None:
    rank, logits, wave = crop_inputs(3, 12, 10, 300, device=device)
    wave.requires_grad_()
    lengths = torch.tensor([300, 40, 0], device=device)
    options: dict[str, Any] = {
        "num_crops": 3,
        "crop_samples": 51,
        "suppress": suppress,
        "lengths": lengths,
        "impl": impl,
    }
    out = torch.empty(3, 3, 51, device=device)
    with NoSync() as mode:
        select_crops(rank, logits, wave, **options).audio.sum().backward()
        select_crops(rank, logits, wave.detach(), out=out, **options)
    if impl == "fused":  # nothing but the operators and what autograd needs around them
        assert mode.seen <= {
            "select_crops", "select_crops_into", "select_crops_backward", "detach", "sum", "ones_like", "expand"
        }  # fmt: skip


def test_the_cpu_kernel_allocates_with_empty_only() -> None:
    need_fused()
    inputs = crop_inputs(3, 12, 10, 300)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        crops = select_crops(*inputs, num_crops=3, crop_samples=51)
        select_crops(*inputs, num_crops=3, crop_samples=51, out=crops.audio)
        torch.ops.glat.select_crops_backward(crops.audio, crops.starts, 300)
    names = {event.key for event in seen.key_averages()}
    assert {"glat::select_crops", "aten::empty"} <= names
    assert names <= {
        "glat::select_crops", "glat::select_crops_into", "glat::select_crops_backward", "aten::empty", "aten::detach",
        "detach",
    }  # fmt: skip
