"""TALNet, the tagging and localisation network of Wang's thesis."""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..frontend import LogMel, Standardise, to_float
from ..pooling import POOLINGS, pool_logits
from .base import Backbone
from .between import norm_relu, norm_relu_max_pool
from .gru import BiGRU
from .panns import MEL_BINS, initialise, scaled

CHANNELS = (1, 32, 32, 64, 64, 128, 128, 256, 256, 512, 512)
# Max pooling (time, frequency) behind every second convolution.
POOLS = {2: (2, 2), 4: (2, 2), 6: (1, 2), 8: (1, 2), 10: (1, 2)}


class Convolution(nn.Module):
    """A 3x3 convolution, with a bias although batch norm follows (TALNet's weights have one), batch norm and ReLU.

    Args of forward:
        pool: of the maximum pooling that follows, in time and frequency; None: none.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, pool: tuple[int, int] | None = None) -> Tensor:
        x = self.conv(x)
        return norm_relu(self.bn, x) if pool is None else norm_relu_max_pool(self.bn, x, pool)


class TALNet(Backbone):
    """Ten convolutions and a bidirectional GRU; a frame is 4 hops, 100 ms: T = 100 for 10 s, 30 for 3 s.

    The frames are scored by one linear layer, and the clip by pooling their probabilities (`pool_logits`), so that a
    clip's logit stays finite without TALNet's clamp. 9 980 527 parameters at width 1 and 527 classes, 10 520 702 with
    attention. Names and shapes of the state dict are TALNet's, with ``standardise.mean`` and ``standardise.deviation``
    beside them: the original keeps these in a file of its own, ``normalizer.pkl``.

    Args:
        num_classes: L.
        width: factor on the channels.
        pooling: one of `glat.pooling.POOLINGS`; TALNet's released weights are for "linear".

    Source: Wang, "Polyphonic Sound Event Detection with Weak Labeling", 2018, chapter 5, and its program. Deviation:
    logits, see `pool_logits`.
    """

    sample_rate_hz = 16_000
    # TALNet keeps its normaliser in a file of its own; the attention is new where the weights pooled otherwise.
    may_start_fresh = ("standardise.", "fc_att.")
    hops_per_frame = 4
    has_regions = True

    def __init__(self, num_classes: int = 527, width: float = 1.0, pooling: str = "linear") -> None:
        super().__init__()
        self.num_classes = num_classes
        self.log_mel = LogMel(
            self.sample_rate_hz,
            fft_samples=4096,
            hop_samples=400,
            mel_bins=MEL_BINS,
            f_min_hz=0.0,
            f_max_hz=8_000.0,
            window_samples=1024,
            pad_mode="constant",
            magnitude=True,
            top_db=80.0,
            drop_last_hop=True,
        )
        self.min_samples = self.hops_per_frame * self.log_mel.hop_samples
        self.standardise = Standardise(MEL_BINS)
        channels = [1, *(scaled(c, width) for c in CHANNELS[1:])]
        for i, (before, after) in enumerate(pairwise(channels), start=1):
            self.add_module(f"conv{i}", Convolution(before, after))
        # Five halvings leave two bins of the mel axis.
        self.channels = 2 * channels[-1]
        self.gru = BiGRU(self.channels, channels[-1])
        self.fc_prob = nn.Linear(self.channels, num_classes)
        self.fc_att: nn.Linear | None = None
        self.pool_clips_by(pooling)
        initialise(self)
        for weight in self.gru.parameters():
            if weight.dim() == 2:
                nn.init.orthogonal_(weight)
            else:
                nn.init.zeros_(weight)

    def pool_clips_by(self, pooling: str) -> None:
        if pooling not in POOLINGS:
            raise UserError(f"unknown pooling {pooling!r}; choose one of {', '.join(POOLINGS)}")
        self.pooling = pooling
        if pooling == "attention":
            self.fc_att = nn.Linear(self.channels, self.num_classes)
            initialise(self.fc_att)
        else:
            self.fc_att = None

    def estimate_normalizer(self, waves: Tensor | Iterable[Tensor]) -> None:
        """Mean and deviation of every mel bin over all hops of `waves`; 2 000 independent clips are enough, as the mean
        is then known to 1 / sqrt(2 000), 2 % of a deviation."""
        device = self.standardise.mean.device
        batches = waves.split(16) if isinstance(waves, Tensor) else waves
        with torch.no_grad():
            self.standardise.estimate(self.log_mel(to_float(batch.to(device))) for batch in batches)

    def frame_features(self, wave: Tensor) -> Tensor:
        self.check_length(wave)
        return self.trunk(self.standardise(self.log_mel(wave)))

    def trunk(self, x: Tensor) -> Tensor:
        """Standardised log-mel [B, H, F] to features [B, T, C]; the GRU sees channels before mel bins."""
        x = x[:, None]
        for i in range(1, len(CHANNELS)):
            x = self.get_submodule(f"conv{i}")(x, POOLS.get(i))
        return self.gru(x.transpose(1, 2).flatten(2)).float()

    def frame_logits(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        return self.fc_prob(F.dropout(features, dropout, training=dropout > 0))

    def own_clip_logits(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        features = F.dropout(features, dropout, training=dropout > 0)
        attention = None if self.fc_att is None else self.fc_att(features)
        return pool_logits(self.fc_prob(features), self.pooling, attention=attention)
