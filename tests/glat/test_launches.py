"""How many operators a training step calls, each one launch or more on a GPU: bounded, and no more in longer clips."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from glat.backbones import BACKBONES
from glat.backbones.gru import BiGRU
from glat.config import ModelConfig, OptimConfig
from glat.data import Batch
from glat.model import build_model
from glat.training.step import TrainingStep

# Forward and backward of both streams, uncompiled, without the optimiser; a tenth more than there were.
MOST_CALLS = {"at_sca": 1080, "cnn10": 440, "cnn14": 540, "resnet38": 1215, "talnet": 410, "wavegram_logmel_cnn14": 720}


class Calls(TorchDispatchMode):
    """Counts the calls that compute; a view is none."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def calls(name, seconds):
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone=name, width=0.1, num_crops=2, crop_seconds=1.0), 5)
    step = TrainingStep(model, OptimConfig()).train()
    S = round(seconds * model.global_.sample_rate_hz)
    batch = Batch(0.1 * torch.randn(2, S), torch.full((2,), S), torch.eye(2, 5))
    with Calls() as mode:
        step(batch).total.backward()
    return mode.count


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_calls_are_bounded_and_do_not_grow_with_the_clip(name, monkeypatch):
    monkeypatch.setattr(BiGRU, "forward", BiGRU.as_one_operator)  # as cuDNN has it: on a CPU it takes some for a frame
    short = calls(name, 1.0)
    assert short <= MOST_CALLS[name]
    assert calls(name, 2.0) == short
