"""GL-AT: a global stream, the selection of its crops, a local stream, and their fusion."""

from collections.abc import Iterable
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from .backbones import Backbone, build
from .config import CropPooling, ModelConfig
from .errors import UserError
from .frontend import to_float
from .kernels import Crops, select_crops
from .pooling import max_mean, pool_logits


class Scores(NamedTuple):
    """What GL-AT says of B clips; probabilities are float32."""

    clip_logits: Tensor  # [B, L], of the global stream
    frame_logits: Tensor  # [B, T, L], what the crops were selected by
    crop_logits: Tensor  # [B, N, L], of the local stream
    crops: Crops
    local_probs: Tensor  # [B, L], equation 3: 0.5 (max + mean) over the crops, or another pool where the config says so
    fusion_weight: float | None = None  # the local stream's in a mean of logits; None: the paper's fusion

    @property
    def global_probs(self) -> Tensor:
        """[B, L], equation 2."""
        return self.clip_logits.float().sigmoid()

    @property
    def fused_probs(self) -> Tensor:
        """[B, L], section 2.3: 0.5 (max + mean) of the streams, that is 3/4 of the larger and 1/4 of the smaller.

        With a `fusion_weight` w, the probability of the mean of both logits, 1 - w of the global stream and w of the
        local one. Deviation from the paper; docs/study.md says what it brings.
        """
        if self.fusion_weight is None:
            return max_mean(torch.stack([self.global_probs, self.local_probs]), dim=0)
        logits = torch.stack([_logits(self.global_probs), _logits(self.local_probs)])
        return torch.lerp(logits[0], logits[1], self.fusion_weight).sigmoid()


def _logits(probs: Tensor) -> Tensor:
    """Of probabilities; no further from 0 than those of 1e-7 and 1 - 1e-7, which float32 still tells from 0 and 1."""
    known = probs.clamp(1e-7, 1 - 1e-7)
    return (known / (1 - known)).log()


