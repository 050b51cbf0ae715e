"""select_crops names what is wrong with its arguments, and runs without what is optional."""

import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from glat.kernels import _dispatch, select_crops
from glat.kernels.crops.reference import SUPPRESS_MODES
from glat.kernels.testing import assert_same_crops, crop_inputs, need_fused

ROOT = pathlib.Path(__file__).resolve().parents[2]


def good() -> dict[str, Any]:
    rank, logits, wave = crop_inputs(2, 6, 5, 100)
    return {"rank_scores": rank, "frame_logits": logits, "wave": wave, "num_crops": 2, "crop_samples": 10}


def at(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda arguments: {**arguments, name: change(arguments.get(name))}


WRONG = {
    "rank_scores: not a tensor": at("rank_scores", lambda x: x.tolist()),
    "rank_scores: rank": at("rank_scores", lambda x: x[0]),
    "rank_scores: dtype": at("rank_scores", lambda x: x.double()),
    "rank_scores: shape": at("rank_scores", lambda x: x[:, :4]),
    "rank_scores: device": at("rank_scores", lambda x: x.to("meta")),
    "frame_logits: rank": at("frame_logits", lambda x: x[0]),
    "frame_logits: dtype": at("frame_logits", lambda x: x.long()),
    "frame_logits: no frames": at("frame_logits", lambda x: x[:, :0]),
    "frame_logits: device": at("frame_logits", lambda x: x.to("meta")),
    "wave: not a tensor": at("wave", lambda x: x.numpy()),
    "wave: rank": at("wave", lambda x: x[:, None]),
    "wave: dtype float64": at("wave", lambda x: x.double()),
    "wave: dtype int32": at("wave", lambda x: x.int()),
    "wave: clips": at("wave", lambda x: x[:1]),
    "wave: last axis not dense": at("wave", lambda x: x[:, ::2]),
    "num_crops: 0": at("num_crops", lambda _: 0),
    "num_crops: more than L": at("num_crops", lambda _: 6),
    "crop_samples: 0": at("crop_samples", lambda _: 0),
    "crop_samples: more than S": at("crop_samples", lambda _: 101),
    "suppress: unknown": at("suppress", lambda _: "all"),
    "impl: unknown": at("impl", lambda _: "fast"),
    "lengths: not a tensor": at("lengths", lambda _: [100, 100]),
    "lengths: shape": at("lengths", lambda _: torch.tensor([100])),
    "lengths: dtype": at("lengths", lambda _: torch.tensor([100.0, 100.0])),
    "lengths: device": at("lengths", lambda _: torch.zeros(2, dtype=torch.long, device="meta")),
    "out: not a tensor": at("out", lambda _: [0.0]),
    "out: shape": at("out", lambda _: torch.empty(2, 2, 11)),
    "out: dtype": at("out", lambda _: torch.empty(2, 2, 10, dtype=torch.float16)),
    "out: device": at("out", lambda _: torch.empty(2, 2, 10, device="meta")),
    "out: not contiguous": at("out", lambda _: torch.empty(2, 10, 2).mT),
    "out: asks for a gradient": at("out", lambda _: torch.empty(2, 2, 10, requires_grad=True)),
    "out: wave asks for a gradient": lambda a: {
        **a, "wave": a["wave"].requires_grad_(), "out": torch.empty(2, 2, 10)
    },
}  # fmt: skip


@pytest.mark.parametrize("impl", ["auto", "reference"])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_named(case: str, impl: str) -> None:
    with pytest.raises(ValueError, match=f"^{case.split(':')[0]}: .*"):
        select_crops(**{"impl": impl, **WRONG[case](good())})


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_named_under_compile(case: str) -> None:
    arguments = WRONG[case](good())
    with pytest.raises((ValueError, RuntimeError), match=f"{case.split(':')[0]}: "):
        torch.compile(lambda: select_crops(**arguments), fullgraph=True, backend="eager")()


@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_out_may_not_overlap_an_input(impl: Any) -> None:
    rank, logits, _ = crop_inputs(2, 6, 5, 100)
    arena = torch.zeros(300)
    wave = arena[:200].view(2, 100)
    for first in (0, 10, 199):
        with pytest.raises((ValueError, RuntimeError), match="out: wanted memory apart from wave"):
            select_crops(
                rank,
                logits,
                wave,
                num_crops=2,
                crop_samples=10,
                out=arena[first : first + 40].view(2, 2, 10),
                impl=impl,
            )
    memory = np.zeros(200, dtype=np.float32)  # two storages, one memory
    wave, out = torch.from_numpy(memory).view(2, 100), torch.from_numpy(memory)[:40].view(2, 2, 10)
    with pytest.raises((ValueError, RuntimeError), match="out: wanted memory apart from wave"):
        select_crops(rank, logits, wave, num_crops=2, crop_samples=10, out=out, impl=impl)
    with pytest.raises((ValueError, RuntimeError), match="out: wanted memory apart from frame_logits"):
        select_crops(rank, logits, torch.zeros(2, 100), num_crops=2, crop_samples=10,
                     out=logits.flatten()[:40].view(2, 2, 10), impl=impl)  # fmt: skip


def test_out_may_not_overlap_the_wave_under_compile() -> None:
    rank, logits, wave = crop_inputs(2, 6, 5, 100)
    out = wave.flatten()[:40].view(2, 2, 10)
    with pytest.raises((ValueError, RuntimeError), match="out: wanted memory apart from wave"):
        torch.compile(
            lambda: select_crops(rank, logits, wave, num_crops=2, crop_samples=10, out=out), backend="eager"
        )()


@pytest.mark.parametrize("name", ["rank_scores", "frame_logits", "wave", "lengths"])
def test_the_operator_itself_refuses_an_overlapping_out(name: str) -> None:
    arena = torch.zeros(2, 200)
    parts = {
        "rank_scores": arena[:, 100:105],
        "frame_logits": arena[:, 110:140].unflatten(1, (6, 5)),
        "wave": arena[:, :100],
        "lengths": torch.tensor([100, 100]),
    }
    inside = parts["lengths"] if name == "lengths" else parts[name].clone()
    out = torch.zeros(2, 1, 1)
    torch.ops.glat.select_crops_into(*parts.values(), 1, 1, "none", out)
    out = inside.view(torch.float32).flatten()[-2:].view(2, 1, 1)
    with pytest.raises((ValueError, RuntimeError), match=f"out: wanted memory apart from {name}"):
        torch.ops.glat.select_crops_into(*{**parts, name: inside}.values(), 1, 1, "none", out)


# Left out: what is no argument of the operator, and meta tensors, which the shape rule answers and no memory is read.
NOT_THE_OPERATORS = ("impl", "not a tensor", "gradient", "device")


@pytest.mark.parametrize("case", [case for case in WRONG if not any(word in case for word in NOT_THE_OPERATORS)])
def test_the_operator_itself_stays_inside_its_inputs(case: str) -> None:
    """Whoever calls the operator past the checks of the public function gets an error, not someone else's memory."""
    need_fused()
    a = {"suppress": "none", "lengths": None, "out": torch.empty(2, 2, 10), **WRONG[case](good())}
    with pytest.raises((ValueError, RuntimeError)):
        torch.ops.glat.select_crops_into(
            a["rank_scores"], a["frame_logits"], a["wave"], a["lengths"], a["num_crops"], a["crop_samples"],
            a["suppress"], a["out"],
        )  # fmt: skip


def test_lengths_of_any_value_stay_inside(device: str) -> None:
    rank, logits, wave = crop_inputs(6, 12, 10, 300, device=device)
    lengths = torch.tensor([-(2**63), -1, 0, 301, 2**62, 2**63 - 1], device=device)
    for suppress in SUPPRESS_MODES:
        options: dict[str, Any] = {"num_crops": 3, "crop_samples": 51, "suppress": suppress}
        assert_same_crops(
            select_crops(rank, logits, wave, lengths=lengths, **options),
            select_crops(rank, logits, wave, lengths=lengths.clamp(0, 300), impl="reference", **options),
        )


def test_fused_says_so_where_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_dispatch._missing, "cpu", "libglat_cpu.so was not built")
    with pytest.raises(RuntimeError, match=r"impl='fused': libglat_cpu.so was not built; use impl='auto'"):
        select_crops(**good(), impl="fused")
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        crops = select_crops(**good(), impl="auto")
    assert "glat::select_crops" not in {event.key for event in seen.key_averages()}
    assert_same_crops(crops, select_crops(**good(), impl="reference"))
    assert _dispatch.implementations("cpu") == {"select_crops": "reference (libglat_cpu.so was not built)"}


