"""The compiled kernels of select_crops executed on the CPU, instruction by instruction, where the tool for it is there.

It shows what the interpreter does not: layouts, shuffles, barriers, shared memory, and the sectors that a warp touches.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from glat.kernels.crops import reference
from glat.kernels.testing import assert_same_crops, crop_inputs

_triton = pytest.importorskip("glat.kernels.crops._triton", reason="the kernels need Triton", exc_type=ImportError)


@pytest.fixture
def gpu_truth(tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The tool that executes every launch."""
    pytest.importorskip("triton", minversion="3.7", reason="the tool reads what triton 3.7 and newer write")
    monkeypatch.syspath_prepend(str(tools))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    yield pytest.importorskip("gpu_truth")
    for name in ("gpu_truth", "ptx_run"):
        sys.modules.pop(name, None)


def launched(gpu_truth: ModuleType, inputs: tuple[Any, ...], N: int, W: int, suppress: str, **options: Any) -> Any:
    """Counts of one launch, whose answer is the reference's and whose programs do not disturb each other."""
    *tensors, lengths = inputs
    with gpu_truth.executed(arch=90, race=True) as launches:
        got = _triton.select_crops_fwd(*tensors, lengths, N, W, suppress, **options)
    assert_same_crops(got, reference.select_crops(*tensors, lengths, N, W, suppress))
    (launch,) = launches
    assert launch.stats.races == []
    return launch.stats


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16], ids=["by samples", "by granules"])
def test_stores_fill_their_sectors_and_loads_touch_few_more_than_they_need(
    gpu_truth: ModuleType, dtype: torch.dtype
) -> None:
    W = 24_000  # in two programs: as much a program as the paper's crops have in eight
    inputs = crop_inputs(1, 62, 527, 50_000, wave_dtype=dtype)
    sizes = _triton.default_sizes(inputs[2])._replace(parts=2)
    stats = launched(gpu_truth, (*inputs, None), 1, W, "none", sizes=sizes)
    selected = 8 + 8 + 4  # the class, the start and the peak, each in a sector of its own
    assert stats.bytes_stored - selected == 4 * W == 32 * (stats.sectors_stored - 3)
    assert stats.sectors_loaded <= 1.35 * W * dtype.itemsize / 32


@pytest.mark.parametrize(
    ("suppress", "scores", "wave"),
    [("released", torch.float32, torch.float32), ("crop", torch.bfloat16, torch.bfloat16)],
    ids=["released", "crop"],
)
def test_the_compiled_selection_obeys_the_rules(
    gpu_truth: ModuleType, suppress: str, scores: torch.dtype, wave: torch.dtype
) -> None:
    """Ties, NaN, infinities and both zeros, a clip that is padded, and edges of a crop on either side of a tile."""
    inputs = crop_inputs(2, 20, 33, 1501, score_dtype=scores, wave_dtype=wave, special=True)
    sizes = _triton.default_sizes(inputs[2])._replace(rows=1, num_warps=1, parts=1)
    launched(gpu_truth, (*inputs, torch.tensor([1501, 700])), 3, 503, suppress, sizes=sizes)


def test_the_compiled_gradient_adds_up_in_order(gpu_truth: ModuleType) -> None:
    generator = torch.Generator().manual_seed(0)
    starts = torch.randint(0, 3000 - 1501 + 1, (1, 3), generator=generator)
    grad = torch.randn(1, 3, 1501, generator=generator)
    with gpu_truth.executed(arch=90, race=True) as launches:
        got = _triton.select_crops_bwd(grad, starts, 3000)
    assert torch.equal(got, reference.select_crops_backward(grad, starts, 3000))
    assert launches[0].stats.races == []
