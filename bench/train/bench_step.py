"""A training step on a CPU, forward, backward and Adam: glat's against the way of PANNs (bench/panns.py).

Both have the same weights, batch, loss, SpecAugment and dropout. First, with SpecAugment and dropout off, their losses
and gradients have to agree. Freed memory is kept for both, as in train.py; without that glat's lead is larger.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glat.allocator import keep_freed_memory
from glat.backbones import Backbone, build

from ..panns import PannsWay
from ..work import network_work

SUBJECT = "training"


def regularise(network: Backbone | PannsWay, on: bool) -> None:
    network.spec_augment, network.dropout_scale = on, float(on)


def loss_of(network: nn.Module, wave: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(network(wave), targets)


def stepper(network: nn.Module, wave: Tensor, targets: Tensor, fused: bool) -> Callable[[], float]:
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], amsgrad=True, fused=fused)

    def step() -> float:
        loss = loss_of(network, wave, targets)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss.item()

    return step


def check(ours: nn.Module, panns: nn.Module, wave: Tensor, targets: Tensor) -> None:
    losses = [loss_of(network, wave, targets) for network in (ours, panns)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)
    for loss in losses:
        loss.backward()
    wanted = {name.replace("/", "."): p.grad for name, p in panns.named_parameters() if p.grad is not None}
    for name, parameter in ours.named_parameters():
        expected = wanted[f"parts.{name}"]
        # Different convolution algorithms round differently, and batch norm's backward pass cancels.
        assert (parameter.grad - expected).norm() <= 2e-2 * expected.norm() + 1e-7, name
    for network in (ours, panns):
        network.zero_grad(set_to_none=True)


@pytest.mark.guarded
@pytest.mark.parametrize(
    ("name", "width", "B"),
    [("cnn10", 0.25, 8), ("cnn10", 1.0, 2), ("resnet38", 0.25, 4), ("resnet38", 1.0, 2)],
)
def test_step(name: str, width: float, B: int, benchmark: Any, race: Any) -> None:
    keep_freed_memory()
    torch.manual_seed(0)
    ours = build(name, 527, width).train()
    panns = PannsWay(ours).train()  # type: ignore[arg-type]
    ours.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    wave, targets = 0.1 * torch.randn(B, 320_000), (torch.rand(B, 527) < 0.01).float()
    for network in (ours, panns):
        regularise(network, on=False)
    check(ours, panns, wave, targets)
    for network in (ours, panns):
        regularise(network, on=True)
    competitors = {
        "glat": stepper(ours, wave, targets, fused=True),
        "PANNs' way": stepper(panns, wave, targets, fused=False),
    }
    work = network_work(ours, wave, lambda: loss_of(ours, wave, targets).backward(), gradients=True)
    ours.zero_grad(set_to_none=True)
    finished = race(f"step {name} width {width:g} B={B}", competitors, work=work)
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors["glat"], rounds=1)
    finished.promise("glat", 1, "PANNs' way")
