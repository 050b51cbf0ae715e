"""The paper's two streams as PANNs would compute them: competitor and check of glat's step with ``--preset paper``."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glat.kernels.crops import reference
from glat.model import GlobalLocal

from .panns import PannsWay


class PaperStreams(nn.Module):
    """Clip logits [B, L] and local probabilities [B, L] of waves [B, S], with copies of the weights of `model`."""

    def __init__(self, model: GlobalLocal) -> None:
        super().__init__()
        self.global_, self.local_ = PannsWay(model.global_), PannsWay(model.local_)  # type: ignore[arg-type]
        self.num_crops, self.crop_samples = model.config.num_crops, model.crop_samples

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.global_.maps(wave)
        clip_logits = self.global_.clip_logits(maps)
        with torch.no_grad():
            frames = F.relu(self.global_.part("fc1", maps.transpose(1, 2)))
            frame_logits = self.global_.part("fc_audioset", frames)
            crops, *_ = reference.select_crops(
                clip_logits, frame_logits, wave, None, self.num_crops, self.crop_samples, "none"
            )
        probs = self.local_(crops.flatten(0, 1)).float().sigmoid().view(len(wave), self.num_crops, -1)
        return clip_logits, (probs.max(1).values + probs.mean(1)) / 2


def paper_loss(scores: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    """Equations 4 to 6 with both streams' weights at 1; in float32, as autocast refuses `F.binary_cross_entropy`."""
    with torch.autocast(targets.device.type, enabled=False):
        clip_logits, local_probs = (x.float() for x in scores)
        global_loss = F.binary_cross_entropy_with_logits(clip_logits, targets)
        return global_loss + F.binary_cross_entropy(local_probs, targets)
