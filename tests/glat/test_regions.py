"""Compilation by regions: eager's gradients, few graphs for both streams, and nothing compiled twice."""

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.nn import functional as F

from glat.backbones import BACKBONES
from glat.backbones.between import norm_relu, relu
from glat.config import ModelConfig, OptimConfig
from glat.data import Batch
from glat.model import build_model
from glat.regions import Regions, region
from glat.training import compiling
from glat.training.compiling import CompiledStep
from glat.training.step import TrainingStep

# Of one network in both streams: log-mel, its batch norm, and what differs between convolutions. ResNet38 has 42
# convolutions' ends in each stream. Wavegram's has signals and maps, counted here and not explained one by one.
# Sizes of 1 would be compiled apart: clips and crops are long enough to leave two frames.
MOST_GRAPHS = {"resnet38": 8, "cnn10": 4, "cnn14": 5, "talnet": 4, "at_sca": 4, "wavegram_logmel_cnn14": 12}


def step_of(name, dropout_scale=0.0):
    torch.manual_seed(0)
    settings = {"width": 0.1, "num_crops": 2, "crop_seconds": 1.0, "spec_augment": False}
    model = build_model(ModelConfig(backbone=name, dropout_scale=dropout_scale, **settings), 5)
    S = round(1.5 * model.global_.sample_rate_hz)
    batch = Batch(0.1 * torch.randn(3, S), torch.full((3,), S), torch.eye(3, 5))
    return TrainingStep(model.to(memory_format=torch.channels_last), OptimConfig()).train(), batch


def gradients(step, run, batch):
    run(batch).total.backward()
    found = {name: p.grad for name, p in step.named_parameters()}
    step.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize(
    "name", [n if n == "resnet38" else pytest.param(n, marks=pytest.mark.compiled) for n in sorted(BACKBONES)]
)
def test_both_streams_share_the_graphs_of_their_regions(name, monkeypatch):
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    step, batch = step_of(name)
    eager = gradients(step, step, batch)
    counters.clear()
    compiled = CompiledStep(step, "regions", OptimConfig(), lambda lines: None)
    found = gradients(step, compiled, batch)
    assert counters["stats"]["unique_graphs"] <= MOST_GRAPHS[name]
    whole = torch.stack([gradient.norm() for gradient in eager.values()]).norm()
    for parameter, gradient in eager.items():
        assert (found[parameter] - gradient).norm() <= 1e-2 * gradient.norm() + 1e-4 * whole, parameter
    with torch._dynamo.config.patch(error_on_recompile=True):
        gradients(step, compiled, batch)
    assert not counters["graph_break"]


def test_a_region_is_the_plain_function_outside():
    compiled = []

    @region
    def double(x):
        return 2 * x

    regions = Regions(lambda function: compiled.append(function) or (lambda x: 3 * x))
    assert float(double(torch.ones(()))) == 2
    with regions.entered():
        assert [float(double(torch.ones(()))) for _ in range(2)] == [3, 3]
    assert float(double(torch.ones(()))) == 2
    assert len(compiled) == 1


@pytest.mark.parametrize("dropout", [0.0, 0.5, 1.0])
def test_relu_takes_its_gradient_from_what_it_puts_out(dropout):
    x = torch.linspace(-2, 2, 41, requires_grad=True)  # with a zero
    out = torch.compile(relu, fullgraph=True, backend="aot_eager")(x, dropout)
    kept = out.detach() != 0
    scale = 1 / (1 - dropout) if dropout < 1 else 0.0
    torch.testing.assert_close(out, torch.where(kept, F.relu(x) * scale, 0))
    assert kept.any() == (dropout < 1)
    (grad,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(grad, torch.where(kept, scale, 0.0))


@pytest.mark.usefixtures("two_threads")
def test_batch_norm_s_statistics_are_not_rounded_in_bfloat16():
    torch.manual_seed(0)
    x = (0.5 * torch.randn(4, 8, 20, 16) + 3 * torch.randn(8, 1, 1)).to(memory_format=torch.channels_last).bfloat16()
    grad = torch.randn_like(x)

    def of_weight(dtype):
        norm = nn.BatchNorm2d(8).to(torch.float64 if dtype == torch.float64 else torch.float32)
        norm_relu(norm, x.to(dtype)).backward(grad.to(dtype))
        return norm.weight.grad.double()

    exact, eager = of_weight(torch.float64), of_weight(torch.bfloat16)
    with Regions(lambda function: torch.compile(function, dynamic=True)).entered():
        compiled = of_weight(torch.bfloat16)
    assert (eager - exact).norm() < 1e-4 * exact.norm()
    assert (compiled - exact).norm() < 1e-4 * exact.norm()


def test_a_region_of_a_module_counts_its_batches():
    @region
    def norm(layer, x):
        return layer(x)

    layer, x = nn.BatchNorm1d(3), torch.randn(5, 3)
    regions = Regions(lambda function: torch.compile(function, dynamic=True, backend="aot_eager"))
    with regions.entered():
        norm(layer, x)
    wanted = nn.BatchNorm1d(3)
    wanted(x)
    torch.testing.assert_close(layer.state_dict(), wanted.state_dict())
