"""Time calls of competitors in turns, by the host's clock or by a GPU's events, with cold caches.

A GPU's last cache would otherwise hold the inputs of the previous call. Therefore a write larger than the cache
precedes each call, and inputs come from copies in turn (`Rotation`). Outputs are filled with NaN before each turn
(`poison`), and so is memory that new outputs may get (`poison_freed`).
"""

import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from torch import Tensor

Competitors = dict[str, Callable[[], Any]]
Inputs = TypeVar("Inputs", bound=tuple[Tensor, ...])
CACHES_WRITTEN = 4  # times the size of the last cache that is written between two calls on a GPU
# More than any cache behind L2, and 0.4 ms or more to write: longer than a host takes to send a call of one kernel.
MIN_WRITTEN_BYTES = 2 * 2**30


class Timer(Protocol):
    """Seconds of one call; what it returns is dropped within them: giving memory back is part of asking for it."""

    def __call__(self, call: Callable[[], Any]) -> float: ...


class HostTimer:
    """By a clock of the host, for calls that are done when they return."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock

    def __call__(self, call: Callable[[], Any]) -> float:
        start = self.clock()
        call()
        return self.clock() - start


class DeviceTimer:
    """By two events in the stream of a CUDA or ROCm device.

    The write before the first event empties the caches, and keeps the device busy until the host has sent the call, so
    that a short kernel is not charged with its launch. A call that waits for the device is charged for the wait, and
    one of many short kernels for the time that the host takes to send them; a graph of it is not. What was written lies
    in the last cache until the call displaces it, which costs short kernels some bandwidth, `copy_` among them.

    Args:
        spill: a tensor on the device, larger than its caches.
        cuda: `torch.cuda`, or what stands for it in a test.
    """

    def __init__(self, spill: Tensor, cuda: ModuleType | Any = torch.cuda) -> None:
        self.spill, self.cuda = spill, cuda

    def __call__(self, call: Callable[[], Any]) -> float:
        start, end = (self.cuda.Event(enable_timing=True) for _ in range(2))
        self.spill.zero_()
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3


def cache_bytes(device: str) -> int:
    """The last cache that calls must not find their inputs in; 0 on a CPU, whose sizes are those of real batches."""
    return torch.cuda.get_device_properties(device).L2_cache_size if device == "cuda" else 0


def timer_for(device: str) -> Timer:
    """The timer of a device type."""
    if device != "cuda":
        return HostTimer()
    size = max(CACHES_WRITTEN * cache_bytes(device), MIN_WRITTEN_BYTES)
    return DeviceTimer(torch.empty(size, dtype=torch.uint8, device=device))


class Rotation(Generic[Inputs]):
    """Copies of input tensors, handed out in turn, which together do not fit into a cache.

    Args:
        inputs: the tensors of one call.
        cache_bytes: 0 hands out the tensors themselves.
        most: copies at most.
    """

    def __init__(self, inputs: Inputs, cache_bytes: int, most: int = 16) -> None:
        size = sum(x.numel() * x.element_size() for x in inputs)
        copies = min(most, 1 + 2 * cache_bytes // size)
        copied = (tuple(x.detach().clone() for x in inputs) for _ in range(copies - 1))
        self.sets = [inputs, *(cast(Inputs, tensors) for tensors in copied)]
        self.calls = 0

    def __call__(self) -> Inputs:
        self.calls += 1
        return self.sets[self.calls % len(self.sets)]


def poison(outputs: Sequence[Tensor]) -> None:
    """Fill outputs with NaN, or with the largest integer, so that what is not written shows."""
    for out in outputs:
        out.fill_(torch.nan if out.is_floating_point() else torch.iinfo(out.dtype).max)


def poison_freed(like: Sequence[Tensor]) -> None:
    """Poison memory of these sizes and free it: an allocator hands it to the next call that asks for so much.

    Otherwise a competitor that does not write its result could be given the right one of the competitor before.
    """
    poison([torch.empty_like(x) for x in like])


def captured(call: Callable[[], Any], cuda: ModuleType | Any = torch.cuda) -> Callable[[], Any]:
    """The launches of `call` as a CUDA graph: its replay, which returns the same tensors each time.

    `call` must neither wait for the device nor allocate on the host what the graph reads; its inputs must outlive it.

    Args:
        cuda: `torch.cuda`, or what stands for it in a test.
    """
    stream = cuda.Stream()
    stream.wait_stream(cuda.current_stream())
    with cuda.stream(stream):
        for _ in range(3):
            call()  # compiles and warms up: neither may happen while a graph is recorded
    cuda.current_stream().wait_stream(stream)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph, stream=stream):  # the stream of the warm-up, whose workspaces of libraries are there
        result = call()
    graph.replay()  # uploads the graph; the first replay takes longer

    def replay() -> Any:
        graph.replay()
        return result

    return replay


def interleaved(
    competitors: Competitors,
    timer: Timer,
    *,
    budget_seconds: float,
    outputs: Sequence[Tensor] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[list[float]]]:
    """Time competitors in turns: at least 4 rounds, more (at most 40) while the budget lasts.

    A busy machine then slows all of them alike, and round i of one can be set against round i of another. The first
    round warms up (caches, the allocator, the clock) and is dropped. Every other round goes backwards, so that nobody
    always follows the same neighbour. A turn calls a slow competitor once, a fast one up to five times.

    Args:
        outputs: tensors that calls write into; poisoned before every turn, outside the time.

    Returns:
        For each competitor its turns, each the seconds of its calls.
    """
    rounds: dict[str, list[list[float]]] = {name: [] for name in competitors}
    began = clock()
    for i in range(40):
        if i >= 4 and clock() - began > budget_seconds:
            break
        for name in competitors if i % 2 == 0 else reversed(competitors):
            poison(outputs)
            turn: list[float] = []
            while len(turn) < 5 and sum(turn) < 0.03:
                turn.append(timer(competitors[name]))
            if i > 0:
                rounds[name].append(turn)
    return rounds
