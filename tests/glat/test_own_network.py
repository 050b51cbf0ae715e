"""A network of another family, which knows nothing of glat, as a stream; and streams that differ or are one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from torch import nn

from glat.backbones import Adapted, build
from glat.config import ModelConfig, OptimConfig
from glat.data import Batch
from glat.errors import UserError
from glat.model import GlobalLocal, build_model
from glat.pooling import POOLINGS
from glat.training.step import TrainingStep

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "own_network.md").read_text(encoding="utf-8")
CODE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1)
SELECT = ModelConfig(num_crops=3, crop_seconds=0.5)


@pytest.fixture(scope="module")
def page():
    """What the page's code defines."""
    names = {}
    exec(compile(CODE, "own_network.md", "exec"), names)
    return names


def network(page, num_classes=5):
    torch.manual_seed(0)
    return page["my_network"](num_classes, 1.0)


def noise(clips=2, samples=32_000):
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(1))


def test_the_page_runs_and_its_shapes_are_right(page):
    assert page["scores"].fused_probs.shape == (4, 10)
    assert page["scores"].crops.starts.shape == (4, 3)
    assert not any("glat" in kind.__module__ for kind in page["PatchTransformer"].__mro__)


def test_equation_2_scores_the_clip(page):
    stream = network(page).eval()
    with torch.no_grad():
        features = stream.features(noise())
        wanted = stream.classifier(features.amax(1) + features.mean(1))
        torch.testing.assert_close(stream(noise()), wanted)


def test_it_trains_as_two_streams_compiled_as_one_graph(page):
    model = GlobalLocal(network(page), network(page), SELECT)
    step = TrainingStep(model, OptimConfig()).train()
    batch = Batch(noise(), torch.tensor([32_000, 20_000]), torch.eye(2, 5))
    eager = step(batch).total
    step.compile(fullgraph=True, backend="aot_eager")
    compiled = step(batch).total
    torch.testing.assert_close(compiled, eager)
    compiled.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", ["page", "cnn10", "talnet"])
def test_any_pooling_scores_the_clips_of_any_stream(page, name, pooling):
    stream = (network(page) if name == "page" else build(name, 5, 0.1)).eval()
    stream.pool_clips_by(pooling)
    wave = noise()
    logits = stream(wave)
    frames = stream.frame_logits(stream.frame_features(wave)).sigmoid()
    assert logits.shape == (2, 5)
    low, high = frames.amin(1), frames.amax(1)
    assert ((logits.sigmoid() >= low - 1e-6) & (logits.sigmoid() <= high + 1e-6)).all()  # a mean with weights
    if pooling == "average":
        torch.testing.assert_close(logits.sigmoid(), frames.mean(1))
    logits.sum().backward()
    unused = [n for n, p in stream.named_parameters() if p.grad is None]
    assert not unused


def test_streams_of_two_families(page):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GlobalLocal(build("talnet", 5, 0.1), network(page), SELECT)
    scores = model(noise())
    assert scores.crop_logits.shape == (2, 3, 5)
    assert scores.frame_logits.shape[1] == 20  # TALNet's: 100 ms


def test_shared_weights_are_one_network_with_every_weight_once():
    torch.manual_seed(0)
    config = ModelConfig(width=0.1, num_crops=2, crop_seconds=0.5, share="all")
    model = build_model(config, 5)
    assert model.local_ is model.global_
    assert {name.split(".")[0] for name in model.state_dict()} == {"global_"}
    wave = noise(samples=64_000)
    TrainingStep(model, OptimConfig())(Batch(wave, torch.full((2,), 64_000), torch.eye(2, 5))).total.backward()
    alone = build_model(config, 5)
    alone.load_state_dict(model.state_dict())
    model.eval(), alone.eval()
    assert torch.equal(model(wave).crop_logits, alone(wave).crop_logits)
    heard = model.local_(model(wave).crops.audio.flatten(0, 1)).unflatten(0, (2, 2))
    assert torch.equal(model(wave).crop_logits, heard)


def bad_networks():
    linear, frames = nn.Linear(4, 5), nn.Sequential(nn.Unflatten(1, (-1, 4)))
    fit = {"sample_rate_hz": 16_000, "num_classes": 5, "channels": 4}
    return [
        (lambda: Adapted(nn.Identity(), linear, **fit)(torch.zeros(2, 8)), r"features \(Identity\) gave .*\[2, 8\]"),
        (lambda: Adapted(frames, nn.Linear(4, 6), **fit)(torch.zeros(2, 8)), r"classifier \(Linear\).*\[B, T, 5\]"),
        (lambda: Adapted(frames, linear, min_samples=9, **fit)(torch.zeros(2, 8)), "needs at least 9 samples"),
        (lambda: GlobalLocal(build("cnn10", 5, 0.1), build("talnet", 5, 0.1), SELECT), "32000 and 16000 Hz"),
        (lambda: GlobalLocal(frames, build("cnn10", 5, 0.1), SELECT), "a stream is Sequential.*Adapted"),
        (
            lambda: build("torch.nn:Identity", 5),
            "is a type of the module torch.nn.modules.linear; wanted a class derived from glat.backbones.Backbone",
        ),
        (lambda: build("torch.nn:Nothing", 5), "has no 'Nothing'"),
        (lambda: build("no_such_module:x", 5), "there is no module no_such_module"),
        (lambda: build("nothing", 5), "module:factory for one of your own"),
    ]


@pytest.mark.parametrize(("call", "said"), bad_networks())
def test_what_does_not_fit_is_named(call, said):
    with pytest.raises(UserError, match=said):
        call()


def test_train_py_takes_it_by_name_and_glat_tag_builds_it_again(tmp_path):
    (tmp_path / "my_audio.py").write_text(CODE, encoding="utf-8")
    small = ("--iterations", "2", "--batch-size", "2", "--train-clips", "4", "--eval-clips", "4", "--clip-seconds", "2")
    command = [sys.executable, ROOT / "train.py", "--backbone", "my_audio:my_network", "--run-dir", "run", *small]
    done = subprocess.run([*command, "--crop-seconds", "1"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "2 x my_audio:my_network" in done.stdout
    soundfile.write(tmp_path / "a.wav", noise(1, 32_000)[0].numpy(), 16_000)
    tag = [Path(sys.executable).with_name("glat"), "tag", "a.wav", "--run", "run", "--allow-code", "my_audio"]
    tagged = subprocess.run(tag, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert tagged.returncode == 0, tagged.stderr
    assert "decided by" in tagged.stdout
