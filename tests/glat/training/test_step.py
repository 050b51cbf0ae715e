"""The learning rate, and what is left to the machine."""

from pathlib import Path

import pytest
import torch
from torch import nn

from glat.backbones import Adapted
from glat.config import FeedConfig, ModelConfig, OptimConfig, TrainConfig, paper
from glat.data import Batch
from glat.errors import UserError
from glat.machine import Precision
from glat.model import GlobalLocal, build_model
from glat.training.settings import choose_model, choose_steps, steps_of
from glat.training.step import TrainingStep, learning_rate_factor, time_a_step

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def paper_with(**optim):
    return TrainConfig(optim=OptimConfig(**optim))


def test_learning_rate():
    assert {learning_rate_factor(step, 100, "constant") for step in range(100)} == {1.0}
    cosine = [learning_rate_factor(step, 100, "cosine") for step in range(100)]
    assert cosine[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert cosine[5] == 1.0
    assert cosine[52] == pytest.approx(0.5, abs=0.02)
    assert 0 < cosine[99] < 0.001
    assert learning_rate_factor(0, 1, "cosine") == 1.0


def test_timing_a_step_leaves_no_trace():
    torch.manual_seed(0)
    model = build_model(ModelConfig(width=0.1, num_crops=2, crop_seconds=0.2), 3)
    step = TrainingStep(model, paper().optim).train()
    before = {name: value.clone() for name, value in step.state_dict().items()}
    batch = Batch(torch.randn(2, 20_000), torch.full((2,), 20_000), torch.zeros(2, 3))
    random_state = torch.get_rng_state()
    assert time_a_step(step, lambda rows: batch, FeedConfig(), 2, Precision(None, False, ""), 2) > 0
    assert all(torch.equal(value, before[name]) for name, value in step.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(p.grad is None for p in model.parameters())


def test_a_cpu_run_fills_its_time_and_a_gpu_run_its_epochs():
    slow = choose_steps(TrainConfig(), CPU, 800, lambda size: 0.1 * size)
    assert (slow.optim.batch_size, slow.optim.iterations) == (16, 137)  # 220 s at 1.6 s a step
    assert slow.optim.max_minutes == 5.0
    assert slow.run.eval_every == 46
    assert choose_steps(paper_with(iterations=7), CPU, 800, lambda _: 1.0).optim.max_minutes is None
    gpu = choose_steps(TrainConfig(), GPU, 2_000_000, lambda _: pytest.fail("a GPU is not timed"))
    assert (gpu.optim.batch_size, gpu.optim.iterations) == (32, 800_000)
    assert choose_steps(TrainConfig(), CPU, 4, lambda _: 1e9).optim.iterations == 10


def test_what_was_asked_for_is_kept():
    asked = TrainConfig(model=ModelConfig(width=0.5, dropout_scale=0.3))
    chosen = choose_model(asked, CPU)
    assert (chosen.model.width, chosen.model.dropout_scale, chosen.model.spec_augment) == (0.5, 0.3, False)
    on_gpu = choose_model(TrainConfig(), GPU)
    assert (on_gpu.model.width, on_gpu.model.dropout_scale, on_gpu.model.spec_augment) == (1.0, 1.0, True)
    assert (on_gpu.optim.learning_rate, on_gpu.optim.schedule) == (1e-3, "constant")  # PANNs' recipe
    assert (chosen.optim.learning_rate, chosen.optim.schedule) == (3e-3, "cosine")
    tuned = choose_model(TrainConfig(model=ModelConfig(init_from=Path("x.pth"))), CPU)
    assert tuned.optim.learning_rate == 2e-4


def test_a_batch_of_more_clips_than_there_are_is_named():
    with pytest.raises(UserError, match="--batch-size is 9, and there are 8 training clips"):
        choose_steps(paper_with(batch_size=9), CPU, 8, lambda _: 1.0)


@pytest.mark.usefixtures("two_threads")
def test_inductor_compiles_a_training_step_once_and_gives_its_gradients():
    torch.manual_seed(0)

    def stream():  # the smallest there is: inductor takes a minute for convolutions
        features = nn.Sequential(nn.Unflatten(1, (-1, 160)), nn.Linear(160, 8))
        return Adapted(features, nn.Linear(8, 5), sample_rate_hz=16_000, num_classes=5, channels=8, min_samples=160)

    model = GlobalLocal(stream(), stream(), ModelConfig(num_crops=3, crop_seconds=0.5))
    step = TrainingStep(model, OptimConfig()).train()
    batches = [Batch(0.1 * torch.randn(2, 32_000), torch.tensor([32_000, 20_000]), torch.eye(2, 5)) for _ in range(3)]
    wanted = []
    for batch in batches:
        step(batch).total.backward()
        wanted.append([p.grad.clone() for p in model.parameters()])
        model.zero_grad()
    step.compile(fullgraph=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for batch, gradients in zip(batches, wanted, strict=True):
            step(batch).total.backward()
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                torch.testing.assert_close(parameter.grad, gradient)
            model.zero_grad()
    assert not any("_orig_mod" in name for name in step.state_dict())


@pytest.mark.parametrize(
    ("epochs", "drawn", "steps"),
    [(1, 16, 50), (1, 15, 54), (2.5, 16, 125), (0.1, 16, 5), (1e-6, 16, 1), (0.3, 80, 3), (1, 32, 25), (1.1, 16, 55)],
)
def test_epochs_count_the_clips_that_a_step_draws(epochs, drawn, steps):
    assert steps_of(epochs, 800, drawn) == steps


def test_epochs_of_all_ranks_and_of_pairs():
    asked = TrainConfig(optim=OptimConfig(epochs=2, batch_size=20))
    assert choose_steps(asked, CPU, 800, lambda _: pytest.fail("it is timed"), ranks=2).optim.iterations == 80
    assert choose_steps(asked, GPU, 800, lambda _: 1.0).optim.max_minutes is None
    paired = TrainConfig(optim=OptimConfig(epochs=2, batch_size=20), feed=FeedConfig(mixup="paired"))
    assert choose_steps(paired, CPU, 800, lambda _: 1.0).optim.iterations == 40, "a step draws 40 clips"
