"""How long the first compiled step of a network takes, with an empty cache or a full one, and a step then.

    python -m bench.compile_time resnet38 --mode regions --cache FOLDER

Processor seconds of this process and its compilers, one thread, so that a busy machine does not lengthen them; a step's
relative to an uncompiled one, by turns. A second call with the same folder is a second start. Seconds for most networks
by regions, minutes as one graph (``--mode default``).
"""

import argparse
import os
import resource
import tempfile
import time
from dataclasses import replace

import torch

from glat.backbones import BACKBONES
from glat.config import OptimConfig, paper
from glat.data import Batch
from glat.machine import pick_precision
from glat.model import build_model
from glat.training.compiling import CACHE, CompiledStep
from glat.training.step import TrainingStep

L = 10


def processor_seconds() -> float:
    """Of this process and the compilers that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser("python -m bench.compile_time", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("network", choices=sorted(BACKBONES))
    parser.add_argument("--mode", default="regions", choices=["regions", "default"])
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="of each kind; the fastest counts")
    parser.add_argument("--cache", help="folder of compiled code; none: an empty one")
    asked = parser.parse_args()
    os.environ[CACHE] = asked.cache or tempfile.mkdtemp(prefix="glat-compile-")
    torch._inductor.config.compile_threads = 1
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_model(replace(paper().model, backbone=asked.network, width=asked.width), L)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it
    B, S = asked.batch_size, 10 * model.global_.sample_rate_hz
    batch = Batch(0.1 * torch.randn(B, S), torch.full((B,), S), (torch.rand(B, L) < 0.3).float())
    eager = TrainingStep(model, OptimConfig()).train()
    precision = pick_precision(True, batch.wave.device, "bf16")

    def seconds(step: torch.nn.Module) -> float:
        before = processor_seconds()
        with precision.autocast(batch.wave.device):
            losses = step(batch)
        losses.total.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        model.zero_grad(set_to_none=True)
        return processor_seconds() - before

    seconds(eager)
    compiled = CompiledStep(eager, asked.mode, OptimConfig(), lambda lines: None)
    started = time.perf_counter()
    first, wall = seconds(compiled), time.perf_counter() - started
    seconds(compiled)
    pairs = [(seconds(eager), seconds(compiled)) for _ in range(asked.steps)]
    uncompiled, later = (min(times) for times in zip(*pairs, strict=True))
    print(
        f"{asked.network} {asked.mode}: first step {first:.1f} s of a processor ({wall:.0f} s passed), then "
        f"{later:.3f} s, {later / uncompiled:.2f} of an uncompiled one; cache {os.environ[CACHE]}"
    )


if __name__ == "__main__":
    main()
