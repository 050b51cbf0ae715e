"""Six networks on a GPU: scores, crops and gradients against the CPU, and compiled against eager."""

import pytest
import torch

from bench.steps import assert_same_step
from glat.config import OptimConfig, paper, released
from glat.training.compiling import CompiledStep
from glat.training.step import TrainingStep

from . import needed  # noqa: F401
from .small import NETWORKS

PRESETS = {"paper": paper, "released": released}


def gradients(module, batch, device, dtype):
    """Loss and gradients of a step, by name, in float32 on the CPU; the module's are cleared."""
    with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
        loss = module(batch).total
    loss.backward()
    named = ((name.removeprefix("step."), p) for name, p in module.named_parameters())
    found = {name: p.grad.float().cpu() for name, p in named if p.grad is not None}
    module.zero_grad(set_to_none=True)
    return float(loss.detach()), found


def flat(found):
    return torch.cat([gradient.flatten() for gradient in found.values()])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("backbone", NETWORKS)
def test_scores_and_crops_are_the_cpus(backbone, preset, size, exact):
    model = size.model(backbone, preset=PRESETS[preset]().model).eval()
    batch = size.batch(model)
    with torch.no_grad():
        wanted = model(batch.wave, batch.lengths)
        found = model.to(size.device)(*size.moved(batch)[:2])
    assert torch.equal(found.crops.classes.cpu(), wanted.crops.classes)
    assert torch.equal(found.crops.starts.cpu(), wanted.crops.starts)
    for name in ("global_probs", "local_probs", "fused_probs"):
        torch.testing.assert_close(getattr(found, name).cpu(), getattr(wanted, name), rtol=0, atol=1e-4)


@pytest.mark.parametrize("backbone", NETWORKS)
def test_losses_and_gradients_are_the_cpus(backbone, size, exact):
    model, on_cpu = size.model(backbone).train(), size.model(backbone).train()
    batch = size.batch(model)
    there = size.moved(batch)
    model.to(size.device)
    ours, wanted = (TrainingStep(m, OptimConfig()) for m in (model, on_cpu))
    loss, found = gradients(ours, there, size.device, torch.float32)
    wanted_loss, expected = gradients(wanted, batch, torch.device("cpu"), torch.float32)
    assert loss == pytest.approx(wanted_loss, rel=1e-4)
    assert found.keys() == expected.keys()
    whole = flat(expected).norm()
    for name, gradient in expected.items():
        # As bench/steps.py: different algorithms round differently, and batch norm's backward pass cancels.
        assert (found[name] - gradient).norm() <= 2e-2 * gradient.norm() + 4e-3 * whole, name


@pytest.mark.parametrize(
    ("backbone", "dtype"), [*((name, torch.bfloat16) for name in NETWORKS), ("cnn10", torch.float32)], ids=str
)
def test_a_compiled_step_is_the_eager_one(backbone, dtype, size, exact):
    """Under bfloat16 every gradient of a ResNet38 was once NaN here, and nowhere else.

    The one crop is the whole clip: bfloat16 could make two frames change places, and then other crops would be heard.
    The distance allowed is that of the eager step, in the same precision, from the step in float32.
    """
    if not size.on_gpu and (backbone, dtype) != ("cnn10", torch.bfloat16):
        pytest.skip("compiling takes a minute a network on a CPU: `make test-compiled` does it")
    whole = {"num_crops": 1, "crop_seconds": float(size.seconds)}
    eager, other = (size.model(backbone, **whole).to(size.device).train() for _ in range(2))
    batch = size.moved(size.batch(eager))
    eager = TrainingStep(eager, OptimConfig())
    compiled = CompiledStep(TrainingStep(other, OptimConfig()), "default", OptimConfig(compile="default"), list)
    _, exact_gradients = gradients(eager, batch, size.device, torch.float32)
    loss, wanted = gradients(eager, batch, size.device, dtype)
    found_loss, found = gradients(compiled, batch, size.device, dtype)
    assert found.keys() == wanted.keys()
    bad = [name for name, gradient in found.items() if not gradient.isfinite().all()]
    assert not bad, f"not finite: {len(bad)} of {len(found)} gradients, {bad[:3]}"
    norm = flat(exact_gradients).norm()
    own, distance = (float((flat(g) - flat(exact_gradients)).norm() / norm) for g in (wanted, found))
    assert distance <= 2 * own + 1e-2, f"eager is {own:.3g} from float32, compiled {distance:.3g}"
    assert found_loss == pytest.approx(loss, rel=2e-2 if dtype is torch.bfloat16 else 1e-4)


def test_a_step_is_that_of_the_original_programs(size, exact):
    """PANNs' way of both streams, written anew in bench/, on the same device."""
    from bench.paper_streams import PaperStreams, paper_loss

    model = size.model("cnn10").to(size.device).train()
    batch = size.moved(size.batch(model))
    whole = batch._replace(lengths=torch.full_like(batch.lengths, batch.wave.shape[1]))
    step, streams = TrainingStep(model, OptimConfig()), PaperStreams(model).train()
    assert_same_step(
        (step, lambda: step(whole).total), (streams, lambda: paper_loss(streams(whole.wave), whole.targets))
    )
