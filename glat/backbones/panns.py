"""What the networks of PANNs share: the log-mel input, the convolution block and the classifier.

Entries of the state dicts are named and shaped as in PANNs, so that its checkpoints load strictly.
Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition", 2020.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ..frontend import LogMel, spec_augment
from ..pooling import largest
from ..regions import region
from .base import Backbone
from .between import hide, norm_relu, norm_relu_pool, pool_hide

MEL_BINS = 64
# PANNs keeps its DFT and mel matrices in the state dict; here they are computed.
FROZEN = ("spectrogram_extractor.", "logmel_extractor.")


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, at least 4 and a multiple of 4."""
    return max(4, 4 * round(channels * width / 4))


def initialise(module: nn.Module) -> None:
    """Xavier-uniform weights, zero biases; batch norm starts as the identity, which is PyTorch's default."""
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class ConvBlock(nn.Module):
    """Twice a 3x3 convolution, batch norm and ReLU, then average pooling by `pool`.

    Args of forward:
        gate: sees the maps before they are pooled.
        dropout: the probability to apply behind the pooling.
    """

    def __init__(self, in_channels: int, out_channels: int, pool: int | tuple[int, int] = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.pool = pool

    def forward(self, x: Tensor, gate: nn.Module | None = None, dropout: float = 0.0) -> Tensor:
        x = self.conv2(norm_relu(self.bn1, self.conv1(x)))
        if gate is not None:
            x = gate(norm_relu(self.bn2, x))
            return hide(x, dropout) if self.pool == 1 else pool_hide(x, self.pool, dropout)
        if self.pool == 1:
            return norm_relu(self.bn2, x, dropout)
        return norm_relu_pool(self.bn2, x, self.pool, dropout)


class PannsBackbone(Backbone):
    """Log-mel, a convolutional trunk (`trunk`, by the subclass), and PANNs' classifier."""

    sample_rate_hz = 32_000
    head_dropout = 0.5
    has_regions = True
    hops_per_frame: int  # of the trunk

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes, self.channels = num_classes, channels
        self.log_mel = LogMel(self.sample_rate_hz, mel_bins=MEL_BINS)
        # H = 1 + S // hop must fill one frame; the reflection at the ends needs more than half a window.
        fewest = (self.hops_per_frame - 1) * self.log_mel.hop_samples
        self.min_samples = max(fewest, self.log_mel.fft_samples // 2 + 1)
        self.bn0 = nn.BatchNorm2d(MEL_BINS)
        self.fc1 = nn.Linear(channels, channels)
        self.fc_audioset = nn.Linear(channels, num_classes)
        self.register_load_state_dict_pre_hook(_drop_frozen)

    def trunk(self, x: Tensor) -> Tensor:
        """[B, 1, H, F] to [B, C, T, F']."""
        raise NotImplementedError

    def frame_features(self, wave: Tensor) -> Tensor:
        self.check_length(wave)
        return self.maps(wave).mean(3).mT.float()

    def maps(self, wave: Tensor) -> Tensor:
        """[B, S] to the trunk's output [B, C, T, F']."""
        return self.trunk(self.image(wave))

    def image(self, wave: Tensor) -> Tensor:
        """[B, S] to the normalised log-mel [B, 1, H, F], in training with stripes hidden."""
        return _normalised(self.bn0, self.log_mel(wave), self.training and self.spec_augment)

    def run_blocks(self, x: Tensor, *blocks: nn.Module) -> Tensor:
        """Blocks one after the other, each with dropout .2 behind it."""
        for block in blocks:
            x = block(x, dropout=self.trunk_dropout(0.2))
        return x

    def trunk_dropout(self, probability: float) -> float:
        """What to apply in the trunk: scaled, and only in training."""
        return probability * self.dropout_scale if self.training else 0.0

    def embedding(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        """ReLU(fc1) of features [..., C], with dropout in front."""
        return F.relu(self.fc1(F.dropout(features, dropout) if dropout > 0 else features))

    def frame_logits(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        x = self.embedding(features, dropout)
        return self.fc_audioset(F.dropout(x, dropout) if dropout > 0 else x)

    def own_clip_logits(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        # Max plus mean, without a half; the classifier sees the embedding before PANNs' second dropout, as in PANNs.
        return self.fc_audioset(self.embedding(largest(features, 1) + features.mean(1), dropout))


@region
def _normalised(norm: nn.Module, log_mel: Tensor, augment: bool) -> Tensor:
    x = norm(log_mel.mT[..., None]).permute(0, 3, 2, 1)  # [B, F, H, 1]: batch norm over the mel bins
    return spec_augment(x) if augment else x


def _drop_frozen(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    for key in [key for key in state_dict if key.startswith(tuple(prefix + name for name in FROZEN))]:
        del state_dict[key]
