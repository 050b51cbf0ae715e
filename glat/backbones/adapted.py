"""A stream made of a network that knows nothing of glat."""

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from .base import Backbone


class Adapted(Backbone):
    """A stream made of a network for frame features and a classifier, neither of which knows of glat.

    Args:
        features: a module from waveforms [B, S] (float32, full scale ±1) to features [B, T, C] whose frames lie at even
            distances over the clip: frame t starts near S * t / T.
        classifier: a module from features [..., C] to logits [..., L], such as ``nn.Linear(C, L)``; it scores the
            frames, and by equation 2 the clip from the maximum plus the mean over the frames.
        sample_rate_hz: the rate of the waveforms.
        num_classes: L.
        channels: C.
        min_samples: the shortest waveform that `features` takes.

    Raises (when called):
        UserError: features or logits of another shape.

    Source: paper, section 2.1: "any feature extractor". Deviation: none.
    """

    def __init__(
        self,
        features: nn.Module,
        classifier: nn.Module,
        *,
        sample_rate_hz: int,
        num_classes: int,
        channels: int,
        min_samples: int = 1,
    ) -> None:
        super().__init__()
        self.features, self.classifier = features, classifier
        self.sample_rate_hz, self.num_classes = sample_rate_hz, num_classes
        self.channels, self.min_samples = channels, min_samples

    def frame_features(self, wave: Tensor) -> Tensor:
        self.check_length(wave)
        return self._shaped("features", self.features(wave).float(), 3, self.channels)

    def frame_logits(self, features: Tensor, dropout: float = 0.0) -> Tensor:
        logits = self.classifier(F.dropout(features, dropout) if dropout > 0 else features)
        return self._shaped("classifier", logits, features.dim(), self.num_classes)

    def _shaped(self, name: str, x: Tensor, dims: int, last: int) -> Tensor:
        if x.dim() != dims or x.shape[-1] != last:
            wanted = f"[B, T, {last}]" if dims == 3 else f"[..., {last}]"
            raise UserError(
                f"{name} ({type(getattr(self, name)).__name__}) gave a tensor {list(x.shape)}; wanted {wanted}"
            )
        return x