def test_runs_without_triton() -> None:
    """Importing, the reference and the CPU kernel need no Triton, and importing glat.kernels does not load it."""
    script = """
import sys

class NoTriton:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "triton":
            raise ImportError("blocked")

sys.meta_path.insert(0, NoTriton())
import torch
from glat.kernels import implementations, select_crops
assert "triton" not in sys.modules

wave = torch.arange(100.0).expand(2, 100).clone().requires_grad_()
for impl in ("reference", "auto"):
    crops = select_crops(torch.randn(2, 5), torch.randn(2, 6, 5), wave, num_crops=2, crop_samples=10, impl=impl)
    crops.audio.sum().backward()
    assert torch.equal(crops.audio[..., 0].long(), crops.starts)
assert "triton" not in sys.modules
print(implementations("cpu"))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "select_crops" in done.stdout


def test_importing_the_kernels_does_not_import_triton() -> None:
    script = "import sys, glat.kernels; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=120).returncode == 0


def test_the_example_of_the_docstring_is_true() -> None:
    rank = torch.tensor([[0.0, 2.0, 1.0]])
    logits = torch.zeros(1, 10, 3)
    logits[0, 4, 1] = 3.0
    crops = select_crops(rank, logits, torch.arange(100.0)[None], num_crops=1, crop_samples=20)
    assert (crops.classes.item(), crops.starts.item(), crops.audio[0, 0, 0].item()) == (1, 30, 30.0)


@pytest.mark.parametrize(("name", "value"), [("num_crops", 2.0), ("num_crops", True), ("crop_samples", "3")])
def test_sizes_that_are_no_whole_numbers_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}: wanted a whole number, got {value!r}"):
        select_crops(**{**good(), name: value})


def test_a_sparse_tensor_is_named() -> None:
    arguments = good()
    arguments["rank_scores"] = arguments["rank_scores"].to_sparse()
    with pytest.raises(ValueError, match="rank_scores: wanted a strided tensor"):
        select_crops(**arguments)


def test_what_has_no_gradient_rule_is_refused_and_not_answered_with_zeros() -> None:
    arguments = good()
    wave = arguments.pop("wave")

    def audio(wave: torch.Tensor) -> torch.Tensor:
        return select_crops(wave=wave, **arguments).audio

    for transformed in (
        lambda: torch.func.jvp(audio, (wave,), (torch.ones_like(wave),)),
        lambda: torch.func.grad(lambda wave: audio(wave).sum())(wave),
        lambda: torch.vmap(audio)(wave[None]),
    ):
        with pytest.raises(RuntimeError, match="torch.func transforms"):
            transformed()
    with torch.autograd.forward_ad.dual_level(), pytest.raises(RuntimeError, match="no forward-mode gradient"):
        audio(torch.autograd.forward_ad.make_dual(wave, wave))
