"""Wavegram-Logmel-CNN14 of PANNs: CNN14 that hears the waveform beside the log-mel."""

import torch
from torch import Tensor, nn

from .between import hide, norm_relu, norm_relu_max_pool
from .cnn14 import CNN14
from .panns import ConvBlock, initialise, scaled

WAVEGRAM_BINS = 32  # of the learned frequency axis: the log-mel's 64 after the first block's pooling


class WaveBlock(nn.Module):
    """Two convolutions of 3 samples, the second dilated by 2, each with batch norm and ReLU; then max pooling by 4."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv1d(out_channels, out_channels, 3, padding=2, dilation=2, bias=False)
        self.bn1 = nn.BatchNorm1d(out_channels)
        self.bn2 = nn.BatchNorm1d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return norm_relu_max_pool(self.bn2, self.conv2(norm_relu(self.bn1, self.conv1(x))), 4)


class WavegramLogmelCNN14(CNN14):
    """CNN14 whose second block sees, beside the log-mel's maps, an image that convolutions make of the wave.

    The wavegram has 32 bins from 128 channels at a 320th of the sample rate, PANNs' hop. A frame is 320 ms, as in
    CNN14: T = 31 for 10 s, 9 for 3 s. 81 065 487 parameters at width 1 and 527 classes.

    Source: PANNs, section II-D and program; the third network of the released GL-AT program. Deviation: where the
    wavegram and the log-mel differ by a frame (clips of an odd number of hops, where PANNs' program fails), the longer
    loses its last one. `width` leaves the wavegram at least 32 channels to make its bins of.
    """

    def __init__(self, num_classes: int = 527, width: float = 1.0) -> None:
        super().__init__(num_classes, width)
        a = scaled(64, width)
        # The bins are groups of channels, so their number has to divide.
        b = WAVEGRAM_BINS * max(1, round(scaled(128, width) / WAVEGRAM_BINS))
        self.pre_conv0 = nn.Conv1d(1, a, 11, stride=5, padding=5, bias=False)
        self.pre_bn0 = nn.BatchNorm1d(a)
        self.pre_block1 = WaveBlock(a, a)
        self.pre_block2 = WaveBlock(a, b)
        self.pre_block3 = WaveBlock(b, b)
        self.pre_block4 = ConvBlock(b // WAVEGRAM_BINS, a, pool=(2, 1))
        for part in (self.pre_conv0, self.pre_block1, self.pre_block2, self.pre_block3, self.pre_block4):
            initialise(part)
        # 32 hops of the wavegram, each 64 strides of 5 samples; the last stride may be a single sample.
        self.min_samples = 5 * (64 * self.hops_per_frame - 1) + 1

    @staticmethod
    def into_block2(channels: int) -> int:
        return 2 * channels

    def maps(self, wave: Tensor) -> Tensor:
        mel, wavegram = self.conv_block1(self.image(wave)), self.wavegram(wave)
        T = min(mel.shape[2], wavegram.shape[2])
        return self.upper(hide(torch.cat([mel[:, :, :T], wavegram[:, :, :T]], dim=1), self.trunk_dropout(0.2)))

    def wavegram(self, wave: Tensor) -> Tensor:
        """[B, S] to [B, C, T, 32], T half the number of hops."""
        x = norm_relu(self.pre_bn0, self.pre_conv0(wave[:, None]))
        x = self.pre_block3(self.pre_block2(self.pre_block1(x)))
        return self.pre_block4(x.unflatten(1, (-1, WAVEGRAM_BINS)).transpose(2, 3))
