"""From batches to weights: the guard against NaN, accumulation, clipping, averages, precision and compilation."""

import copy

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from glat.config import ModelConfig, OptimConfig
from glat.data import Batch
from glat.machine import Precision
from glat.model import build_model
from glat.ranks import ALONE
from glat.training.learner import Learner
from glat.training.step import TrainingStep

CPU = torch.device("cpu")
FLOAT32 = Precision(None, False, "")
BF16 = Precision(torch.bfloat16, False, "")
L, S = 6, 16_000


def learner(precision=FLOAT32, compiled=None, **optim):
    torch.manual_seed(0)
    config = ModelConfig(width=0.1, num_crops=2, crop_seconds=0.25, spec_augment=False, dropout_scale=0.0)
    chosen = OptimConfig(**{"learning_rate": 1e-3, "iterations": 100, "batch_size": 4, "schedule": "constant"} | optim)
    model = build_model(config, L)
    step = TrainingStep(model, chosen).train()
    if compiled is not None:
        step.compile(fullgraph=True, backend=compiled)
    return Learner(step, model, chosen, precision, CPU, ALONE)


def batches(count, seed=1, B=4):
    """Tones of a pitch that tells their class, in noise."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        labels = torch.randint(L, (B,), generator=generator)
        time = torch.arange(S) / 32_000
        tones = torch.sin(2 * torch.pi * (300 * 2 ** labels[:, None]) * time)
        wave = 0.2 * tones + 0.05 * torch.randn(B, S, generator=generator)
        yield Batch(wave, torch.full((B,), S), nn.functional.one_hot(labels, L).float())


def snapshot(of):
    state = of.model.state_dict() | {f"adam.{i}": v for i, v in enumerate(of.optimiser.state_dict()["state"].values())}
    return {k: {n: x.clone() for n, x in v.items()} if isinstance(v, dict) else v.clone() for k, v in state.items()}


def assert_equal(one, other):
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_step_that_is_not_finite_changes_nothing(clip):
    guarded = learner(clip_grad_norm=clip)
    good = list(batches(3))
    wave = good[1].wave.clone()
    wave[2, 100] = torch.nan
    guarded.learn(0, [good[0]])
    before = snapshot(guarded)
    guarded.learn(1, [good[1]._replace(wave=wave)])
    assert_equal(before, snapshot(guarded))
    seen = guarded.look()
    assert (seen.first_bad, seen.skipped, seen.in_a_row) == (1, 1, 1)
    assert torch.isnan(torch.tensor(seen.loss))
    guarded.learn(2, [good[2]])
    seen = guarded.look()
    assert (seen.first_bad, seen.skipped, seen.in_a_row) == (None, 1, 0)
    # As if the step had never been.
    other = learner(clip_grad_norm=clip)
    other.learn(0, [good[0]])
    other.learn(2, [good[2]])
    assert_equal(snapshot(other), snapshot(guarded))


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_loss_scale_changes_no_step_and_guards_as_well(clip):
    scaled = learner(Precision(None, True, ""), clip_grad_norm=clip)
    plain = learner(clip_grad_norm=clip)
    good, spoilt = batches(2)
    for one in (scaled, plain):
        one.learn(0, [good])
    before = snapshot(scaled)
    for name, value in snapshot(plain).items():
        torch.testing.assert_close(before[name], value, rtol=1e-4, atol=1e-6)
    scaled.learn(1, [spoilt._replace(wave=spoilt.wave * torch.nan)])
    assert_equal(before, snapshot(scaled))
    assert scaled.look().first_bad == 1


def test_accumulated_parts_are_the_whole_batch_where_batch_norm_is_frozen():
    (batch,) = batches(1, B=8)
    parts = [Batch(*part) for part in zip(*(tensor.chunk(4) for tensor in batch), strict=True)]
    whole, cut = learner(), learner(accumulate=4)
    for one, given in ((whole, [batch]), (cut, parts)):
        one.model.eval()
        one.learn(0, given)
    torch.testing.assert_close(cut.look().loss, whole.look().loss, rtol=1e-6, atol=0)
    moments = [next(iter(one.optimiser.state.values()))["exp_avg"] for one in (whole, cut)]
    torch.testing.assert_close(*moments, rtol=1e-3, atol=1e-7)


def test_gradients_are_clipped_to_the_norm():
    (batch,) = batches(1)
    free, clipped = learner(), learner(clip_grad_norm=1e-3)
    norms = []
    for one in (free, clipped):
        one.learn(0, [batch])
        moments = [state["exp_avg"].norm() / 0.1 for state in one.optimiser.state.values()]  # (1 - beta) g
        norms.append(float(torch.stack(moments).norm()))
    assert norms[0] > 0.1
    assert norms[1] == pytest.approx(1e-3, rel=1e-2)


def test_averaged_weights_follow_and_are_what_is_evaluated():
    averaging = learner(ema=0.75)
    first = None
    for step, batch in enumerate(batches(2)):
        averaging.learn(step, [batch])
        first = first or {k: v.clone() for k, v in averaging.model.state_dict().items()}
    found, now = averaging.evaluated_model.state_dict(), averaging.model.state_dict()
    assert averaging.evaluated_model is not averaging.model
    for name, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * first[name] + 0.25 * now[name])
        else:
            assert torch.equal(value, now[name])


def test_a_learner_goes_on_from_its_state():
    first, second = learner(ema=0.9), learner(ema=0.9)
    given = list(batches(4))
    for step in range(2):
        first.learn(step, [given[step]])
    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for step in (2, 3):
        first.learn(step, [given[step]])
        second.learn(step, [given[step]])
    assert_equal(snapshot(first), snapshot(second))
    assert_equal(first.averaged.state_dict(), second.averaged.state_dict())


def test_50_steps_in_bfloat16_stay_near_float32():
    """The loss of the last ten steps, averaged, differs by less than 5 %; it has fallen by far more."""
    curves = []
    for precision in (FLOAT32, BF16):
        one = learner(precision)
        losses = []
        for step, batch in enumerate(batches(50)):
            one.learn(step, [batch])
            losses.append(one.look().loss)
        curves.append(torch.tensor(losses))
    first, last = (torch.stack([curve[part].mean() for curve in curves]) for part in (slice(0, 5), slice(-10, None)))
    assert (last < 0.7 * first).all()
    assert abs(last[1] - last[0]) < 0.05 * last[0]


@pytest.mark.parametrize("precision", [FLOAT32, BF16], ids=["float32", "bfloat16"])
def test_silence_zeros_and_full_scale_square_waves_stay_finite(precision):
    one = learner(precision)
    square = torch.where(torch.arange(S) // 40 % 2 == 0, 32767, -32767).to(torch.int16)
    silence = torch.ones(S, dtype=torch.int16)
    lengths, targets = torch.full((4,), S), torch.eye(L)[:4]
    for step, waves in enumerate(([square, -square], [silence, torch.zeros_like(silence)], [square, 0 * square])):
        for batch in (torch.stack(waves * 2), torch.stack(waves[1:] * 4)):
            one.learn(step, [Batch(batch, lengths, targets)])
            seen = one.look()
            assert seen.first_bad is None
            assert 0 < seen.loss < 100


def test_nothing_is_compiled_again_after_the_first_steps():
    counters.clear()
    torch._dynamo.reset()
    one = learner(compiled="aot_eager", clip_grad_norm=1.0, ema=0.9, schedule="cosine")
    given = list(batches(6))

    def train_and_evaluate(step):
        one.learn(step, [given[step]])
        one.model.eval()
        with torch.inference_mode():
            one.evaluated_model(given[step].wave, given[step].lengths)
        one.model.train()

    train_and_evaluate(0)
    compiled = counters["stats"]["unique_graphs"]
    assert compiled == 1
    for step in range(1, 6):
        train_and_evaluate(step)
    assert counters["stats"]["unique_graphs"] == compiled
    assert not counters["graph_break"]
    assert not [name for name in one.model.state_dict() if "_orig_mod" in name]
