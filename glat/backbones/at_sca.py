"""AT-SCA (reconstruction): CNN10 with spatial and channel-wise attention.

What is public of AT-SCA (Hong, Zou, Wang and Cao, ICASSP 2020) is its abstract: "For spatial attention, we divide it
into global and local submodules with the former to capture the event-related spatial regions and the latter to
estimate the onset and offset of the event. [...] channel-wise attention is also exploited [...] can be employed into
any CNNs seamlessly with affordable overheads". Trunk, sizes, order and places of the attention are not. This network is
our reconstruction from these sentences; its results are not those of AT-SCA.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..pooling import largest
from .cnn10 import CNN10
from .panns import ConvBlock


class SpatialChannelAttention(nn.Module):
    """Gates of maps X [B, C, T, F]: ``X' = X * channel(X)``, then ``X' * global(X') * local(X')``.

    channel, [B, C, 1, 1]: what sounds; an MLP of the mean over time and frequency, and of the maximum, summed.
    global, [B, 1, T, F]: where it sounds; a 7x7 convolution of the mean and the maximum over the channels.
    local, [B, 1, T, 1]: onset and offset; a convolution of 3 frames of the mean and the maximum over channels and
    frequency.

    Args:
        channels: C.
        reduction: the MLP's hidden layer has C / reduction units.
        identity_start: gates are ``2 sigmoid`` of layers that start at zero, hence 1 at the start; otherwise
            ``sigmoid`` of layers with random weights.

    Source: channel and global are those of CBAM (Woo et al., 2018). Deviation: `identity_start`; local is ours.
    """

    def __init__(self, channels: int, reduction: int = 16, identity_start: bool = True) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, max(1, channels // reduction), bias=False)
        self.excite = nn.Linear(self.squeeze.out_features, channels, bias=False)
        self.region = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.onset = nn.Conv1d(2, 1, 3, padding=1, bias=False)
        self.scale = 2.0 if identity_start else 1.0
        nn.init.xavier_uniform_(self.squeeze.weight)
        for layer in (self.excite, self.region, self.onset):
            if identity_start:
                nn.init.zeros_(layer.weight)
            else:
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        # No `glat.regions`: of open sizes and bfloat16, Inductor 2.13 made gradients of this that were not finite.
        by_mean, by_max = (self.excite(F.relu(self.squeeze(s))) for s in (x.mean((2, 3)), largest(x.flatten(2), 2)))
        x = x * self.gate(by_mean + by_max)[:, :, None, None]
        over_channels = torch.stack([x.mean(1), largest(x, 1)], dim=1)  # [B, 2, T, F]
        over_bins = torch.stack([over_channels[:, 0].mean(2), largest(over_channels[:, 1], 2)], dim=1)  # [B, 2, T]
        return x * self.gate(self.region(over_channels)) * self.gate(self.onset(over_bins))[..., None]

    def gate(self, logits: Tensor) -> Tensor:
        return self.scale * logits.sigmoid()


class ATSCA(CNN10):
    """AT-SCA (reconstruction): CNN10, with attention in every block before its pooling; T = 62 for 10 s, 18 for 3 s.

    5 263 215 parameters at width 1 and 527 classes, 0.84 % more than CNN10. The state dict is CNN10's and ``sca1`` to
    ``sca4``; with `identity_start` CNN10's weights make it CNN10 until it is trained.

    Args:
        num_classes, width: as for CNN10.
        reduction, identity_start: see `SpatialChannelAttention`.
        blocks: which blocks have attention, counted from 1.

    Source: see the module. Deviation: unknown; a reconstruction.
    """

    may_start_fresh = (*CNN10.may_start_fresh, "sca")  # with `identity_start`, CNN10's weights make it CNN10

    def __init__(
        self,
        num_classes: int = 527,
        width: float = 1.0,
        reduction: int = 16,
        identity_start: bool = True,
        blocks: tuple[int, ...] = (1, 2, 3, 4),
    ) -> None:
        super().__init__(num_classes, width)
        if reduction < 1:
            raise UserError(f"reduction is {reduction}; wanted at least 1, such as 16")
        if not set(blocks) <= {1, 2, 3, 4}:
            raise UserError(f"blocks is {blocks}; wanted some of 1, 2, 3, 4")
        for i, block in enumerate(self.conv_blocks(), start=1):
            if i in blocks:
                attention = SpatialChannelAttention(block.conv2.out_channels, reduction, identity_start)
                self.add_module(f"sca{i}", attention)

    def conv_blocks(self) -> tuple[ConvBlock, ...]:
        return self.conv_block1, self.conv_block2, self.conv_block3, self.conv_block4

    def trunk(self, x: Tensor) -> Tensor:
        gates = dict(self.named_children())
        for i, block in enumerate(self.conv_blocks(), start=1):
            x = block(x, gates.get(f"sca{i}"), self.trunk_dropout(0.2))
        return x
