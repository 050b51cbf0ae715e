"""Training and inference of both streams, with Adam each.

Two races of training steps: glat's ``--preset released`` against the released program, and ``--preset paper`` against
both streams in PANNs' way. The backbone alone is a smaller task with its own limit. First, scores, crops, losses and
gradients of all competitors must agree with SpecAugment and dropout off. On a GPU, float32 means PyTorch's defaults
(convolutions in TF32); results are compared with exact products.

Memory is the peak of what tensors hold, including weights and Adam's moments. The process's memory would also count
scratch space of convolutions, and gaps, which differ by a tenth between runs. On a CPU only the smallest case has
torch.compile, which takes a minute or two per network; ResNet38 of full width has none.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from glat.config import TrainConfig, paper, released
from glat.data import Batch
from glat.inference import for_inference
from glat.machine import keep_freed_memory
from glat.model import GlobalLocal, build_model
from glat.training.step import TrainingStep

from ..limits import Work, convolution_dtype, products
from ..panns import PannsWay
from ..paper_streams import PaperStreams, paper_loss
from ..released_streams import ReleasedStreams, released_loss
from ..steps import Way, assert_same_step
from ..work import network_work

SUBJECT = "training"
CLASSES, CLIP_SAMPLES = 527, 320_000
Makers = dict[str, Callable[[], Callable[[], Any]]]  # a competitor is made when it is wanted: others take no memory
OURS, COMPILED = "glat", "glat, compiled"
PROGRAM, PANNS, ALONE = "released program", "PANNs' way", "backbone alone"


@dataclass(frozen=True)
class Size:
    """One case: the network of both streams, its width, B clips of 10 s; five crops of 3 s."""

    backbone: str
    width: float
    B: int
    device: str
    dtype: str = "float32"  # or bfloat16, by autocast

    def __str__(self) -> str:
        return f"{self.backbone} width {self.width:g} B={self.B}" + (" bfloat16" if self.dtype == "bfloat16" else "")

    @property
    def compiles(self) -> bool:
        """Whether torch.compile takes part."""
        return self.device == "cuda" or (self.backbone, self.width) == ("cnn10", 0.25)

    @property
    def products(self) -> str:
        """What nearly all products are made in, as `Work` has it."""
        return convolution_dtype(self.device) if self.dtype == "float32" else self.dtype

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.dtype == "bfloat16")

    def model(self, preset: TrainConfig, regularised: bool = True) -> GlobalLocal:
        """The same fresh weights at every call, laid out as in train.py."""
        torch.manual_seed(0)
        config = replace(preset.model, backbone=self.backbone, width=self.width)
        if not regularised:
            config = replace(config, spec_augment=False, dropout_scale=0.0, select_dropout=0.0)
        model = build_model(config, CLASSES).to(self.device)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batch(self) -> Batch:
        draw = torch.Generator().manual_seed(1)
        wave = 0.1 * torch.randn(self.B, CLIP_SAMPLES, generator=draw)
        targets = (torch.rand(self.B, CLASSES, generator=draw) < 0.01).float()
        return Batch(*(x.to(self.device) for x in (wave, torch.full((self.B,), CLIP_SAMPLES), targets)))


def glat_way(size: Size, preset: TrainConfig, regularised: bool, compiled: bool) -> Way:
    """Our network in training, with its loss of the batch."""
    module, batch = TrainingStep(size.model(preset, regularised), preset.optim).train(), size.batch()
    if compiled:
        module.compile(fullgraph=True)
    return module, lambda: module(batch).total


def released_ways(size: Size, regularised: bool = True) -> dict[str, Callable[[], Way]]:
    """The networks that train as the released program does, each with its loss of the same batch."""
    batch = size.batch()

    def program() -> Way:
        network = ReleasedStreams(size.model(released(), regularised)).train()
        return network, lambda: released_loss(network(batch.wave), batch.targets)

    found: dict[str, Callable[[], Way]] = {OURS: lambda: glat_way(size, released(), regularised, compiled=False)}
    found[PROGRAM] = program
    return found | ({COMPILED: lambda: glat_way(size, released(), regularised, compiled=True)} if size.compiles else {})


def paper_ways(size: Size, regularised: bool = True) -> dict[str, Callable[[], Way]]:
    """The networks that train as the paper says, and a backbone alone, each with its loss of the same batch."""
    batch = size.batch()

    def panns() -> Way:
        network = PaperStreams(size.model(paper(), regularised)).train()
        return network, lambda: paper_loss(network(batch.wave), batch.targets)

    def alone() -> Way:
        network = size.model(paper(), regularised).global_.train()
        return network, lambda: F.binary_cross_entropy_with_logits(network(batch.wave), batch.targets)

    found: dict[str, Callable[[], Way]] = {OURS: lambda: glat_way(size, paper(), regularised, compiled=False)}
    found |= {PANNS: panns, ALONE: alone}
    return found | ({COMPILED: lambda: glat_way(size, paper(), regularised, compiled=True)} if size.compiles else {})


def stepper(size: Size, way: Callable[[], Way], fused: bool) -> Callable[[], None]:
    """A training step of what an optimiser is given in glat and in the programs: the weights that are not frozen."""
    network, loss_of = way()
    trained = (network.local_ if isinstance(network, ReleasedStreams) else network).parameters()
    adam = torch.optim.Adam([p for p in trained if p.requires_grad], lr=2e-4, amsgrad=True, fused=fused)

    def step() -> None:
        with size.autocast():
            loss = loss_of()
        loss.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)

    return step


def steppers(size: Size, ways: dict[str, Callable[[], Way]]) -> Makers:
    """A step of each way; the programs' optimiser is not fused."""
    return {name: partial(stepper, size, way, fused=name not in (PROGRAM, PANNS)) for name, way in ways.items()}


