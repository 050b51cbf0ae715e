"""What GL-AT asks of a network."""

from abc import abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..pooling import ClipPooling, largest


class Backbone(nn.Module):
    """A network that scores a clip and its frames; any network with these members can be a stream.

    A subclass gives the first three attributes, `frame_features` and `frame_logits`. `Adapted` makes one of a network
    that knows nothing of glat.

    Attributes:
        sample_rate_hz: the rate of the waveforms it takes.
        min_samples: the shortest waveform it takes.
        num_classes: L.
        head_dropout: the dropout probability of its classifier in training.
        dropout_scale: factor on every dropout probability of training; 0 turns dropout off.
        spec_augment: whether training hides stripes of the spectrogram, where the network has one.
        channels: C of its features; only attention pooling asks for it.
        may_start_fresh: prefixes of state-dict entries that pretrained weights may lack.
        has_regions: whether what costs time between its convolutions is marked by `glat.regions.region`.
        clip_pooling: what pools the frames' probabilities into the clip's; None: the network's own way.
    """

    sample_rate_hz: int
    min_samples: int
    num_classes: int
    channels: int
    may_start_fresh: tuple[str, ...] = ("clip_pooling.",)
    head_dropout: float = 0.0
    dropout_scale: float = 1.0
    spec_augment: bool = True
    has_regions: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.clip_pooling: ClipPooling | None = None  # no class attribute: that would hide the module

    @abstractmethod
    def frame_features(self, wave: Tensor) -> Tensor:
        """M of the paper: waveforms [B, S] with full scale ±1 to features [B, T, C]; frame t starts near S * t / T."""

    @abstractmethod
    def frame_logits(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        """C(M_t) of the paper: features [B, T, C] to logits [B, T, L], the classifier on every frame.

        `dropout` is the probability to apply, 0 outside the released program's noisy selection.
        """

    def clip_logits(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        """Features [B, T, C] to the clip's logits [B, L], by `clip_pooling` or in the network's own way.

        `dropout` is the probability to apply: `training_dropout()` before a loss, 0 in selection. In float32 also under
        autocast: at a logit of 8 bfloat16 has steps of 0.06, which ties clips and so costs mAP.
        """
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(torch.promote_types(features.dtype, torch.float32))
            if self.clip_pooling is None:
                return self.own_clip_logits(features, dropout)
            return self.clip_pooling(features, self.frame_logits(features, dropout))

    def own_clip_logits(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        """C(P(M)) of the paper's equation 2: the classifier on the maximum plus the mean over the frames."""
        return self.frame_logits((largest(features, 1) + features.mean(1))[:, None], dropout)[:, 0]

    def pool_clips_by(self, pooling: str) -> None:
        """Let one of `glat.pooling.POOLINGS` make the clip's score from the frames' probabilities.

        "attention" has weights of its own, which the state dict then holds too.
        """
        self.clip_pooling = ClipPooling(pooling, self.channels, self.num_classes)

    def forward(self, wave: Tensor) -> Tensor:
        """Clip logits [B, L] of waveforms [B, S]: the backbone alone, without GL-AT."""
        return self.clip_logits(self.frame_features(wave), self.training_dropout())

    def training_dropout(self) -> float:
        """What `clip_logits` is given where the loss follows: the scaled `head_dropout` in training, else 0."""
        return self.head_dropout * self.dropout_scale if self.training else 0.0

    def estimate_normalizer(self, waves: Tensor | Iterable[Tensor]) -> None:
        """Take from training clips the statistics that the weights come with; once, before the first step.

        Most networks have none: batch norm learns theirs, and `waves` is not read.

        Args:
            waves: clips [M, S], float32 with full scale ±1 or int16, or batches of them.
        """

    def check_length(self, wave: Tensor) -> None:
        """Raise a UserError where waveforms [B, S] are shorter than `min_samples`."""
        if wave.shape[-1] < self.min_samples:
            raise UserError(
                f"wave: {type(self).__name__} needs at least {self.min_samples} samples "
                f"({self.min_samples / self.sample_rate_hz:.2f} s), got {wave.shape[-1]}; pad it or take a longer crop"
            )