class GlobalLocal(nn.Module):
    """The two-stream network of the paper.

    The global stream hears the clip (equations 1 and 2). Its frames are scored by its own classifier, `select_crops`
    cuts the crops around the peaks of the best classes (section 2.2), the local stream hears these, and its scores are
    pooled (equation 3). No gradient passes through the selection: an argmax has none, and the wave is the input.

    Args:
        global_, local_: the two streams, of one sample rate and the same classes; one network can be both.
        config: selection and what is frozen; see `ModelConfig`.

    Raises:
        UserError: streams that do not fit each other, more crops than classes, crops too short for the local stream.

    Source: paper, section 2. Deviation: none with ``preset="paper"``; ``preset="released"`` follows the released
    program, which differs from the paper (frozen global stream, frames scored by the local classifier, suppression).
    """

    selector = staticmethod(select_crops)  # an exported copy has one of plain operators

    def __init__(self, global_: Backbone, local_: Backbone, config: ModelConfig) -> None:
        super().__init__()
        for stream in (global_, local_):
            if not isinstance(stream, Backbone):
                raise UserError(
                    f"a stream is {type(stream).__name__}; wanted a glat.backbones.Backbone, which "
                    "glat.backbones.Adapted(features, classifier, ...) makes of any network"
                )
        self.global_, self.config = global_, config
        if local_ is global_:
            # No second child: the state dict then holds each weight once.
            object.__setattr__(self, "local_", local_)
        else:
            self.local_ = local_
        self.crop_samples = round(config.crop_seconds * local_.sample_rate_hz)
        if global_.sample_rate_hz != local_.sample_rate_hz:
            raise UserError(
                f"the streams hear {global_.sample_rate_hz} and {local_.sample_rate_hz} Hz; they need one sample rate"
            )
        if global_.num_classes != local_.num_classes:
            raise UserError(f"the streams know {global_.num_classes} and {local_.num_classes} classes; wanted the same")
        if not 1 <= config.num_crops <= global_.num_classes:
            raise UserError(
                f"num_crops is {config.num_crops}, and there are {global_.num_classes} classes to select; "
                f"choose --num-crops from 1 to {global_.num_classes}"
            )
        if self.crop_samples < local_.min_samples:
            raise UserError(
                f"crop_seconds is {config.crop_seconds}, and {type(local_).__name__} needs at least "
                f"{local_.min_samples / local_.sample_rate_hz:.2f} s; choose a longer --crop-seconds"
            )
        if config.frame_classifier == "local" and local_ is not global_ and global_.channels != local_.channels:
            raise UserError(
                f"--frame-classifier local: a {type(local_).__name__} of {local_.channels} features cannot score the "
                f"{global_.channels} of the {type(global_).__name__}; choose global, or one network for both streams"
            )
        if config.crop_pooling not in get_args(CropPooling):
            raise UserError(
                f"crop_pooling is {config.crop_pooling!r}; choose one of {', '.join(get_args(CropPooling))}"
            )
        if config.freeze_global:
            global_.requires_grad_(False)

    def check_clip(self, clip_samples: int) -> None:
        """Raise a UserError where clips of so many samples cannot be scored."""
        rate = self.global_.sample_rate_hz
        if self.crop_samples > clip_samples:
            raise UserError(
                f"crop_seconds is {self.config.crop_seconds}, and a clip has {clip_samples / rate:.2f} s; "
                "choose a shorter --crop-seconds or a longer --clip-seconds"
            )
        if clip_samples < self.global_.min_samples:
            raise UserError(
                f"a clip has {clip_samples / rate:.2f} s, and {type(self.global_).__name__} needs at least "
                f"{self.global_.min_samples / rate:.2f} s; choose a longer --clip-seconds"
            )

    def streams(self) -> list[Backbone]:
        """The global stream and, where it is another network, the local one."""
        return [self.global_] if self.local_ is self.global_ else [self.global_, self.local_]

    def estimate_normalizer(self, waves: Tensor | Iterable[Tensor]) -> None:
        """What the streams' input is normalised by; see `Backbone.estimate_normalizer`. Batches are read twice."""
        for stream in self.streams():
            stream.estimate_normalizer(waves)

    def train(self, mode: bool = True) -> "GlobalLocal":
        """A frozen global stream stays in evaluation mode."""
        super().train(mode)
        if self.config.freeze_global:
            self.global_.eval()
        return self

    def forward(self, wave: Tensor, lengths: Tensor | None = None) -> Scores:
        """Score clips.

        Args:
            wave: [B, S] at the streams' sample rate, float32 with full scale ±1 or int16 with full scale ±32767; S at
                least the crop's samples.
            lengths: [B] int64, valid samples of padded clips; crops are cut inside them.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_global):
            features = self.global_.frame_features(to_float(wave))
            clip_logits = self.global_.clip_logits(features, self.global_.training_dropout())
        return self.hear_crops(features, clip_logits, wave, lengths)

    def hear_crops(self, features: Tensor, clip_logits: Tensor, wave: Tensor, lengths: Tensor | None = None) -> Scores:
        """All behind the global stream: `forward`, given its features [B, T, C] and clip logits [B, L] of the wave."""
        crops, frame_logits = self.select(features.detach(), wave, lengths)
        local_features = self.local_.frame_features(crops.audio.flatten(0, 1))
        crop_logits = self.local_.clip_logits(local_features, self.local_.training_dropout())
        crop_logits = crop_logits.unflatten(0, crops.classes.shape)
        local_probs = self._pool_crops(crop_logits)
        return Scores(clip_logits, frame_logits, crop_logits, crops, local_probs, self.config.fusion_weight)

    def _pool_crops(self, crop_logits: Tensor) -> Tensor:
        if self.config.crop_pooling == "max_mean":
            return max_mean(crop_logits.float().sigmoid(), dim=1)
        return pool_logits(crop_logits, self.config.crop_pooling).sigmoid()

    @torch.no_grad()
    def select(self, features: Tensor, wave: Tensor, lengths: Tensor | None) -> tuple[Crops, Tensor]:
        """Section 2.2: the crops, and the frame logits [B, T, L] that chose them; in float32 also under autocast."""
        config = self.config
        classifier = self.global_ if config.frame_classifier == "global" else self.local_
        dropout = config.select_dropout if self.training else 0.0
        with torch.autocast(wave.device.type, enabled=False):
            features = features.float()
            frame_logits = classifier.frame_logits(features, dropout)
            if config.rank_by == "clip":
                rank_scores = self.global_.clip_logits(features)
            else:
                rank_scores = _rank_by_frames(frame_logits, wave.shape[1], lengths, config.rank_by)
            crops = self.selector(
                rank_scores,
                frame_logits,
                wave,
                num_crops=config.num_crops,
                crop_samples=self.crop_samples,
                suppress=config.suppress,
                lengths=lengths,
            )
        return crops, frame_logits


def _rank_by_frames(frame_logits: Tensor, wave_samples: int, lengths: Tensor | None, rank_by: str) -> Tensor:
    """Rank scores [B, L] from the valid frames: their largest logit, or the mean of their probabilities."""
    T = frame_logits.shape[1]
    if rank_by == "frame_max":
        reduced, fill = frame_logits, -torch.inf
    else:
        assert rank_by == "frame_mean"
        reduced, fill = frame_logits.sigmoid(), 0.0  # a sum ranks as the mean does
    if lengths is not None:
        valid = (T * lengths[:, None] + wave_samples - 1) // wave_samples
        outside = torch.arange(T, device=lengths.device) >= valid
        reduced = reduced.masked_fill(outside[:, :, None], fill)
    return reduced.amax(1) if rank_by == "frame_max" else reduced.sum(1)


def build_model(config: ModelConfig, num_classes: int) -> GlobalLocal:
    """The two streams of `config` with fresh weights, for L = `num_classes`."""

    def stream(name: str) -> Backbone:
        network = build(name, num_classes, 1.0 if config.width is None else config.width, config.clip_pooling)
        network.spec_augment = config.spec_augment is not False
        network.dropout_scale = 1.0 if config.dropout_scale is None else config.dropout_scale
        return network

    global_ = stream(config.backbone)
    local_ = global_ if config.share == "all" else stream(config.local_backbone or config.backbone)
    if config.share == "convolutions":
        share_convolutions(global_, local_)
    return GlobalLocal(global_, local_, config)


def share_convolutions(global_: Backbone, local_: Backbone) -> None:
    """Let two networks of the same build have the same convolutions; `local_` gives up its own.

    All else stays apart: batch norms, of which clips and crops have other statistics, recurrent layers, classifiers.
    The state dict of a model of the two names a shared weight under both.

    Raises:
        UserError: there is no convolution.

    Source: none; docs/study.md says what it brings. Deviation: the paper's streams share nothing.
    """
    convolutions = [(n, part) for n, part in global_.named_modules() if isinstance(part, nn.Conv1d | nn.Conv2d)]
    if not convolutions:
        raise UserError(f"--share convolutions: {type(global_).__name__} has none; choose nothing or all")
    for name, part in convolutions:
        owner, _, attribute = name.rpartition(".")
        setattr(local_.get_submodule(owner), attribute, part)
