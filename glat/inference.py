"""Networks prepared for inference: batch norm folded into the convolution before it, memory in channels_last."""

from collections import Counter
from copy import deepcopy
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .backbones import Backbone

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def for_inference(network: Network) -> Network:
    """A faster copy for evaluation, with the same scores within 1e-5; it cannot be trained.

    A batch norm whose input is the output of one convolution is folded into that convolution. The pairs are found by
    running each stream once on a second of silence, so this works for any network, including your own.

    Args:
        network: a `Backbone`, or a model of such streams, as `GlobalLocal` is; it is not changed.

    Returns:
        The copy, on the same device, without gradients; its state dict differs from the original's.
    """
    copy = deepcopy(network).eval().requires_grad_(False)
    for stream in [part for part in copy.modules() if isinstance(part, Backbone)]:
        for convolution, norm in _pairs(stream):
            folded = fuse_conv_bn_eval(cast(Any, convolution), cast(Any, norm))
            _replace(stream, convolution, folded)
            _replace(stream, norm, nn.Identity())
    return copy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it


def _pairs(stream: Backbone) -> list[tuple[nn.Module, nn.Module]]:
    """Pairs of a convolution and the batch norm on its output, where both run once and neither is in another pair."""
    calls: Counter[nn.Module] = Counter()
    made: list[tuple[Tensor, nn.Module]] = []  # keeps the tensors alive, so that no id is used twice
    pairs: list[tuple[nn.Module, nn.Module]] = []

    def see(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] += 1
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            made.append((output, module))
        else:
            pairs.extend((convolution, module) for tensor, convolution in made if tensor is inputs[0])

    kinds = nn.Conv1d | nn.Conv2d | nn.BatchNorm1d | nn.BatchNorm2d
    hooks = [part.register_forward_hook(see) for part in stream.modules() if isinstance(part, kinds)]
    parameter = next(stream.parameters())
    try:
        stream(torch.zeros(1, max(stream.min_samples, stream.sample_rate_hz), device=parameter.device))
    finally:
        for hook in hooks:
            hook.remove()
    return [(c, n) for c, n in pairs if calls[c] == calls[n] == 1]


def _replace(root: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in root.modules():
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)
