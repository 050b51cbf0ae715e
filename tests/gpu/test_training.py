"""train.py on a GPU, as a user runs it: every network of the paper, killed and resumed, and each way of computing."""

import json
import math
import os
import signal
from contextlib import suppress

import pytest
import torch
from processes import ROOT, finish, start, wait_for

from glat.config import OptimConfig
from glat.machine import pick_precision
from glat.ranks import ALONE
from glat.runs.folder import COMPILED
from glat.training import cudnn
from glat.training.learner import Learner
from glat.training.step import TrainingStep

from . import needed  # noqa: F401
from .small import OF_THE_PAPER, QUICK, losses

TRAIN = str(ROOT / "train.py")


def assert_trained(folder, steps):
    """Every step was made with a finite loss, and the run ended as it should."""
    found = losses(folder)
    assert list(found) == list(range(1, steps + 1))
    assert all(math.isfinite(loss) for loss in found.values())
    assert (folder / "evaluation.json").is_file()
    assert not list(folder.glob("nan-*")), "a step was not finite"
    assert json.loads((folder / COMPILED).read_text(encoding="utf-8"))["failure"] is None


@pytest.mark.parametrize("backbone", OF_THE_PAPER)
def test_a_network_of_the_paper_trains_is_killed_and_goes_on(backbone, flags, train, tmp_path):
    """As ``python train.py --backbone resnet38 --amp``, which once stopped at step 1."""
    folder = tmp_path / "run"
    # Ten steps lie between two checkpoints: it is killed behind the first one.
    run = (*flags, "--backbone", backbone, "--iterations", 40, "--save-every", 10, "--run-dir", folder)
    process = start(*run)
    try:
        wait_for(lambda: (folder / "checkpoints" / "000000000010.pt").exists(), process, seconds=500)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert not (folder / "evaluation.json").exists(), "it ended before it was killed"
    assert "going on after step" in train(*run, "--resume", "auto", timeout=500)
    assert_trained(folder, 40)


def run_of(flags, folder, *more):
    return (*flags, "--backbone", "cnn10", "--iterations", 10, "--run-dir", folder, *more)


def test_float16_with_a_loss_scale(size, flags, train, tmp_path):
    if not size.on_gpu:
        pytest.skip("float16 needs a GPU")
    said = train(*run_of(flags, tmp_path / "run", "--amp-dtype", "fp16", "--on-nan", "skip"))
    assert "float16 autocast with a loss scale" in said
    found = losses(tmp_path / "run")
    assert len(found) == 10
    assert math.isfinite(found[10]), "the loss scale has come down by now"


def test_float32(flags, train, tmp_path):
    train(*run_of([flag for flag in flags if flag != "--amp"], tmp_path / "run"))
    assert_trained(tmp_path / "run", 10)


def test_cuda_graphs(size, flags, train, tmp_path):
    mode = ("--compile", "reduce-overhead") if size.on_gpu else ()
    train(*run_of(flags, tmp_path / "run", *mode))
    assert_trained(tmp_path / "run", 10)


def test_several_processes(size, flags, train, tmp_path):
    """NCCL, over two GPUs where there are so many; gloo on a CPU."""
    ranks = min(2, torch.cuda.device_count()) if size.on_gpu else 2
    command = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), TRAIN)
    train(*run_of(flags, tmp_path / "run"), command=command)
    assert_trained(tmp_path / "run", 10)


def test_a_run_that_is_told_to_end_saves_itself(flags, tmp_path):
    folder = tmp_path / "run"
    process = start(*flags, "--iterations", 100_000, "--save-every", 100_000, "--run-dir", folder)
    try:
        wait_for(lambda: (folder / "metrics.jsonl").exists() and losses(folder), process, seconds=500)
        process.send_signal(signal.SIGTERM)
    except AssertionError:
        process.kill()
        raise
    status, _, complained = finish(process)
    assert status == 75, complained
    assert list((folder / "checkpoints").glob("[0-9]*.pt"))


@pytest.fixture
def learner(size):
    """A function that makes a learner of a network; uncompiled, under bfloat16 autocast."""

    def make(backbone, width=0.25):
        model = size.model(backbone, width).to(size.device).to(memory_format=torch.channels_last).train()
        optim = OptimConfig(learning_rate=1e-3, iterations=1_000, schedule="constant", compile="off")
        precision = pick_precision(True, size.device, "bf16")
        made = Learner(TrainingStep(model, optim), model, optim, precision, size.device, ALONE)
        return made, size.moved(size.batch(model, clips=8 if size.on_gpu else 2))

    return make


def test_memory_is_flat_over_200_steps(size, learner):
    made, batch = learner("cnn10")
    held = []
    for step in range(200 if size.on_gpu and not QUICK else 30):
        made.learn(step, [batch])
        held.append(size.held())
    assert math.isfinite(made.look().loss)
    # The first step makes Adam's moments.
    assert max(held[5:]) == min(held[5:]), f"{held[5]} bytes after six steps, {held[-1]} at the end"


def test_cudnn_searches_within_its_bound_and_gives_back(size, learner, monkeypatch):
    """Unbounded, the search of a ResNet38's step took 133 GiB of 141."""
    if not size.on_gpu:
        pytest.skip("cuDNN needs a GPU")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(size.device)
    made, batch = learner("resnet38", width=1.0)
    told, reset = [], torch.cuda.reset_peak_memory_stats
    monkeypatch.setattr(
        torch.cuda,
        "reset_peak_memory_stats",
        lambda device: (told.append(torch.cuda.max_memory_reserved(device)), reset(device)),
    )
    made.learn(0, [batch])
    first = torch.cuda.max_memory_reserved(size.device)
    assert torch.backends.cudnn.benchmark
    made.learn(1, [batch])
    assert made.search.done
    assert not torch.backends.cudnn.benchmark
    assert told[0] <= cudnn.HEADROOM * first + cudnn.WORKSPACE_BYTES + 64 * 2**20, f"{told[0]} after {first} bytes"
    for step in range(2, 6):
        made.learn(step, [batch])
    steady = torch.cuda.max_memory_allocated(size.device)
    assert steady <= cudnn.HEADROOM * first + cudnn.WORKSPACE_BYTES
    assert math.isfinite(made.look().loss)
