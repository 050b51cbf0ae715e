"""From batches to weights: the optimiser and what belongs to it."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from ..config import OptimConfig
from ..data import Batch
from ..machine import Precision
from ..model import GlobalLocal
from ..ranks import Ranks
from .cudnn import ConvolutionSearch
from .step import learning_rate_factor

NEVER = 2**53  # no step has this number, and a double holds it
CUDA_GRAPHS = ("reduce-overhead", "max-autotune")


class Readout(NamedTuple):
    """What the host reads from the device at a report: losses of the last step, and which steps were not finite."""

    loss: float  # means over the batch
    loss_global: float
    loss_local: float
    first_bad: int | None  # the first step since the last report whose loss or gradient was not finite
    skipped: int  # steps of the whole run that changed nothing
    in_a_row: int  # of these, the last ones

    def losses(self) -> dict[str, float]:
        """By their names in the metrics."""
        return {"loss": self.loss, "loss_global": self.loss_global, "loss_local": self.loss_local}


def _by_kind(tensors: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Floating tensors and the others, apart: PyTorch updates many tensors in one launch where they have one dtype."""
    found = list(tensors)
    return [x for x in found if x.is_floating_point()], [x for x in found if not x.is_floating_point()]


def _state(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    return _by_kind([*model.parameters(), *model.buffers()])


class Learner:
    """Adam with amsgrad, and around it: schedule, loss scale, accumulation, clipping, averaged weights, a guard.

    The guard: a step whose gradient is not finite changes no weight and no moment of Adam, and batch norm's running
    statistics, which its forward pass has already spoilt, are put back. Whether it is finite stays on the device, where
    Adam's fused kernel reads it (as under a `GradScaler`), so that no step waits for the device; the host learns of it
    in `look`, and ``--on-nan`` says what happens then.

    Args:
        step: the module that gives the losses of a batch: a `TrainingStep`, compiled or not.
        model: the model inside it.
        optim: with learning rate and iterations chosen.
    """

    def __init__(
        self, step: nn.Module, model: GlobalLocal, optim: OptimConfig, precision: Precision, device: torch.device,
        ranks: Ranks,
    ) -> None:  # fmt: skip
        assert optim.learning_rate is not None
        assert optim.iterations is not None
        self.model, self.config, self.precision, self.device, self.ranks = model, optim, precision, device, ranks
        self.step_module = step
        if ranks.size > 1:
            # Rank 0's running statistics are the model's, and are handed out before an evaluation.
            self.step_module = DistributedDataParallel(step)
            self.step_module.broadcast_buffers = (
                False  # the argument is deprecated, its successor newer than torch 2.10
            )
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(self.trained, lr=optim.learning_rate, amsgrad=True, fused=True)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision.loss_scale)
        self.averaged: GlobalLocal | None = None
        if optim.ema is not None:
            self.averaged = deepcopy(model).requires_grad_(False)
            self.averages = tuple(zip(_state(self.averaged), _state(model), strict=True))
        self.buffers = [of_a_kind for of_a_kind in _by_kind(model.buffers()) if of_a_kind]
        self.kept = [[buffer.clone() for buffer in of_a_kind] for of_a_kind in self.buffers]
        self.search = ConvolutionSearch(device, in_graphs=optim.compile in CUDA_GRAPHS)
        self.losses = torch.zeros(3, device=device)
        # First bad step since the last report, bad steps of the run, bad steps in a row.
        self.bad = torch.tensor([NEVER, 0, 0], dtype=torch.int64, device=device)

    @property
    def evaluated_model(self) -> GlobalLocal:
        """What is evaluated and exported: the averaged weights with ``--ema``, else the model."""
        return self.model if self.averaged is None else self.averaged

    def autocast(self) -> AbstractContextManager[Any]:
        """The context to compute in."""
        return self.precision.autocast(self.device)

    def learning_rate(self, step: int) -> float:
        """Of step 0 .. iterations - 1."""
        assert self.config.learning_rate is not None
        assert self.config.iterations is not None
        assert self.config.schedule is not None
        return self.config.learning_rate * learning_rate_factor(step, self.config.iterations, self.config.schedule)

    def learn(self, step: int, parts: Iterable[Batch]) -> None:
        """Make one step from this rank's share of a batch, cut into `OptimConfig.accumulate` parts of one size."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(step)
        for kept, buffers in zip(self.kept, self.buffers, strict=True):
            torch._foreach_copy_(kept, buffers)
        if self.config.compile in CUDA_GRAPHS:
            torch.compiler.cudagraph_mark_step_begin()
        count = self.config.accumulate
        losses = torch.zeros_like(self.losses)
        for i, part in enumerate(parts):
            with self._in_one_exchange(i + 1 == count):
                with self.autocast():
                    part_losses = self.step_module(part)
                self.scaler.scale(part_losses.total / count).backward()
            losses += torch.stack(part_losses).detach() / count
        self.losses = losses
        self._update(step)
        self.optimiser.zero_grad(set_to_none=True)
        if self.averaged is not None:
            self._average(step)
        self.search.after_step()

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Move the averaged weights; `torch.optim.swa_utils.AveragedModel` would wait for the device twice a step."""
        assert self.config.ema is not None
        decay = self.config.ema if step else 0.0  # the average begins with the first step's weights
        (moving, weights), (counts, its_counts) = self.averages
        torch._foreach_lerp_(moving, weights, 1 - decay)
        if counts:
            torch._foreach_copy_(counts, its_counts)

    def _in_one_exchange(self, last: bool) -> AbstractContextManager[Any]:
        """Ranks exchange gradients once a step: behind its last part."""
        if isinstance(self.step_module, DistributedDataParallel) and not last:
            return self.step_module.no_sync()
        return nullcontext()

    @torch.no_grad()
    def _update(self, step: int) -> None:
        if self.config.clip_grad_norm is not None:
            self.scaler.unscale_(self.optimiser)
        norm = get_total_norm([p.grad for p in self.trained if p.grad is not None])
        bad = ~self.losses[0].isfinite()
        if self.config.clip_grad_norm is not None:
            clip_grads_with_norm_(self.trained, self.config.clip_grad_norm, norm)
        if not self.scaler.is_enabled():
            # The same on every rank, since gradients are; with a loss scale the scaler decides, and infinite
            # gradients are how it finds its scale.
            spoilt = ~norm.isfinite()
            bad = bad | spoilt
            self.optimiser.found_inf = spoilt.float()  # type: ignore[attr-defined]  # read by the fused kernel
        self.scaler.step(self.optimiser)
        self.scaler.update()
        for kept, buffers in zip(self.kept, self.buffers, strict=True):
            for before, buffer in zip(kept, buffers, strict=True):
                torch.where(bad, before, buffer, out=buffer)
        first, total, row = self.bad.unbind()
        self.bad = torch.stack(
            [torch.where(bad, first.clamp(max=step), first), total + bad, torch.where(bad, row + 1, 0)]
        )

    def look(self) -> Readout:
        """The one wait for the device in an interval; the ranks' losses are averaged."""
        total, global_, local_, *bad = torch.cat([self.losses.double(), self.bad.double()]).tolist()
        total, global_, local_ = self.ranks.mean([total, global_, local_])
        first, skipped, row = self.ranks.most([-bad[0], bad[1], bad[2]])
        self.bad[0] = NEVER
        return Readout(total, global_, local_, None if -first >= NEVER else int(-first), int(skipped), int(row))

    def state_dict(self) -> dict[str, Any]:
        """All but the model's weights."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "bad": self.bad.cpu(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.bad.copy_(state["bad"])
