"""Two-stream steps of whole networks through Inductor: `make test-compiled`."""

import pytest
import torch
from compiled import DEEP_FLOOR, assert_compiles_to_eagers_gradients
from torch import Tensor, nn

from glat.backbones import BACKBONES
from glat.config import ModelConfig, OptimConfig
from glat.data import Batch
from glat.kernels import Crops, select_crops
from glat.model import GlobalLocal, build_model
from glat.training.step import TrainingStep

B, L = 2, 5


class Step(nn.Module):
    """The loss of both streams."""

    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        config = ModelConfig(
            backbone=name,
            width=0.1,
            num_crops=2,
            crop_seconds=0.5,
            spec_augment=False,
            dropout_scale=0.0,
        )
        model = build_model(config, L)
        choose_crops_at_random(model)
        self.step = TrainingStep(model, OptimConfig()).train()

    def forward(self, wave: Tensor, targets: Tensor) -> Tensor:
        lengths = torch.full((B,), wave.shape[1])
        return self.step(Batch(wave, lengths, targets)).total


def choose_crops_at_random(model: GlobalLocal) -> None:
    """By scores that are given: those of an untrained network are so close that rounding would choose other crops."""
    rank_scores, frame_logits = torch.randn(B, L), torch.randn(B, 8, L)

    def select(features: Tensor, wave: Tensor, lengths: Tensor | None) -> tuple[Crops, Tensor]:
        crops = select_crops(rank_scores, frame_logits, wave, num_crops=2, crop_samples=model.crop_samples)
        return crops._replace(audio=crops.audio.float()), frame_logits  # float64 where that is asked for

    model.select = select


def case(name: str) -> tuple[Step, tuple[Tensor, Tensor]]:
    step = Step(name)
    samples = round(1.3 * step.step.model.global_.sample_rate_hz)
    return step, ((3_000 * torch.randn(B, samples)).to(torch.int16), torch.eye(B, L))


@pytest.mark.parametrize(
    "name", [n if n == "cnn10" else pytest.param(n, marks=pytest.mark.compiled) for n in sorted(BACKBONES)]
)
def test_the_comparison_itself(name):
    """With a backend that compiles nothing, and so is right: eager's own distance to float64 is what is allowed."""
    step, inputs = case(name)
    assert_compiles_to_eagers_gradients(step, inputs, torch.float32, backend="eager")


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_a_step_of_every_network_by_regions(name, dtype):
    step, inputs = case(name)
    step.to(memory_format=torch.channels_last)  # as in a run
    wave, targets = inputs
    likewise = [(wave + torch.randint_like(wave, -1, 2), targets) for _ in range(3)]
    assert_compiles_to_eagers_gradients(step, inputs, dtype, floor=DEEP_FLOOR, by_regions=True, likewise=likewise)


@pytest.mark.compiled
@pytest.mark.parametrize("name", ["cnn10", "talnet"])
def test_a_step_as_one_graph(name):
    """In bfloat16; of the others, whose compilation takes minutes each, one block and the heads."""
    step, inputs = case(name)
    assert_compiles_to_eagers_gradients(step, inputs, torch.bfloat16, floor=DEEP_FLOOR)
