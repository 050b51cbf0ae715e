"""The study's networks: those of the library on a coarser log-mel at 16 kHz, which two cores can train."""

from glat.backbones import CNN10, Backbone, TALNet
from glat.frontend import LogMel

SAMPLE_RATE_HZ = 16_000
HOP_SAMPLES = 640  # 40 ms; the networks' own are 10 and 25 ms


class CoarseCNN10(CNN10):
    """CNN10 on hops of 40 ms; a frame is 16 of them, 640 ms: T = 15 for 10 s, 4 for 3 s."""

    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, num_classes: int, width: float) -> None:
        super().__init__(num_classes, width)
        self.log_mel = LogMel(SAMPLE_RATE_HZ, hop_samples=HOP_SAMPLES, f_max_hz=8_000.0)
        self.min_samples = (self.hops_per_frame - 1) * HOP_SAMPLES


class CoarseTALNet(TALNet):
    """TALNet on hops of 40 ms; a frame is 4 of them, 160 ms: T = 62 for 10 s, 18 for 3 s."""

    def __init__(self, num_classes: int, width: float) -> None:
        super().__init__(num_classes, width)
        self.log_mel.hop_samples = HOP_SAMPLES
        self.min_samples = self.hops_per_frame * HOP_SAMPLES


NETWORKS: dict[str, type[Backbone]] = {"cnn10": CoarseCNN10, "talnet": CoarseTALNet}
