"""A run survives a compiler that fails, is late, or is wrong; a mode that was asked for ends it."""

import json
import re
import time
from functools import partial

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from glat.backbones import Adapted
from glat.config import ModelConfig, OptimConfig
from glat.data import Batch
from glat.errors import UserError
from glat.machine import Precision
from glat.model import GlobalLocal, build_model
from glat.ranks import ALONE
from glat.runs.folder import COMPILED
from glat.training import compiling
from glat.training.compiling import CompiledStep, cache_folder, mode_for
from glat.training.learner import Learner
from glat.training.nan import BadSteps
from glat.training.step import TrainingStep

CPU, GPU = torch.device("cpu"), torch.device("cuda")
L, S = 5, 16_000


def spoiling(graph, inputs):
    """Right but for the backward pass, which gives NaN."""

    def backward(graph, inputs):
        return make_boxed_func(lambda *args: [x if x is None else x * torch.nan for x in graph(*args)])

    eager = partial(lambda graph, inputs: make_boxed_func(graph.forward))
    return aot_autograd(fw_compiler=eager, bw_compiler=backward)(graph, inputs)


def raising(graph, inputs):
    raise RuntimeError("no such instruction\nand a long trace")


def endless(graph, inputs):
    time.sleep(30)


@pytest.fixture
def lines(tmp_path, monkeypatch):
    monkeypatch.setenv(compiling.CACHE, str(tmp_path / "cache"))
    return []


def a_stream():
    """Of a network that glat does not know."""
    features = nn.Sequential(nn.Unflatten(1, (-1, 160)), nn.Linear(160, 8), nn.Dropout(0.2))
    return Adapted(features, nn.Linear(8, L), sample_rate_hz=16_000, num_classes=L, channels=8, min_samples=160)


def compiled_run(lines, backend, monkeypatch, asked="auto"):
    """A step, its learner, and what loads its only batch."""
    monkeypatch.setattr(compiling, "BACKEND", backend)
    torch.manual_seed(0)

    model = GlobalLocal(a_stream(), a_stream(), ModelConfig(num_crops=2, crop_seconds=0.25))
    optim = OptimConfig(compile=asked, learning_rate=1e-3, iterations=10, batch_size=2, schedule="constant")
    step = CompiledStep(TrainingStep(model, optim).train(), "default", optim, lines.extend)
    learner = Learner(step, model, optim, Precision(None, False, ""), CPU, ALONE)
    batch = Batch(0.1 * torch.randn(2, S), torch.full((2,), S), torch.eye(2, L))
    return step, learner, lambda: batch


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (spoiling, "gave a loss or gradients that are not finite, where the uncompiled step's are"),
        (raising, r"failed: RuntimeError: no such instruction; going on"),
        (endless, "had not ended after 0.00"),
    ],
)
def test_a_run_goes_on_without_a_compiler_that_fails(backend, said, lines, monkeypatch, tmp_path):
    monkeypatch.setattr(compiling, "MOST_SECONDS", 0.2 if backend is endless else 600.0)
    step, learner, load = compiled_run(lines, backend, monkeypatch)
    before, draws = {k: v.clone() for k, v in learner.model.state_dict().items()}, torch.get_rng_state()
    step.try_out(learner, load)
    step.record_in(tmp_path)
    assert torch.equal(torch.get_rng_state(), draws)
    for name, value in learner.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert lines[0].startswith("compiling the training step (mode default, --compile); kept in")
    assert lines[-1].startswith("warning: torch.compile (mode default)")
    assert lines[-1].endswith("going on uncompiled from the same weights")
    record = json.loads((tmp_path / COMPILED).read_text())
    assert record["mode"] == "default"
    assert re.search(said, lines[-1])
    assert lines[-1].startswith(f"warning: {record['failure']}; going on")
    learner.learn(0, [load()])
    assert learner.look().first_bad is None


