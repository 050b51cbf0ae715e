"""Without a GPU: on a device that is not the CPU, no tensor of a step or an inference stays behind on the CPU.

The device is PyTorch's "meta" under `FakeTensorMode`, which follows shapes and devices and computes nothing; an
operation on two devices, or on a real tensor, is an error.
"""

from contextlib import nullcontext

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from glat.backbones import BACKBONES
from glat.config import FeedConfig, ModelConfig, OptimConfig
from glat.data import Batch
from glat.data.recordings.resample import _matrices, resample
from glat.inference import for_inference
from glat.model import build_model
from glat.training.augment import augmentation
from glat.training.step import TrainingStep

DEVICE = "meta"
CLASSES = 5


@pytest.fixture(autouse=True)
def _no_autocast(monkeypatch):
    """That device has none; what autocast does is tested on the CPU."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())


@pytest.fixture
def elsewhere(monkeypatch):
    """A context of fake tensors, and what moves a module into it."""
    monkeypatch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)

    def moved(module):
        return module._apply(lambda t: torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=DEVICE))

    with FakeTensorMode():
        yield moved


def batch(model, seconds=4):
    samples = seconds * model.global_.sample_rate_hz
    return Batch(
        torch.empty(4, samples, dtype=torch.int16, device=DEVICE),
        torch.empty(4, dtype=torch.int64, device=DEVICE),
        torch.empty(4, CLASSES, device=DEVICE),
    )


@pytest.fixture(params=sorted(BACKBONES))
def model(request):
    """Made before the fake tensors begin."""
    return build_model(ModelConfig(backbone=request.param, width=0.1), CLASSES)


def test_a_training_step(model, elsewhere):
    feed = FeedConfig(gain_db=3.0, shift_seconds=0.5)  # mixup's distribution cannot be drawn on that device
    step = TrainingStep(elsewhere(model), OptimConfig(), augmentation(feed, model.global_.sample_rate_hz)).train()
    losses = step(batch(model))
    losses.total.backward()
    assert losses.total.device.type == DEVICE
    assert {p.grad.device.type for p in model.parameters() if p.grad is not None} == {DEVICE}


@pytest.fixture(params=[("frame_max", "released"), ("frame_mean", "crop")], ids="-".join)
def selecting(request):
    rank_by, suppress = request.param
    return build_model(ModelConfig(width=0.1, rank_by=rank_by, suppress=suppress, crop_pooling="linear"), CLASSES)


def test_a_step_by_the_other_selections(selecting, elsewhere):
    losses = TrainingStep(elsewhere(selecting), OptimConfig()).train()(batch(selecting))
    losses.total.backward()
    assert losses.total.device.type == DEVICE


@pytest.fixture
def folded(model):
    return for_inference(model)


def test_inference(folded, elsewhere):
    scores = elsewhere(folded)(*batch(folded)[:2])
    for tensor in (scores.fused_probs, scores.frame_logits, *scores.crops):
        assert tensor.device.type == DEVICE


def test_resampling():
    _matrices.cache_clear()  # of real tensors
    with FakeTensorMode():
        assert resample(torch.empty(2, 44_100, device=DEVICE), 44_100, 32_000).device.type == DEVICE
    _matrices.cache_clear()
