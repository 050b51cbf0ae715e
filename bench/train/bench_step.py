"""A training step on a CPU (forward, backward, Adam): glat against PANNs' way (bench/panns.py).

Both have the same weights, batch, loss, SpecAugment and dropout. First, their losses and gradients must agree with
SpecAugment and dropout off. Both keep freed memory, as train.py does; without that glat's lead is larger.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glat.backbones import Backbone, build
from glat.machine import keep_freed_memory

from ..panns import PannsWay
from ..steps import assert_same_step
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
    ways = [(network, lambda network=network: loss_of(network, wave, targets)) for network in (ours, panns)]
    assert_same_step(ways[0], ways[1])
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
