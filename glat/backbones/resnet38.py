"""ResNet38 of PANNs."""

from torch import Tensor, nn

from .between import norm_add_relu, norm_relu, norms_add_relu, pool_hide
from .panns import ConvBlock, PannsBackbone, initialise, scaled


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, with dropout between them, beside the identity; a strided block pools its input first."""

    def __init__(self, in_channels: int, out_channels: int, pool: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.pool = pool
        self.downsample: nn.Sequential | None = None
        if pool or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Identity(),  # PANNs pools here; one pooling, in `forward`, serves both ways
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor, dropout: float = 0.0) -> Tensor:
        x = pool_hide(x, 2) if self.pool else x
        out = self.conv2(norm_relu(self.bn1, self.conv1(x), dropout))
        if self.downsample is None:
            return norm_add_relu(self.bn2, out, x)
        _, conv, norm = self.downsample
        return norms_add_relu(self.bn2, out, norm, conv(x))


class ResNet(nn.Module):
    """The four stages of a ResNet-34, each but the first pooling once."""

    def __init__(self, channels: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        previous = channels[0]
        for i, (c, depth) in enumerate(zip(channels, depths, strict=True)):
            blocks = [BasicBlock(previous if j == 0 else c, c, pool=i > 0 and j == 0) for j in range(depth)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
            previous = c

    def forward(self, x: Tensor, dropout: float = 0.0) -> Tensor:
        for layer in self.children():
            assert isinstance(layer, nn.Sequential)
            for block in layer:
                x = block(x, dropout)
        return x


class ResNet38(PannsBackbone):
    """A ResNet-34 trunk between two convolution blocks; a frame is 32 hops, 320 ms: T = 31 for 10 s, 9 for 3 s.

    73 783 247 parameters at width 1 and 527 classes. Source: PANNs, table 4 and program. Deviation: none.
    """

    hops_per_frame = 32

    def __init__(self, num_classes: int = 527, width: float = 1.0) -> None:
        channels = tuple(scaled(c, width) for c in (64, 128, 256, 512))
        top = scaled(2048, width)
        super().__init__(top, num_classes)
        self.conv_block1 = ConvBlock(1, channels[0])
        self.resnet = ResNet(channels, (3, 4, 6, 3))
        self.conv_block_after1 = ConvBlock(channels[-1], top, pool=1)
        initialise(self)
        for block in self.resnet.modules():
            if isinstance(block, BasicBlock):
                nn.init.zeros_(block.bn2.weight)  # every block starts as the identity

    def trunk(self, x: Tensor) -> Tensor:
        dropout = self.trunk_dropout(0.2)
        x = self.resnet(self.conv_block1(x, dropout=dropout), self.trunk_dropout(0.1))
        return self.conv_block_after1(pool_hide(x, 2, dropout), dropout=dropout)
