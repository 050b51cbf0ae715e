"""Rooflines: the work of a task, the measured rates of a machine, and the least time that follows from both.

``limit = max(bytes / copy bandwidth, FLOP / GEMM or convolution rate)``, with both rates measured in the same run.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from .timing import Competitors, HostTimer, Timer, interleaved, timer_for

ONE_THREAD = "cpu, one thread"  # the device of tasks that run on one thread, and of all that is given in CPU time
COPY_BYTES = {"cpu": 128 * 2**20, "cuda": 2 * 2**30}  # beyond every cache
GEMM_SIZE = {"cpu": 1536, "cuda": 8192}


@dataclass(frozen=True)
class Work:
    """What a task cannot do without: bytes read and written, and FLOP (a multiplication and an addition are two).

    `formula` says how both were counted, and what was not, in the letters of the project. `dtype` chooses the GEMM or
    convolution rate: float32 (exact products), tf32 or bfloat16.
    """

    formula: str
    bytes: float
    flop: float = 0.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        assert self.bytes > 0, "every task moves something; a limit of nothing would be none"
        assert self.formula

    def limit(self, rates: Mapping[str, float]) -> tuple[float, str]:
        """The least seconds at some rates, and what sets them: ``"bytes"`` or ``"FLOP"``."""
        moving = self.bytes / rates["copy"]
        computing = self.flop / rates[self.dtype] if self.flop else 0.0
        return max((moving, "bytes"), (computing, "FLOP"))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads for PyTorch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def products(tf32: bool) -> Iterator[None]:
    """Float32 products of NVIDIA's GPUs exact or in TF32. PyTorch's own choice is TF32 for convolutions alone; results
    of two ways can only be compared where they are exact."""
    convolutions, matrices = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, matrices.allow_tf32
    convolutions.allow_tf32 = matrices.allow_tf32 = tf32
    try:
        yield
    finally:
        convolutions.allow_tf32, matrices.allow_tf32 = before


def convolution_dtype(device: str) -> str:
    """The `Work.dtype` of float32 networks as PyTorch runs them: their FLOP are nearly all in convolutions."""
    return "tf32" if device == "cuda" and torch.backends.cudnn.allow_tf32 else "float32"


def measured_rates(device: str, timer: Timer | None = None, budget_seconds: float = 1.0) -> dict[str, float]:
    """Rates of a device: ``copy`` in bytes/s, reading and writing counted; one a dtype in FLOP/s of large products.

    GEMM or convolution rate: of a square GEMM and of a convolution of 3 x 3 the faster one, as they come from different
    libraries, and a CPU's GEMM may know less of it than its convolutions. The best of the interleaved runs: the roof is
    what the machine can do, and other work only ever lowers a rate. On a CPU by as many threads as PyTorch has now; for
    one thread CPU time is counted, which is the clock's where nothing else runs.
    """
    kind = "cpu" if device == ONE_THREAD else device
    n = GEMM_SIZE[kind]
    source = torch.empty(COPY_BYTES[kind] // 4, device=kind).fill_(1.0)
    target = torch.zeros_like(source)
    calls: Competitors = {"copy": lambda: target.copy_(source)}
    amounts = {"copy": 2.0 * COPY_BYTES[kind]}
    names = {"copy": "copy"}
    for name in ("float32",) if kind == "cpu" else ("float32", "tf32", "bfloat16"):
        dtype = torch.bfloat16 if name == "bfloat16" else torch.float32
        for what, call, flop in (_gemm(n, dtype, kind), _convolution(n // 8, dtype, kind)):
            calls[f"{name} {what}"] = _with_products(call, tf32=name == "tf32")
            amounts[f"{name} {what}"], names[f"{name} {what}"] = flop, name
    clock = HostTimer(time.process_time) if device == ONE_THREAD else timer_for(kind)
    with torch.no_grad():
        turns = interleaved(calls, timer or clock, budget_seconds=budget_seconds)
    found: dict[str, float] = {}
    for key, name in names.items():
        found[name] = max(found.get(name, 0.0), amounts[key] / min(map(min, turns[key])))
    return found


def _gemm(n: int, dtype: torch.dtype, device: str) -> tuple[str, Callable[[], Any], float]:
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return "GEMM", lambda: torch.mm(a, b, out=out), 2.0 * n**3


def _convolution(images: int, dtype: torch.dtype, device: str) -> tuple[str, Callable[[], Any], float]:
    """Of 256 channels and 16 x 16 pixels. Taps beside the image count, as they do in what PyTorch counts of a task."""
    x = torch.randn(images, 256, 16, 16, device=device).to(dtype, memory_format=torch.channels_last)
    w = torch.randn(256, 256, 3, 3, device=device).to(dtype, memory_format=torch.channels_last)
    return "3 x 3", lambda: F.conv2d(x, w, padding=1), 2.0 * images * 256 * 256 * 16 * 16 * 9


def _with_products(call: Callable[[], Any], tf32: bool) -> Callable[[], Any]:
    def run() -> Any:
        with products(tf32):
            return call()

    return run
