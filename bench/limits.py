"""What a task asks of a machine, what the machine can do, and the least time that follows: a roofline.

``limit = max(bytes / copy bandwidth, FLOP / GEMM rate)``, with both rates measured in the run that they stand in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from .timing import Timer, interleaved, timer_for

COPY_BYTES = {"cpu": 128 * 2**20, "cuda": 2 * 2**30}  # beyond every cache
GEMM_SIZE = {"cpu": 1536, "cuda": 8192}


@dataclass(frozen=True)
class Work:
    """What a task cannot do without: bytes read and written, and FLOP (a multiplication and an addition are two).

    `formula` says how both were counted, in the letters of the project. `dtype` chooses the GEMM rate.
    """

    formula: str
    bytes: float
    flop: float = 0.0
    dtype: str = "float32"

    def limit(self, rates: Mapping[str, float]) -> tuple[float, str]:
        """The least seconds at some rates, and what sets them: ``"bytes"`` or ``"FLOP"``."""
        moving = self.bytes / rates["copy"]
        computing = self.flop / rates[self.dtype] if self.flop else 0.0
        return max((moving, "bytes"), (computing, "FLOP"))


def measured_rates(device: str, timer: Timer | None = None, budget_seconds: float = 1.0) -> dict[str, float]:
    """Rates of a device: ``copy`` in bytes/s, reading and writing counted; one a dtype in FLOP/s of a square GEMM.

    The best of the interleaved runs: the roof is what the machine can do, and other work only ever lowers a rate.
    """
    n = GEMM_SIZE[device]
    source = torch.zeros(COPY_BYTES[device] // 4, device=device)
    target = torch.zeros_like(source)
    calls = {"copy": lambda: target.copy_(source)}
    amounts = {"copy": 2.0 * COPY_BYTES[device]}
    for dtype in (torch.float32,) if device == "cpu" else (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        calls[name] = lambda a=a, b=b, out=out: torch.mm(a, b, out=out)  # type: ignore[misc]
        amounts[name] = 2.0 * n**3
    turns = interleaved(calls, timer or timer_for(device), budget_seconds=budget_seconds)
    return {name: amounts[name] / min(min(turn) for turn in turns[name]) for name in calls}
