"""Training and inference of both streams: glat's ``--preset released`` against the released program's way of it.

Beside them the paper's preset and its backbone alone, with Adam each. First, with SpecAugment and dropout off, scores,
crops, losses and gradients have to agree. The memory is what tensors hold at most, weights and moments of Adam among
them: a process as a whole also counts the scratch of the convolutions, and gaps, which differ from run to run by a
tenth. On a CPU torch.compile, which takes a minute or two a network, has the smallest case only, and there is no
ResNet38 of full width.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from glat.allocator import keep_freed_memory
from glat.config import TrainConfig, paper, released
from glat.data import Batch
from glat.inference import for_inference
from glat.model import GlobalLocal, build_model
from glat.step import TrainingStep

from ..released_streams import ReleasedStreams, released_loss

SUBJECT = "training"
CLASSES, CLIP_SAMPLES = 527, 320_000
Makers = dict[str, Callable[[], Callable[[], Any]]]  # a competitor is made when it is wanted: others take no memory
OURS, PROGRAM, PAPER, ALONE = "glat", "released program", "glat, paper", "backbone alone"
COMPILED = "glat, compiled"


@dataclass(frozen=True)
class Size:
    """One case: the network of both streams, its width, B clips of 10 s; five crops of 3 s."""

    backbone: str
    width: float
    B: int
    device: str

    def __str__(self) -> str:
        return f"{self.backbone} width {self.width:g} B={self.B}"

    @property
    def compiles(self) -> bool:
        """Whether torch.compile takes part."""
        return self.device == "cuda" or (self.backbone, self.width) == ("cnn10", 0.25)

    def model(self, preset: TrainConfig, regularised: bool = True) -> GlobalLocal:
        """The same fresh weights at every call, laid out as in train.py."""
        torch.manual_seed(0)
        config = replace(preset.model, backbone=self.backbone, width=self.width)
        if not regularised:
            config = replace(config, spec_augment=False, dropout_scale=0.0, select_dropout=0.0)
        model = build_model(config, CLASSES).to(self.device)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def batch(self) -> Batch:
        draw = torch.Generator().manual_seed(1)
        wave = 0.1 * torch.randn(self.B, CLIP_SAMPLES, generator=draw)
        targets = (torch.rand(self.B, CLASSES, generator=draw) < 0.01).float()
        return Batch(*(x.to(self.device) for x in (wave, torch.full((self.B,), CLIP_SAMPLES), targets)))


def stepper(network: nn.Module, loss_of: Callable[[], Tensor], fused: bool) -> Callable[[], None]:
    """A training step of what an optimiser is given in glat and in the program: the weights that are not frozen."""
    network.train()
    trained = (network.local_ if isinstance(network, ReleasedStreams) else network).parameters()
    adam = torch.optim.Adam([p for p in trained if p.requires_grad], lr=2e-4, amsgrad=True, fused=fused)

    def step() -> None:
        loss_of().backward()
        adam.step()
        adam.zero_grad(set_to_none=True)

    return step


def steppers(size: Size) -> Makers:
    batch = size.batch()

    def glat(preset: TrainConfig, compiled: bool = False) -> Callable[[], None]:
        module = TrainingStep(size.model(preset), preset.optim)
        if compiled:
            module.compile(fullgraph=True)
        return stepper(module, lambda: module(batch).total, fused=True)

    def program() -> Callable[[], None]:
        network = ReleasedStreams(size.model(released()))
        return stepper(network, lambda: released_loss(network(batch.wave), batch.targets), fused=False)

    def alone() -> Callable[[], None]:
        network = size.model(paper()).global_
        return stepper(
            network, lambda: F.binary_cross_entropy_with_logits(network(batch.wave), batch.targets), fused=True
        )

    makers: Makers = {OURS: lambda: glat(released()), PROGRAM: program, PAPER: lambda: glat(paper()), ALONE: alone}
    return makers | ({COMPILED: lambda: glat(released(), compiled=True)} if size.compiles else {})


def scorers(size: Size) -> Makers:
    wave = size.batch().wave

    def glat(compiled: bool = False) -> Callable[[], Tensor]:
        network = for_inference(size.model(released()))
        if compiled:
            network.compile(fullgraph=True)
        return lambda: network(wave).fused_probs

    def program() -> Callable[[], Tensor]:
        network = ReleasedStreams(size.model(released())).eval()
        return lambda: network(wave).fused_probs

    def alone() -> Callable[[], Tensor]:
        network = for_inference(size.model(paper()).global_)
        return lambda: network(wave).sigmoid()

    makers: Makers = {OURS: glat, PROGRAM: program, ALONE: alone}
    return makers | ({COMPILED: lambda: glat(compiled=True)} if size.compiles else {})


def check(size: Size) -> None:
    """Both ways give the same scores, crops, losses and gradients."""
    model, batch = size.model(released(), regularised=False), size.batch()
    ours, program = TrainingStep(model, released().optim).train(), ReleasedStreams(model).train()
    seen, wanted = model(batch.wave), program(batch.wave)
    assert torch.equal(seen.crops.starts, wanted.starts)
    for name in ("global_probs", "local_probs", "fused_probs"):
        torch.testing.assert_close(getattr(seen, name), getattr(wanted, name), rtol=0, atol=1e-5)
    losses = ours(batch).total, released_loss(wanted, batch.targets)
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    for loss in losses:
        loss.backward()
    gradients = {name.replace("/", "."): p.grad for name, p in program.local_.named_parameters()}
    for name, parameter in model.local_.named_parameters():
        expected, found = gradients[f"parts.{name}"], parameter.grad
        assert expected is not None
        assert found is not None
        # Different convolution algorithms round differently, and batch norm's backward pass cancels.
        assert (found - expected).norm() <= 2e-2 * expected.norm() + 1e-7, name
    assert all(p.grad is None for p in (*model.global_.parameters(), *program.global_.parameters()))


def peak_bytes(make: Callable[[], Callable[[], Any]], device: str) -> int:
    """The most bytes in tensors at once, from the making of a competitor to the end of its second call."""

    def run() -> None:
        call = make()
        call()
        call()  # with the moments of Adam

    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    assert seen.profiler is not None
    events = seen.profiler.kineto_results.events()  # type: ignore[union-attr]  # the one list in order of time
    return max(accumulate(event.nbytes() for event in events if event.name() == "[memory]"))


SIZES = [("cnn10", 0.25, 2), ("resnet38", 0.25, 1), ("cnn10", 1.0, 1), ("resnet38", 1.0, 1)]


@pytest.fixture(params=SIZES, ids=lambda case: f"{case[0]}-{case[1]:g}")
def size(request: pytest.FixtureRequest, device: str) -> Size:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    backbone, width, B = request.param
    if device == "cpu" and (backbone, width) == ("resnet38", 1.0):
        pytest.skip("a minute or more on a CPU")
    if device == "cpu":
        keep_freed_memory()  # as in train.py
    return Size(backbone, width, 16 * B if device == "cuda" else B, device)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_training_step(size: Size, device: str, benchmark: Any, race: Any, speed_and_memory: Any) -> None:
    check(size)
    makers = steppers(size)
    competitors = {name: make() for name, make in makers.items()}
    finished = race(f"two streams, step, {size}", competitors, device=device)
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors[OURS], rounds=1)
    del competitors
    peaks = {name: peak_bytes(makers[name], device) for name in (OURS, PROGRAM)}
    speed_and_memory(f"step {size}", size.B, finished.seconds, peaks, benchmark.extra_info)
    # With one clip, half of a ResNet38's memory is weights and moments, which both ways have.
    assert peaks[OURS] <= (0.9 if size.backbone == "resnet38" else 0.8) * peaks[PROGRAM], peaks
    if device == "cpu":
        # At full width four fifths of either step are the same convolutions.
        finished.promise(OURS, 1.3 if size.width < 1 else 1.0, PROGRAM)
        finished.promise(PAPER, 1 / 2.75, ALONE)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@torch.inference_mode()
def test_inference(size: Size, device: str, benchmark: Any, race: Any, speed_and_memory: Any) -> None:
    makers = scorers(size)
    competitors = {name: make() for name, make in makers.items()}
    torch.testing.assert_close(competitors[OURS](), competitors[PROGRAM](), rtol=0, atol=1e-5)
    finished = race(f"two streams, inference, {size}", competitors, device=device)
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors[OURS], rounds=1)
    peaks = {name: peak_bytes(makers[name], device) for name in (OURS, PROGRAM)}
    speed_and_memory(f"inference {size}", size.B, finished.seconds, peaks, benchmark.extra_info)
    if device == "cpu":
        finished.promise(OURS, 1.3 if size.width < 1 else 1.0, PROGRAM)
