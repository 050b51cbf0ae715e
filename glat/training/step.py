"""What a training step computes on the device: both streams and the loss in one module, which is compiled whole."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..config import FeedConfig, OptimConfig
from ..data import Batch
from ..losses import Losses, two_stream_loss
from ..machine import Precision, timed
from ..model import GlobalLocal
from .augment import Augment


class TrainingStep(nn.Module):
    """Losses of a batch: augmentation, the forward pass of `model`, and equations 4 to 6."""

    def __init__(self, model: GlobalLocal, config: OptimConfig, augment: Augment | None = None) -> None:
        super().__init__()
        self.model, self.augment = model, augment
        self.global_weight, self.local_weight = config.global_weight, config.local_weight

    def forward(self, batch: Batch) -> Losses:
        if self.augment is not None:
            batch = self.augment(batch)
        scores = self.model(batch.wave, batch.lengths)
        return two_stream_loss(
            scores.clip_logits,
            scores.crop_logits,
            batch.targets,
            self.global_weight,
            self.local_weight,
            self.model.config.crop_pooling,
        )


def learning_rate_factor(step: int, iterations: int, schedule: str) -> float:
    """Factor on the learning rate of step 0 .. iterations - 1: 1, or 5 % linear warm-up and a half cosine to zero."""
    if schedule == "constant":
        return 1.0
    warm_up = max(1, iterations // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, iterations - warm_up)))


def time_a_step(
    module: TrainingStep,
    load: Callable[[Tensor], Batch],
    feed: FeedConfig,
    num_clips: int,
    precision: Precision,
    batch_size: int,
) -> float:
    """Seconds of a forward and backward pass on a CPU; weights, statistics and random state are left as they were.

    Args:
        load: the batch of some rows.
        feed: says how many clips are drawn for a batch.
        num_clips: to train on.
        batch_size: B.
    """
    batch = load(torch.arange(feed.drawn(batch_size)) % num_clips)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    random_state = torch.get_rng_state()

    def step() -> None:
        with precision.autocast(batch.wave.device):
            losses = module(batch)
        losses.total.backward()
        module.zero_grad(set_to_none=True)

    seconds = timed(step)
    module.load_state_dict(state)
    torch.set_rng_state(random_state)
    return seconds