def step_work(size: Size, way: Callable[[], Way]) -> Work:
    """What a step asks for."""
    network, loss_of = way()
    wave = size.batch().wave
    return network_work(network, wave, lambda: loss_of().backward(), gradients=True, dtype=size.products)


def scorers(size: Size) -> Makers:
    wave = size.batch().wave

    def scores(network: nn.Module, read: Callable[[Any], Tensor]) -> Callable[[], Tensor]:
        def call() -> Tensor:
            with size.autocast():
                return read(network(wave))

        return call

    def glat(compiled: bool = False) -> Callable[[], Tensor]:
        network = for_inference(size.model(released()))
        if compiled:
            network.compile(fullgraph=True)
        return scores(network, lambda found: found.fused_probs)

    def program() -> Callable[[], Tensor]:
        return scores(ReleasedStreams(size.model(released())).eval(), lambda found: found.fused_probs)

    def alone() -> Callable[[], Tensor]:
        return scores(for_inference(size.model(paper()).global_), torch.sigmoid)

    makers: Makers = {OURS: glat, PROGRAM: program, ALONE: alone}
    return makers | ({COMPILED: lambda: glat(compiled=True)} if size.compiles else {})


def scorer_works(size: Size) -> dict[str, Work]:
    """What both streams' scores ask for, and those of a backbone alone."""
    wave, model = size.batch().wave, size.model(released()).eval()
    networks: dict[str, nn.Module] = {OURS: model, ALONE: model.global_}
    return {
        name: network_work(part, wave, partial(part, wave), gradients=False, dtype=size.products)
        for name, part in networks.items()
    }


def checked(size: Size) -> Size:
    """The case in which results are compared: at most two clips, as in many of them some frame has a rival within
    rounding, and float32 in place of bfloat16."""
    return replace(size, B=min(size.B, 2), dtype="float32")


def check_released_steps(size: Size) -> None:
    """Losses and gradients of all ways are the same, and ours have the program's crops."""
    size = checked(size)
    with products(tf32=False):
        model, batch, found = size.model(released(), regularised=False), size.batch(), released_ways(size, False)
        seen, wanted = model.train()(batch.wave), ReleasedStreams(model).train()(batch.wave)
        assert torch.equal(seen.crops.starts, wanted.starts)
        for name in ("global_probs", "local_probs", "fused_probs"):
            torch.testing.assert_close(getattr(seen, name), getattr(wanted, name), rtol=0, atol=1e-5)
        for name in found.keys() - {PROGRAM}:
            assert_same_step(found[name](), found[PROGRAM]())


def check_paper_steps(size: Size) -> None:
    """Losses and gradients of all ways are the same; those of the backbone alone are PANNs'."""
    size = checked(size)
    with products(tf32=False):
        found, batch = paper_ways(size, regularised=False), size.batch()
        for name in found.keys() - {PANNS, ALONE}:
            assert_same_step(found[name](), found[PANNS]())
        one = PannsWay(size.model(paper(), regularised=False).global_).train()  # type: ignore[arg-type]
        loss_of = lambda: F.binary_cross_entropy_with_logits(one(batch.wave), batch.targets)  # noqa: E731
        assert_same_step(found[ALONE](), (one, loss_of))


