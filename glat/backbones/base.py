"""What GL-AT asks of a network."""

from abc import abstractmethod

from torch import Tensor, nn

from ..errors import UserError


class Backbone(nn.Module):
    """A network that scores a clip and its frames; any network with these members can be a stream.

    Attributes:
        sample_rate_hz: the rate of the waveforms it takes.
        min_samples: the shortest waveform it takes.
        num_classes: L.
        head_dropout: the dropout probability of its classifier in training.
        dropout_scale: factor on every dropout probability of training; 0 turns dropout off.
        spec_augment: whether training hides stripes of the spectrogram, where the network has one.
    """

    sample_rate_hz: int
    min_samples: int
    num_classes: int
    head_dropout: float = 0.0
    dropout_scale: float = 1.0
    spec_augment: bool = True

    @abstractmethod
    def frame_features(self, wave: Tensor) -> Tensor:
        """M of the paper: waveforms [B, S] with full scale ±1 to features [B, T, C]; frame t starts near S * t / T."""

    @abstractmethod
    def frame_logits(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        """C(M_t) of the paper: features [B, T, C] to logits [B, T, L], the classifier on every frame.

        `dropout` is the probability to apply, 0 outside the released program's noisy selection.
        """

    @abstractmethod
    def clip_logits(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        """C(P(M)) of the paper: features [B, T, C], pooled over the frames, to logits [B, L].

        `dropout` is the probability to apply: `training_dropout()` before a loss, 0 in selection.
        """

    def forward(self, wave: Tensor) -> Tensor:
        """Clip logits [B, L] of waveforms [B, S]: the backbone alone, without GL-AT."""
        return self.clip_logits(self.frame_features(wave), self.training_dropout())

    def training_dropout(self) -> float:
        """What `clip_logits` is given where the loss follows: the scaled `head_dropout` in training, else 0."""
        return self.head_dropout * self.dropout_scale if self.training else 0.0

    def estimate_normalizer(self, waves: Tensor) -> None:
        """Take from training clips [M, S] (float32 ±1 or int16) the statistics that the weights come with; once, before
        the first step. Most networks have none: batch norm learns theirs."""

    def check_length(self, wave: Tensor) -> None:
        """Raise a UserError where waveforms [B, S] are shorter than `min_samples`."""
        if wave.shape[-1] < self.min_samples:
            raise UserError(
                f"wave: {type(self).__name__} needs at least {self.min_samples} samples "
                f"({self.min_samples / self.sample_rate_hz:.2f} s), got {wave.shape[-1]}; pad it or take a longer crop"
            )