@pytest.mark.parametrize("backend", [spoiling, raising])
def test_a_mode_that_was_asked_for_ends_the_run(backend, lines, monkeypatch):
    step, learner, load = compiled_run(lines, backend, monkeypatch, asked="default")
    with pytest.raises(UserError, match=r"^torch.compile \(mode default\) .*; leave out --compile default, or choose"):
        step.try_out(learner, load)


def test_what_is_no_fault_of_the_compiler_is_not_blamed_on_it(lines, monkeypatch):
    step, learner, load = compiled_run(lines, "eager", monkeypatch, asked="default")
    silent = load()._replace(wave=torch.full((2, S), torch.nan))
    step.try_out(learner, lambda: silent)  # not finite, and neither is it in eager mode
    assert step.mode == "default"
    step, learner, load = compiled_run(lines, "eager", monkeypatch, asked="default")
    learner.model.local_.classifier = nn.Linear(8, L + 1)
    with pytest.raises(UserError, match="classifier"):
        step.try_out(learner, load)


def test_a_step_that_works_stays_compiled_and_leaves_no_trace(lines, monkeypatch, tmp_path):
    step, learner, load = compiled_run(lines, "aot_eager", monkeypatch)
    step.try_out(learner, load)
    step.record_in(tmp_path)
    assert step.mode == "default"
    assert [line.split(" in ")[0] for line in lines[1:]] == ["compiled"]
    assert json.loads((tmp_path / COMPILED).read_text())["failure"] is None
    assert all(p.grad is None for p in learner.model.parameters())
    with torch._dynamo.config.patch(error_on_recompile=True):
        learner.learn(0, [load()])
    assert not [name for name in learner.model.state_dict() if "_orig_mod" in name]


def test_one_that_goes_wrong_later_is_left_at_the_next_report(lines, monkeypatch, tmp_path):
    wrong = [False]

    def later(graph, inputs):
        def backward(graph, inputs):
            spoilt = lambda *args: [x if x is None or not wrong[0] else x * torch.nan for x in graph(*args)]  # noqa: E731
            return make_boxed_func(spoilt)

        eager = partial(lambda graph, inputs: make_boxed_func(graph.forward))
        return aot_autograd(fw_compiler=eager, bw_compiler=backward)(graph, inputs)

    step, learner, load = compiled_run(lines, later, monkeypatch)
    step.try_out(learner, load)
    bad_steps = BadSteps(tmp_path, ["a", "b"].__getitem__, lambda rows: load(), learner, step)
    learner.learn(0, [load()])
    assert bad_steps.explain(learner.look(), {}) == []
    wrong[0] = True
    learner.learn(1, [load()])
    assert bad_steps.explain(learner.look(), {1: torch.tensor([0, 1])}) == []
    assert lines[-1].startswith("warning: torch.compile (mode default) gave, at step 2, a loss or gradients that are")
    learner.learn(2, [load()])
    assert learner.look().first_bad is None


def test_the_mode_is_left_to_the_device_and_the_network():
    ours = build_model(ModelConfig(width=0.1, num_crops=1), L)
    theirs = GlobalLocal(a_stream(), a_stream(), ModelConfig(num_crops=2, crop_seconds=0.25))
    assert mode_for(OptimConfig(), GPU, ours) == "default"
    assert mode_for(OptimConfig(), GPU, theirs) == "default"
    assert mode_for(OptimConfig(), CPU, ours) == "off"
    assert mode_for(OptimConfig(sync_batch_norm=True), GPU, ours) == "off"
    assert mode_for(OptimConfig(compile="reduce-overhead"), CPU, ours) == "reduce-overhead"
    assert mode_for(OptimConfig(compile="regions"), CPU, ours) == "regions"
    with pytest.raises(UserError, match="--compile regions: Adapted marks none; choose --compile default"):
        mode_for(OptimConfig(compile="regions"), CPU, theirs)


def test_compiled_code_is_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv(compiling.CACHE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "glat" / "inductor"
    monkeypatch.setenv(compiling.CACHE, "/elsewhere")
    assert str(cache_folder()) == "/elsewhere"
