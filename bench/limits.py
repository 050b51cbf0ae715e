"""What a task asks of a machine, what the machine can do, and the least time that follows: a roofline.

``limit = max(bytes / copy bandwidth, FLOP / GEMM rate)``, with both rates measured in the run that they stand in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional as F

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
    """Rates of a device: ``copy`` in bytes/s, reading and writing counted; one a dtype in FLOP/s of a large product.

    The product is a square GEMM, and a convolution of 3 x 3, whichever is faster: they come from different libraries,
    and a CPU's GEMM may know less of it than its convolutions. The best of the interleaved runs: the roof is what the
    machine can do, and other work only ever lowers a rate.
    """
    n = GEMM_SIZE[device]
    source = torch.zeros(COPY_BYTES[device] // 4, device=device)
    target = torch.zeros_like(source)
    calls = {"copy": lambda: target.copy_(source)}
    amounts = {"copy": 2.0 * COPY_BYTES[device]}
    names = {"copy": "copy"}
    images = n // 8  # 256 channels, 16 x 16 pixels
    for dtype in (torch.float32,) if device == "cpu" else (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        calls[name] = lambda a=a, b=b, out=out: torch.mm(a, b, out=out)  # type: ignore[misc]
        amounts[name] = 2.0 * n**3
        x = torch.randn(images, 256, 16, 16, device=device).to(dtype, memory_format=torch.channels_last)
        w = torch.randn(256, 256, 3, 3, device=device).to(dtype, memory_format=torch.channels_last)
        calls[f"{name} 3 x 3"] = lambda x=x, w=w: F.conv2d(x, w, padding=1)  # type: ignore[misc]
        # Taps beside the image count, as they do in what PyTorch counts of a task.
        amounts[f"{name} 3 x 3"] = 2.0 * images * 256 * 256 * 16 * 16 * 9
        names |= {name: name, f"{name} 3 x 3": name}
    with torch.no_grad():
        turns = interleaved(calls, timer or timer_for(device), budget_seconds=budget_seconds)
    found: dict[str, float] = {}
    for key, name in names.items():
        found[name] = max(found.get(name, 0.0), amounts[key] / min(map(min, turns[key])))
    return found
