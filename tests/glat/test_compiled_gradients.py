"""What torch.compile makes of our gradients, on the CPU: through Inductor itself, which `aot_eager` is not.

Here heads, poolings and one block of each network; whole networks behind `make test-compiled`.
"""

import pytest
import torch
from compiled import assert_compiles_to_eagers_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from glat.backbones import Adapted, Backbone
from glat.backbones.at_sca import SpatialChannelAttention
from glat.backbones.gru import BiGRU
from glat.backbones.panns import ConvBlock, PannsBackbone
from glat.backbones.resnet38 import BasicBlock
from glat.backbones.talnet import CHANNELS, Convolution, TALNet
from glat.backbones.wavegram_logmel_cnn14 import WaveBlock
from glat.losses import local_bce
from glat.pooling import POOLINGS, ClipPooling, max_mean

pytestmark = pytest.mark.usefixtures("two_threads")
L, C = 5, 32  # of fewer channels than a vector holds, Inductor rounds all alike


class Poolings(nn.Module):
    """Every pooling of frames and of crops, and the fusion's."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.Linear(C, L)
        self.pools = nn.ModuleDict({name: ClipPooling(name, C, L) for name in POOLINGS})

    def forward(self, features: Tensor, targets: Tensor) -> Tensor:
        logits = self.frames(features)
        losses = [F.binary_cross_entropy_with_logits(p(features, logits), targets) for p in self.pools.values()]
        losses += [local_bce(logits, targets, name) for name in POOLINGS if name != "attention"]
        losses += [max_mean(logits.float().sigmoid(), 1).square().mean()]
        return torch.stack([(i + 1) * loss for i, loss in enumerate(losses)]).sum()


class OneBlock(PannsBackbone):
    """PANNs' head behind one block, whose maps are rounded to bfloat16 on their way to it."""

    hops_per_frame = 2

    def __init__(self, block: nn.Module, gate: nn.Module | None = None) -> None:
        super().__init__(C, L)
        self.block, self.gate = block, gate
        del self.bn0

    def forward(self, x: Tensor) -> Tensor:
        maps = self.block(x) if self.gate is None else self.block(x, self.gate)
        return self.clip_logits(maps.mean(3).mT.float())


class Waves(nn.Module):
    """Wavegram-Logmel-CNN14's block, with the head of a network that glat does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.block = WaveBlock(3, C)
        self.head: Backbone = Adapted(nn.Identity(), nn.Linear(C, L), sample_rate_hz=32_000, num_classes=L, channels=C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head.clip_logits(self.block(x.flatten(2)).mT.float())


class Recurrent(nn.Module):
    """TALNet's convolution, its pooling and its GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru, self.head = Convolution(3, C), BiGRU(2 * C, C // 2), nn.Linear(C, L)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv(x), 2)
        return self.head(self.gru(x.transpose(1, 2).flatten(2)).float()).float().mean(1)


class TALNetHead(TALNet):
    """TALNet without what is in front of its frames."""

    def __init__(self) -> None:
        super().__init__(L, 0.1)
        del self.gru
        for i in range(1, len(CHANNELS)):
            delattr(self, f"conv{i}")


class Heads(nn.Module):
    """Every pooling behind the heads of our networks: of frames that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList()
        for pooling in ("own", *POOLINGS):
            for head in (OneBlock(nn.Identity()), TALNetHead()):
                if pooling != "own":
                    head.pool_clips_by(pooling)
                self.heads.append(head)

    def forward(self, features: Tensor, targets: Tensor) -> Tensor:
        losses = [
            F.binary_cross_entropy_with_logits(head.clip_logits(features[..., : head.channels]), targets)
            for head in self.heads
        ]
        return torch.stack([(i + 1) * loss for i, loss in enumerate(losses)]).sum()


class Blocks(nn.Module):
    """One block of each network."""

    def __init__(self) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(
            {
                "cnn10, cnn14": OneBlock(ConvBlock(3, C)),
                "at_sca": OneBlock(ConvBlock(3, C), SpatialChannelAttention(C, 4, identity_start=False)),
                "resnet38": OneBlock(BasicBlock(3, C, pool=True)),
                "wavegram_logmel_cnn14": Waves(),
                "talnet": Recurrent(),
            }
        )

    def forward(self, x: Tensor, targets: Tensor) -> Tensor:
        losses = [F.binary_cross_entropy_with_logits(net(x), targets) for net in self.networks.values()]
        return torch.stack(losses).sum()


@pytest.mark.parametrize("dtype", [pytest.param(torch.float32, marks=pytest.mark.compiled), torch.bfloat16], ids=str)
def test_every_pooling(dtype):
    torch.manual_seed(0)
    assert_compiles_to_eagers_gradients(Poolings(), (torch.randn(2, 6, C), torch.eye(2, L)), dtype)


def test_one_block_of_every_network():
    """In bfloat16, where it went wrong; float32 with the whole networks."""
    torch.manual_seed(0)
    assert_compiles_to_eagers_gradients(Blocks(), (torch.randn(2, 3, 8, 4), torch.eye(2, L)), torch.bfloat16)


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_head_with_every_pooling(dtype):
    torch.manual_seed(0)
    assert_compiles_to_eagers_gradients(Heads(), (torch.randn(2, 6, 112), torch.eye(2, L)), dtype)
