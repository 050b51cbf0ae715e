"""Other crops and other couplings of the streams than the paper's, tried for a better recipe at its compute."""

from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from glat.backbones import Backbone
from glat.data import Batch
from glat.kernels import Crops
from glat.losses import global_bce
from glat.model import GlobalLocal, Scores, share_convolutions
from glat.pooling import largest

from .variants import Drawn, cut


class ShiftedCrops(Drawn):
    """In training each crop lies up to a third of its length to either side of where the peak puts it."""

    @torch.no_grad()
    def select(self, features: Tensor, wave: Tensor, lengths: Tensor | None) -> tuple[Crops, Tensor]:
        crops, frame_logits = super().select(features, wave, lengths)
        if not self.training:
            return crops, frame_logits
        farthest = self.crop_samples // 3
        shifts = self.draw().integers(-farthest, farthest + 1, crops.starts.shape)
        starts = crops.starts + torch.from_numpy(shifts).to(wave.device)
        return cut(
            wave, crops.classes, starts.clamp(0, wave.shape[1] - self.crop_samples), self.crop_samples
        ), frame_logits


class CropsOfSeveralLengths(Drawn):
    """In training the crops of a step are half as long, as long, or half as long again as in the evaluation."""

    @torch.no_grad()
    def select(self, features: Tensor, wave: Tensor, lengths: Tensor | None) -> tuple[Crops, Tensor]:
        usual = self.crop_samples
        if self.training:
            self.crop_samples = round(usual * float(self.draw().choice([0.5, 1.0, 1.5])))
        try:
            return super().select(features, wave, lengths)
        finally:
            self.crop_samples = usual


class NovelCrops(GlobalLocal):
    """Crops around the frames where a class of the clip sounds and that are unlike those chosen before.

    The first crop is the paper's. Each next one lies around the frame and class with the largest product of the clip's
    probability, the frame's, and the frame's novelty: one minus the largest cosine between its features and those of
    the frames chosen so far. A class may have several crops.
    """

    @torch.no_grad()
    def select(self, features: Tensor, wave: Tensor, lengths: Tensor | None) -> tuple[Crops, Tensor]:
        _, frame_logits = super().select(features, wave, lengths)
        B, T, L = frame_logits.shape
        clip_probs = self.global_.clip_logits(features.float()).sigmoid()
        evidence = clip_probs[:, None] * frame_logits.float().sigmoid()  # [B, T, L]
        directions = F.normalize(features.float(), dim=2)
        novelty = torch.ones(B, T, device=wave.device)
        classes, frames = [], []
        for _ in range(self.config.num_crops):
            best = (evidence * novelty[:, :, None]).flatten(1).argmax(1)
            frame = best // L
            frames.append(frame)
            classes.append(best % L)
            chosen = directions[torch.arange(B, device=wave.device), frame]
            novelty = torch.minimum(novelty, 1 - torch.einsum("btc,bc->bt", directions, chosen))
        S, W = wave.shape[1], self.crop_samples
        starts = (torch.stack(frames, 1) * S // T - W // 2).clamp(0, S - W)
        return cut(wave, torch.stack(classes, 1), starts, W), frame_logits


class PooledFeatures(GlobalLocal):
    """The local stream pools the frames of all crops as if they were those of one clip: one logit, not one a crop."""

    def hear_crops(self, features: Tensor, clip_logits: Tensor, wave: Tensor, lengths: Tensor | None = None) -> Scores:
        crops, frame_logits = self.select(features.detach(), wave, lengths)
        of_crops = self.local_.frame_features(crops.audio.flatten(0, 1))
        together = of_crops.unflatten(0, crops.classes.shape).flatten(1, 2)  # [B, N T', C]
        logits = self.local_.clip_logits(together, self.local_.training_dropout())
        return Scores(clip_logits, frame_logits, logits[:, None], crops, logits.float().sigmoid())


def partly_shared(network: Backbone, local_: Backbone, shared: Literal["all but the head", "convolutions"]) -> Backbone:
    """`local_` with the convolutions of `network` (the same weights), or with all of it but the classifier."""
    heads = ("fc1", "fc_audioset")
    if shared == "all but the head":
        both = deepcopy(network)
        for name, part in network.named_children():
            setattr(both, name, getattr(local_, name) if name in heads else part)
        return both
    share_convolutions(network, local_)
    return local_


def taught(model: GlobalLocal, distil: str, features: Tensor, scores: Scores, batch: Batch) -> Tensor:
    """What the global stream learns from the local one, added to the loss of its labels.

    clip: the binary cross entropy against the fused score. frames: in each crop the largest logit of the frames inside
    is to be what the local stream says of the crop, and zero of a class that the clip does not have.
    """
    if distil == "clip":
        return global_bce(scores.clip_logits, scores.fused_probs.detach())
    assert distil == "frames"
    frame_logits = model.global_.frame_logits(features.float())
    T, S = frame_logits.shape[1], batch.wave.shape[1]
    middles = (torch.arange(T, device=features.device) + 0.5) * S / T
    starts = scores.crops.starts[:, :, None]
    inside = (middles >= starts) & (middles < starts + model.crop_samples)  # [B, N, T]
    in_crops = largest(frame_logits[:, None].masked_fill(~inside[..., None], -torch.inf), 2)  # [B, N, L]
    wanted = scores.crop_logits.detach().float().sigmoid() * batch.targets[:, None]
    return F.binary_cross_entropy_with_logits(in_crops, wanted)
