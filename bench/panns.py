"""CNN10 and ResNet38 as PANNs computes them, rewritten: competitors of glat's training step and inference.

The STFT is two frozen convolutions and the mel filters are a matrix, SpecAugment is a loop that writes into the batch,
ReLU works in place, and all feature maps are NCHW. The weights are copies of those of glat's network.
"""

import math
import random
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glat.backbones import CNN10, ResNet38


class ConvolutionalLogMel(nn.Module):
    """Log-mel [B, 1, H, 64] of waves [B, S]: a DFT by two convolutions of 513 frozen filters each."""

    def __init__(self, filters: Tensor) -> None:
        super().__init__()
        n = torch.arange(1024, dtype=torch.float64, device=filters.device)
        window = 0.5 - 0.5 * torch.cos(2 * math.pi * n / 1024)
        bins = torch.arange(513, dtype=torch.float64, device=filters.device)
        angles = torch.outer(bins, n) % 1024 * (2 * math.pi / 1024)
        self.real = nn.Parameter((angles.cos() * window)[:, None].float(), requires_grad=False)
        self.imag = nn.Parameter((-angles.sin() * window)[:, None].float(), requires_grad=False)
        self.mel = nn.Parameter(filters.clone(), requires_grad=False)

    def forward(self, wave: Tensor) -> Tensor:
        with torch.autocast(wave.device.type, enabled=False):  # bfloat16 would leave nothing of the quiet bins
            x = F.pad(wave[:, None], (512, 512), mode="reflect")
            real, imag = (F.conv1d(x, kernel, stride=320)[:, None].transpose(2, 3) for kernel in (self.real, self.imag))
            mel = (real**2 + imag**2) @ self.mel
            return 10.0 * torch.log10(mel.clamp(min=1e-10))


class PannsWay(nn.Module):
    """Clip logits [B, L] of waves [B, S], with copies of the weights of `network`, a CNN10 or a ResNet38."""

    def __init__(self, network: CNN10 | ResNet38) -> None:
        super().__init__()
        self.log_mel = ConvolutionalLogMel(network.log_mel.filters)
        self.parts = nn.ModuleDict({k.replace(".", "/"): m for k, m in _leaves(network).items()})
        self.resnet = isinstance(network, ResNet38)
        self.spec_augment, self.dropout_scale = network.spec_augment, network.dropout_scale

    def part(self, name: str, x: Tensor) -> Tensor:
        return cast(Tensor, self.parts[name.replace(".", "/")](x))

    def forward(self, wave: Tensor) -> Tensor:
        return self.clip_logits(self.maps(wave))

    def maps(self, wave: Tensor) -> Tensor:
        """Waves [B, S] to features [B, C, T]."""
        x = self.log_mel(wave)
        x = self.part("bn0", x.transpose(1, 3)).transpose(1, 3)
        if self.training and self.spec_augment:
            hide_stripes(x)
        x = self.block("conv_block1", x)
        if self.resnet:
            for layer, depth in enumerate((3, 4, 6, 3), start=1):
                for i in range(depth):
                    x = self.basic_block(f"resnet.layer{layer}.{i}", x, pool=layer > 1 and i == 0)
            x = self.drop(F.avg_pool2d(x, 2), 0.2)
            x = self.block("conv_block_after1", x, pool=1)
        else:
            for i in (2, 3, 4):
                x = self.block(f"conv_block{i}", x)
        return x.mean(3)

    def clip_logits(self, maps: Tensor) -> Tensor:
        """Features [B, C, T] to logits [B, L]."""
        x = self.drop(maps.max(2).values + maps.mean(2), 0.5)
        return self.part("fc_audioset", F.relu_(self.part("fc1", x)))

    def block(self, name: str, x: Tensor, pool: int = 2) -> Tensor:
        for i in (1, 2):
            x = F.relu_(self.part(f"{name}.bn{i}", self.part(f"{name}.conv{i}", x)))
        return self.drop(F.avg_pool2d(x, pool), 0.2)

    def basic_block(self, name: str, x: Tensor, pool: bool) -> Tensor:
        identity = x
        out = F.avg_pool2d(x, 2) if pool else x
        out = F.relu_(self.part(f"{name}.bn1", self.part(f"{name}.conv1", out)))
        out = self.part(f"{name}.bn2", self.part(f"{name}.conv2", self.drop(out, 0.1)))
        if pool:
            identity = self.part(f"{name}.downsample.1", F.avg_pool2d(x, 2))
            identity = self.part(f"{name}.downsample.2", identity)
        return F.relu_(out + identity)

    def drop(self, x: Tensor, probability: float) -> Tensor:
        return F.dropout(x, probability * self.dropout_scale, self.training)


def hide_stripes(x: Tensor) -> None:
    """Zero two stripes of up to 63 hops and two of up to 7 mel bins in every clip of x [B, 1, H, F], in place."""
    for axis, widest in ((2, 64), (3, 8)):
        for b in range(x.shape[0]):
            for _ in range(2):
                width = random.randrange(widest)
                start = random.randrange(x.shape[axis] - width)
                x[b].narrow(axis - 1, start, width).zero_()


def _leaves(network: nn.Module) -> dict[str, Any]:
    """Copies of the layers that have weights, by their names."""
    kinds = nn.Conv2d | nn.BatchNorm2d | nn.Linear
    parts: dict[str, Any] = {name: part for name, part in network.named_modules() if isinstance(part, kinds)}
    return {name: deepcopy(part).to(memory_format=torch.contiguous_format) for name, part in parts.items()}
