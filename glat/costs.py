"""Parameters and floating-point operations of a backbone alone and in GL-AT."""

import math
import textwrap
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from .backbones import build
from .config import ModelConfig
from .errors import UserError
from .model import GlobalLocal


@dataclass(frozen=True)
class Costs:
    """Costs of one backbone. FLOPs are of the forward pass of one clip; a multiply-add counts as two."""

    backbone: str
    parameters: int
    """Of the backbone alone."""
    parameters_two_streams: int
    clip_flops: int
    """Of the backbone alone, on the clip."""
    crop_flops: int
    """Of the backbone alone, on one crop."""
    two_stream_flops: int
    """Of GL-AT: the clip, the selection's frame scores, the crops."""
    num_crops: int
    crop_share: float
    """τ/T0, a crop's share of the clip's length."""

    @property
    def times_alone(self) -> float:
        """FLOPs of GL-AT over those of the backbone alone."""
        return self.two_stream_flops / self.clip_flops

    @property
    def times_expected(self) -> float:
        """GL-AT over ``global + N τ/T0 local``, as if a crop cost its share of the clip."""
        return self.two_stream_flops / (self.clip_flops * (1 + self.num_crops * self.crop_share))


def count_costs(
    backbone: str,
    width: float = 1.0,
    num_classes: int = 527,
    num_crops: int = 5,
    crop_seconds: float = 3.0,
    clip_seconds: float = 10.0,
) -> Costs:
    """Count the costs of a backbone alone and in GL-AT from shapes, without computing or allocating anything.

    PyTorch's `FlopCounterMode` counts convolutions and matrix products, including linear layers, mel filters and the
    GRU. An FFT of n real samples counts as ``5/2 n log2 n``. Elementwise operations (batch norm, ReLU, pooling,
    logarithms) and the copy of the crops are not counted.

    Args:
        backbone: a name, as for `build`.
        width: factor on the number of channels.
        num_classes: L.
        num_crops: N.
        crop_seconds: τ.
        clip_seconds: T0.

    Raises:
        UserError: an unknown backbone; crops that do not fit the clip or the backbone.
    """
    if not (math.isfinite(clip_seconds) and math.isfinite(crop_seconds) and clip_seconds > 0 and crop_seconds > 0):
        raise UserError(f"clips of {clip_seconds} s and crops of {crop_seconds} s; wanted positive numbers")
    # The mel filters are made by NumPy and therefore are no fake tensors.
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        config = ModelConfig(backbone=backbone, width=width, num_crops=num_crops, crop_seconds=crop_seconds)
        alone = build(backbone, num_classes, width).eval()
        model = GlobalLocal(alone, build(backbone, num_classes, width), config).eval()
        clip_samples = round(clip_seconds * alone.sample_rate_hz)
        model.check_clip(clip_samples)
        return Costs(
            backbone,
            _parameters(alone),
            _parameters(model),
            _flops(alone, clip_samples),
            _flops(alone, model.crop_samples),
            _flops(model, clip_samples),
            num_crops,
            model.crop_samples / clip_samples,
        )


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _flops(network: nn.Module, samples: int) -> int:
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten._fft_r2c: _fft_flops}) as counter:
        network(torch.empty(1, samples))
    return int(counter.get_total_flops())


def _fft_flops(shape: tuple[int, ...], dims: list[int], *_: Any, out_shape: Any = None, **__: Any) -> int:
    samples = math.prod(shape[d] for d in dims)
    return round(2.5 * math.prod(shape) * math.log2(samples))


def markdown(costs: list[Costs], command: str, width: float, clip_seconds: float, num_classes: int) -> str:
    """The page "What GL-AT costs", a row for each of `costs`; all have the same number and length of crops.

    Args:
        command: the command that makes the page, quoted at its top.
        width, clip_seconds, num_classes: what was counted.
    """
    num_crops, crop_seconds = costs[0].num_crops, costs[0].crop_share * clip_seconds
    what = (
        f"Parameters and floating-point operations of one clip of {clip_seconds:g} s at width {width:g} and "
        f"{num_classes} classes, the backbone alone and in GL-AT with {num_crops} crops of {crop_seconds:g} s, counted "
        f"by `{command}`."
    )
    how = (
        "A multiplication and an addition are two operations. Convolutions and matrix products (mel filters, linear "
        "layers and the GRU among them) are counted by PyTorch's `FlopCounterMode`, an FFT of n real samples as "
        "5/2 n log2 n; what works element by element (batch norm, ReLU, pooling, logarithms) and the copy of the crops "
        "are not."
    )
    lines = ["# What GL-AT costs", "", textwrap.fill(what, 120), "", textwrap.fill(how, 120), ""]
    lines += [
        "| backbone | parameters | of GL-AT | GFLOP, clip | GFLOP, crop | GFLOP, GL-AT | crops, alone and in GL-AT "
        f"| GL-AT / alone | GL-AT / (global + {num_crops} · {costs[0].crop_share:g} · local) |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for c in costs:
        name = "at_sca (reconstruction)" if c.backbone == "at_sca" else c.backbone
        counts = (f"{n:,}".replace(",", " ") for n in (c.parameters, c.parameters_two_streams))
        flops = (f"{n / 1e9:.2f}" for n in (c.clip_flops, c.crop_flops, c.two_stream_flops))
        cells = (name, *counts, *flops, f"0, {num_crops}", f"{c.times_alone:.3f}", f"{c.times_expected:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
