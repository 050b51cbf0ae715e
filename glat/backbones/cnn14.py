"""CNN14 of PANNs."""

from torch import Tensor

from .panns import ConvBlock, PannsBackbone, initialise, scaled


class CNN14(PannsBackbone):
    """Six convolution blocks of 64 to 2048 channels; a frame is 32 hops, 320 ms: T = 31 for 10 s, 9 for 3 s.

    80 753 615 parameters at width 1 and 527 classes. Source: PANNs, table 1 and program. Deviation: none.
    """

    hops_per_frame = 32

    def __init__(self, num_classes: int = 527, width: float = 1.0) -> None:
        a, b, c, d, e, f = (scaled(channels, width) for channels in (64, 128, 256, 512, 1024, 2048))
        super().__init__(f, num_classes)
        self.conv_block1 = ConvBlock(1, a)
        self.conv_block2 = ConvBlock(self.into_block2(a), b)
        self.conv_block3 = ConvBlock(b, c)
        self.conv_block4 = ConvBlock(c, d)
        self.conv_block5 = ConvBlock(d, e)
        self.conv_block6 = ConvBlock(e, f, pool=1)
        initialise(self)

    @staticmethod
    def into_block2(channels: int) -> int:
        """How many channels the second block takes where the first puts out so many."""
        return channels

    def trunk(self, x: Tensor) -> Tensor:
        return self.upper(self.run_blocks(x, self.conv_block1))

    def upper(self, x: Tensor) -> Tensor:
        """The second block to the sixth."""
        blocks = self.conv_block2, self.conv_block3, self.conv_block4, self.conv_block5, self.conv_block6
        return self.run_blocks(x, *blocks)