def check_scores(size: Size) -> None:
    """Ours and the compiled scores are the program's, and those of the backbone alone PANNs'."""
    size = checked(size)
    with products(tf32=False):
        makers = scorers(size)
        wanted = makers[PROGRAM]()()
        alone = PannsWay(size.model(paper()).global_).eval()  # type: ignore[arg-type]
        for name in makers.keys() - {PROGRAM}:
            expected = alone(size.batch().wave).sigmoid() if name == ALONE else wanted
            torch.testing.assert_close(
                makers[name]()(), expected, rtol=0, atol=1e-5, msg=partial("{}: {}".format, name)
            )


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
    events = seen.profiler.kineto_results.events()  # the one list in order of time
    return max(accumulate(event.nbytes() for event in events if event.name() == "[memory]"))


SIZES = [("cnn10", 0.25, 2), ("resnet38", 0.25, 1), ("cnn10", 1.0, 1), ("resnet38", 1.0, 1)]
RUNS = [("cpu", "float32"), ("cuda", "float32"), ("cuda", "bfloat16")]


@pytest.fixture(params=SIZES, ids=lambda case: f"{case[0]}-{case[1]:g}")
def size(request: pytest.FixtureRequest, device: str, dtype: str) -> Size:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    backbone, width, B = request.param
    if device == "cpu" and (backbone, width) == ("resnet38", 1.0):
        pytest.skip("a minute or more on a CPU")
    if device == "cpu":
        keep_freed_memory()  # as in train.py
    return Size(backbone, width, 32 if device == "cuda" else B, device, dtype)


@pytest.mark.parametrize(("device", "dtype"), RUNS)
def test_released_step(size: Size, benchmark: Any, race: Any, speed_and_memory: Any) -> None:
    torch._dynamo.reset()
    check_released_steps(size)
    ways = released_ways(size)
    makers, work = steppers(size, ways), step_work(size, ways[OURS])
    competitors = {name: make() for name, make in makers.items()}
    finished = race(f"two streams, released step, {size}", competitors, device=size.device, work=work)
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors[OURS], rounds=1)
    del competitors
    peaks = {name: peak_bytes(makers[name], size.device) for name in (OURS, PROGRAM)}
    speed_and_memory(f"released step {size}", size.B, finished.seconds, peaks, benchmark.extra_info)
    if size.device == "cpu":  # on a GPU these races have not run yet, so nothing is promised there
        # With one clip, half of a ResNet38's memory is weights and moments, which both ways have.
        assert peaks[OURS] <= (0.9 if size.backbone == "resnet38" else 0.8) * peaks[PROGRAM], peaks
        # At full width four fifths of either step are the same convolutions.
        finished.promise(OURS, 1.3 if size.width < 1 else 1.0, PROGRAM)


@pytest.mark.parametrize(("device", "dtype"), RUNS)
def test_paper_step(size: Size, benchmark: Any, race: Any, speed_and_memory: Any) -> None:
    torch._dynamo.reset()
    check_paper_steps(size)
    ways = paper_ways(size)
    makers, work, others = steppers(size, ways), step_work(size, ways[OURS]), {ALONE: step_work(size, ways[ALONE])}
    competitors = {name: make() for name, make in makers.items()}
    finished = race(f"two streams, paper's step, {size}", competitors, device=size.device, work=work, others=others)
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors[OURS], rounds=1)
    del competitors
    peaks = {name: peak_bytes(makers[name], size.device) for name in (OURS, PANNS)}
    speed_and_memory(f"paper's step {size}", size.B, finished.seconds, peaks, benchmark.extra_info)
    if size.device == "cpu":
        finished.promise(OURS, 1.0, PANNS)
        finished.promise(OURS, 1 / 2.75, ALONE)


@pytest.mark.parametrize(("device", "dtype"), RUNS)
@torch.inference_mode()
def test_inference(size: Size, benchmark: Any, race: Any, speed_and_memory: Any) -> None:
    torch._dynamo.reset()
    check_scores(size)
    makers, works = scorers(size), scorer_works(size)
    competitors = {name: make() for name, make in makers.items()}
    others = {ALONE: works[ALONE]}
    finished = race(f"two streams, inference, {size}", competitors, device=size.device, work=works[OURS], others=others)
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors[OURS], rounds=1)
    peaks = {name: peak_bytes(makers[name], size.device) for name in (OURS, PROGRAM)}
    speed_and_memory(f"inference {size}", size.B, finished.seconds, peaks, benchmark.extra_info)
    if size.device == "cpu":
        finished.promise(OURS, 1.3 if size.width < 1 else 1.0, PROGRAM)
