"""CNN10 of PANNs."""

from torch import Tensor

from .panns import ConvBlock, PannsBackbone, initialise, scaled


class CNN10(PannsBackbone):
    """Four convolution blocks of 64 to 512 channels; a frame is 16 hops, 160 ms: T = 62 for 10 s, 18 for 3 s.

    5 219 279 parameters at width 1 and 527 classes. Source: PANNs, table 1 and program. Deviation: none.
    """

    hops_per_frame = 16

    def __init__(self, num_classes: int = 527, width: float = 1.0) -> None:
        a, b, c, d = (scaled(channels, width) for channels in (64, 128, 256, 512))
        super().__init__(d, num_classes)
        self.conv_block1 = ConvBlock(1, a)
        self.conv_block2 = ConvBlock(a, b)
        self.conv_block3 = ConvBlock(b, c)
        self.conv_block4 = ConvBlock(c, d)
        initialise(self)

    def trunk(self, x: Tensor) -> Tensor:
        return self.run_blocks(x, self.conv_block1, self.conv_block2, self.conv_block3, self.conv_block4)
