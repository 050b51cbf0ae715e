"""``--dry-run``: parameters, memory, FLOPs and time of a run that is not made."""

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..config import TrainConfig, to_json
from ..data import Batch
from ..files import to_json_text
from ..machine import peak_memory_bytes
from .learner import Learner
from .settings import steps_of
from .step import TrainingStep

MEASURED_STEPS = 3


def lines(
    config: TrainConfig,
    learner: Learner,
    training_step: TrainingStep,
    load_parts: Callable[[int], Iterable[Batch]],
    clips: int,
) -> list[str]:
    """Make a few steps, with loading, and return lines that say what they took.

    Args:
        config: with everything chosen.
        training_step: its FLOPs are counted as it is written, not as it is compiled.
        load_parts: loads this rank's parts of the batch of a step.
        clips: to train on.
    """
    batch_size, steps = config.optim.batch_size or 0, config.optim.iterations or 0
    flops = learner.ranks.size * _flops(training_step, learner, load_parts(0))
    seconds = []
    for step in range(1 + MEASURED_STEPS):  # the first one warms up, and compiles
        start = time.perf_counter()
        learner.learn(min(step, steps - 1), load_parts(step))
        learner.look()  # waits for the device
        seconds.append(time.perf_counter() - start)
    a_step = statistics.median(seconds[1:])
    model = learner.model
    trained, parameters = (sum(p.numel() for p in of) for of in (learner.trained, model.parameters()))
    held = _bytes(model.state_dict()) + _bytes(learner.state_dict()) + 4 * trained  # and gradients
    epoch = steps_of(1, clips, config.feed.drawn(batch_size))
    return [
        *to_json_text(to_json(config), indent=2).splitlines(),
        f"parameters  {parameters:,}, of which {trained:,} are trained",
        f"FLOPs       {flops / 1e9:,.2f} G a step of {batch_size} clips, forward and backward: matrix products and "
        "convolutions, a multiplication and an addition being two",
        f"memory      {held / 2**20:,.0f} MiB for weights, gradients and Adam's moments; "
        f"{peak_memory_bytes(learner.device) / 2**20:,.0f} MiB at the peak of a step"
        f"{'' if learner.device.type == 'cuda' else ', the whole process with its clips'}",
        f"time        {a_step:.3f} s a step (median of {MEASURED_STEPS}), {epoch} steps an epoch: "
        f"{_duration(epoch * a_step)}; all {steps} steps: {_duration(steps * a_step)}, and the evaluations",
    ]


def _flops(training_step: TrainingStep, learner: Learner, parts: Iterable[Batch]) -> int:
    with FlopCounterMode(display=False) as counter:
        for part in parts:
            with learner.autocast():
                losses = training_step.forward(part)
            losses.total.backward()
    learner.optimiser.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def _bytes(state: Any) -> int:
    if isinstance(state, torch.Tensor):
        return state.nbytes
    if isinstance(state, dict):
        return sum(_bytes(value) for value in state.values())
    return 0


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
