"""Networks prepared for inference say what the originals say."""

import pytest
import torch
from torch import nn

from glat.backbones import BACKBONES, Backbone, build
from glat.config import ModelConfig
from glat.inference import for_inference
from glat.model import build_model

NORMS = nn.BatchNorm1d | nn.BatchNorm2d
LEFT = {"talnet": 0}  # batch norms without a convolution before them: PANNs' first one


def trained(network):
    """Batch norms as training leaves them."""
    generator = torch.Generator().manual_seed(1)
    for norm in (m for m in network.modules() if isinstance(m, NORMS)):
        norm.running_mean.normal_(0, 0.3, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
        nn.init.normal_(norm.bias, 0, 0.2, generator=generator)
    return network.eval()


def noise(samples, clips=2):
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_scores_are_those_of_the_original(name):
    torch.manual_seed(0)
    network = trained(build(name, 7, width=0.1))
    wave = noise(2 * network.sample_rate_hz)
    ready = for_inference(network)
    with torch.no_grad():
        torch.testing.assert_close(ready(wave), network(wave), rtol=1e-5, atol=1e-5)
        features = network.frame_features(wave)
        torch.testing.assert_close(ready.frame_features(wave), features, rtol=1e-5, atol=1e-5)
    assert sum(isinstance(m, NORMS) for m in ready.modules()) == LEFT.get(name, 1)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_original_is_left_as_it_is(name):
    torch.manual_seed(0)
    network = build(name, 5, width=0.1).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    strides = {key: value.stride() for key, value in network.state_dict().items()}
    random_state = torch.get_rng_state()
    ready = for_inference(network)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not ready.training
    assert not any(p.requires_grad for p in ready.parameters())
    assert all(m.training and not m._forward_hooks for m in network.modules())
    assert all(p.requires_grad for p in network.parameters())
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert {key: value.stride() for key, value in after.items()} == strides


def test_both_streams_are_prepared():
    torch.manual_seed(0)
    model = trained(build_model(ModelConfig(width=0.1, num_crops=2, crop_seconds=0.4), 5))
    wave = noise(32_000)
    ready = for_inference(model)
    with torch.no_grad():
        got, wanted = ready(wave), model(wave)
    assert torch.equal(got.crops.starts, wanted.crops.starts)
    torch.testing.assert_close(got.fused_probs, wanted.fused_probs, rtol=0, atol=1e-5)
    assert sum(isinstance(m, NORMS) for m in ready.modules()) == 2


class Twice(Backbone):
    """One convolution that runs twice, a norm with two sources, a norm of something else: only the last pair folds."""

    sample_rate_hz, min_samples, num_classes = 100, 10, 3

    def __init__(self):
        super().__init__()
        self.again, self.norm_again = nn.Conv1d(1, 1, 3, padding=1), nn.BatchNorm1d(1)
        self.norm_first = nn.BatchNorm1d(1)
        self.conv, self.norm = nn.Conv1d(1, 3, 3), nn.BatchNorm1d(3)

    def frame_features(self, wave):
        x = self.norm_first(wave[:, None])
        x = self.norm_again(self.again(self.norm_again(self.again(x))))
        return self.norm(self.conv(x)).relu().mT

    def frame_logits(self, features, dropout=0.0):
        return features

    def clip_logits(self, features, dropout=0.0):
        return features.mean(1)


def test_layers_that_are_shared_are_not_folded():
    torch.manual_seed(0)
    network = trained(Twice())
    ready = for_inference(network)
    kept = [name for name, m in ready.named_modules() if isinstance(m, NORMS)]
    assert kept == ["norm_again", "norm_first"]
    with torch.no_grad():
        torch.testing.assert_close(ready(noise(100)), network(noise(100)), rtol=1e-5, atol=1e-5)
