"""The released program's two streams, rewritten: the competitor of `GlobalLocal` with ``--preset released``.

The global network is in evaluation mode and not in the optimiser, but autograd still records it. A loop selects the
crops by frame scores of the local network's classifier, with dropout in training. The loss takes probabilities. Both
networks are `PannsWay`, so the DFT is a convolution and SpecAugment a loop.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glat.model import GlobalLocal

from .panns import PannsWay
from .released import released_selection


class ReleasedScores(NamedTuple):
    """What the program returns of B clips."""

    global_probs: Tensor  # [B, L]
    local_probs: Tensor  # [B, L]
    fused_probs: Tensor  # [B, L]
    starts: Tensor  # [B, N], in samples


class ReleasedStreams(nn.Module):
    """Scores of waves [B, S] of ten seconds, with copies of the weights of `model`, both of whose streams are CNN10s or
    ResNet38s."""

    def __init__(self, model: GlobalLocal) -> None:
        super().__init__()
        self.global_, self.local_ = PannsWay(model.global_), PannsWay(model.local_)  # type: ignore[arg-type]
        for part in self.global_.parts.parameters():
            part.requires_grad_(True)  # the program never turned it off
        self.num_crops, self.crop_samples = model.config.num_crops, model.crop_samples
        self.select_dropout = model.config.select_dropout

    def train(self, mode: bool = True) -> "ReleasedStreams":
        super().train(mode)
        self.global_.eval()
        return self

    def forward(self, wave: Tensor) -> ReleasedScores:
        maps = self.global_.maps(wave)
        global_probs = self.global_.clip_logits(maps).sigmoid()
        dropout = self.select_dropout if self.training else 0.0
        frames = F.dropout(maps.transpose(1, 2), dropout)
        frames = F.dropout(F.relu_(self.local_.part("fc1", frames)), dropout)
        frame_probs = self.local_.part("fc_audioset", frames).sigmoid()
        crops, _, starts = released_selection(global_probs, frame_probs, wave, self.num_crops, self.crop_samples)
        crop_probs = self.local_(crops.flatten(0, 1)).sigmoid().view(len(wave), self.num_crops, -1)
        local_probs = (crop_probs.max(1).values + crop_probs.mean(1)) / 2
        both = torch.stack([global_probs, local_probs])
        return ReleasedScores(global_probs, local_probs, (both.max(0).values + both.mean(0)) / 2, starts)


def released_loss(scores: ReleasedScores, targets: Tensor) -> Tensor:
    """Of the local stream alone; `F.binary_cross_entropy` clamps the logarithms, and autocast refuses it."""
    with torch.autocast(targets.device.type, enabled=False):
        return F.binary_cross_entropy(scores.local_probs.float(), targets)
