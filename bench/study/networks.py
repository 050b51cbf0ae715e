"""The study's networks: the library's own, and on a coarser log-mel at 16 kHz, so that two cores can train them."""

from torch import nn

from glat.backbones import CNN10, ResNet38
from glat.backbones.panns import PannsBackbone
from glat.frontend import LogMel

SAMPLE_RATE_HZ = 16_000
HOP_SAMPLES = 640  # 40 ms; PANNs: 10 ms
MEL_BINS = 32  # PANNs: 64


def _coarsen(network: PannsBackbone) -> None:
    network.log_mel = LogMel(SAMPLE_RATE_HZ, hop_samples=HOP_SAMPLES, mel_bins=MEL_BINS, f_max_hz=8_000.0)
    network.bn0 = nn.BatchNorm2d(MEL_BINS)
    network.min_samples = (network.hops_per_frame - 1) * HOP_SAMPLES


class CoarseCNN10(CNN10):
    """CNN10 on hops of 40 ms; a frame is 16 of them, 640 ms: T = 15 for 10 s, 4 for 3 s."""

    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, num_classes: int, width: float) -> None:
        super().__init__(num_classes, width)
        _coarsen(self)


class FineCNN10(CNN10):
    """`CoarseCNN10` whose last two blocks do not pool over time, for the times of events.

    A frame is 4 hops, 160 ms as in PANNs: T = 62 for 10 s, 18 for 3 s.
    """

    sample_rate_hz = SAMPLE_RATE_HZ
    hops_per_frame = 4

    def __init__(self, num_classes: int, width: float) -> None:
        super().__init__(num_classes, width)
        self.conv_block3.pool = self.conv_block4.pool = (1, 2)
        _coarsen(self)


class CoarseResNet38(ResNet38):
    """ResNet38 on hops of 40 ms; a frame is 32 of them, 1.28 s: T = 7 for 10 s, 2 for 3 s."""

    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, num_classes: int, width: float) -> None:
        super().__init__(num_classes, width)
        _coarsen(self)


# The last is the library's as it is: 32 kHz, hops of 10 ms, 64 mel bins.
NETWORKS = {
    "cnn10": CoarseCNN10,
    "cnn10-fine": FineCNN10,
    "resnet38": CoarseResNet38,
    "cnn10-paper": CNN10,
}
