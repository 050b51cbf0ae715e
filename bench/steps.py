"""Check that two implementations of a training step agree: the loss, and the gradient of each weight."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Way = tuple[nn.Module, Callable[[], Tensor]]  # a network and its loss


def gradients(network: nn.Module) -> dict[str, Tensor]:
    """By the names that glat's networks have; those of `TrainingStep` and `PannsWay` are reduced to them."""
    found = {}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            found[name.replace("/", ".").replace("parts.", "").removeprefix("model.")] = parameter.grad
    return found


def assert_same_step(ours: Way, wanted: Way) -> None:
    """Raise where losses or gradients differ by more than different convolution algorithms make them; clears both."""
    losses = [loss() for _, loss in (ours, wanted)]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    for loss in losses:
        loss.backward()
    found, expected = (gradients(network) for network, _ in (ours, wanted))
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    assert found
    whole = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
    for name, gradient in expected.items():
        # Different algorithms round differently, and batch norm's backward pass cancels: of a ResNet38, gradients of a
        # hundredth of the whole differ by up to 4 %, that is by up to 0.2 % of the whole.
        assert (found[name] - gradient).norm() <= 2e-2 * gradient.norm() + 4e-3 * whole, name
    for network, _ in (ours, wanted):
        network.zero_grad(set_to_none=True)
