"""torch.compile around the training step: tried out before the run depends on it, and left where it fails."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
import torch._functorch.config
from torch import nn
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
from torch.nn.parallel import DistributedDataParallel

from ..config import OptimConfig
from ..data import Batch
from ..errors import UserError
from ..files import write_json
from ..losses import Losses
from ..model import GlobalLocal
from ..regions import Regions
from ..runs.folder import COMPILED

if TYPE_CHECKING:
    from .learner import Learner

MOST_SECONDS = 600.0  # of a compilation
BACKEND = "inductor"
CACHE = "TORCHINDUCTOR_CACHE_DIR"


class _TookTooLongError(BaseException):
    """No `Exception`: the compiler catches those."""


def mode_for(optim: OptimConfig, device: torch.device, model: GlobalLocal) -> str:
    """What ``--compile`` means for a model on a device: "off", "regions", or a mode of torch.compile.

    Raises:
        UserError: regions of a network that has none.
    """
    without = [type(stream).__name__ for stream in model.streams() if not stream.has_regions]
    if optim.compile == "regions" and without:
        raise UserError(f"--compile regions: {without[0]} marks none; choose --compile default, which takes it whole")
    if optim.compile != "auto":
        return optim.compile
    # Not regions: here a step by regions was slower than one graph's, and on a GPU it has not been timed.
    return "default" if device.type == "cuda" and not optim.sync_batch_norm else "off"


def cache_folder() -> Path:
    """Where compiled code is kept for the next start: `TORCHINDUCTOR_CACHE_DIR`, else in the user's cache folder."""
    named = os.environ.get(CACHE)
    if named and Path(named) != Path(default_cache_dir()):  # PyTorch sets the variable itself, to a place in /tmp
        return Path(named)
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "glat" / "inductor"


class CompiledStep(nn.Module):
    """A training step compiled by torch.compile, until the compiler is found at fault.

    Then the run goes on with the step as it is written, from the same weights, where the mode was left to us
    (``--compile auto``); a mode that somebody named is an order, and the run ends.

    Args:
        step: the losses of a batch.
        mode: of torch.compile, for both streams and the loss as one graph; "regions" compiles `glat.regions` alone, and
            "off" calls `step` as it is.
        optim: whether the mode was asked for.
        say: prints lines.

    Attributes:
        mode: "off" from the failure on.
    """

    def __init__(self, step: nn.Module, mode: str, optim: OptimConfig, say: Callable[[Iterable[str]], None]) -> None:
        super().__init__()
        self.step, self.mode, self._asked, self._say = step, mode, optim.compile != "auto", say
        self._folder: Path | None = None
        self._facts: dict[str, Any] = {"mode": mode, "failure": None}
        self._run: Callable[[Batch], Losses] = step.__call__  # no child: the module is one already
        if mode == "off":
            return
        _keep_compiled_code()
        config = torch._functorch.config
        # The default casts the backward pass as the forward pass was, which autograd outside compile does not do.
        if hasattr(config, "backward_pass_autocast"):  # newer than torch 2.10
            config.backward_pass_autocast = "off"
        # The backward pass is compiled with the forward pass, in the main thread: a thread of autograd's could not be
        # interrupted.
        if hasattr(config, "force_non_lazy_backward_lowering"):
            config.force_non_lazy_backward_lowering = True
        if mode == "regions":
            self._run = _by_region(step)
        else:
            compiled: Any = torch.compile(step, fullgraph=True, mode=mode, backend=BACKEND)
            self._run = compiled.__call__

    def forward(self, batch: Batch) -> Losses:
        return self._run(batch)

    def try_out(self, learner: "Learner", load: Callable[[], Batch]) -> None:
        """Compile, by a step that changes nothing; say so before and after. Every rank calls this.

        Args:
            learner: of this step.
            load: a batch of the shape of training's parts.

        Raises:
            UserError: it failed, did not end within `MOST_SECONDS`, or gave a loss or gradients that are not finite
                where those of the uncompiled step are, and the mode was asked for.
        """
        if self.mode == "off":
            return
        batch, reason, started = load(), None, time.perf_counter()
        self._say([f"compiling the training step (mode {self.mode}, --compile); kept in {cache_folder()}"])
        with _leave_no_trace(learner), _say_now_and_then(self._say, started):
            try:
                with _time_limit(MOST_SECONDS):
                    wrong = not _is_finite(learner, batch, learner.step_module)
            except _TookTooLongError:
                reason = f"had not ended after {MOST_SECONDS / 60:g} minutes"
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                _is_finite(learner, batch, self.step)  # raises what is no fault of the compiler
                reason = f"failed: {_what_failed(error)}"
            else:
                if wrong and _is_finite(learner, batch, self.step):
                    reason = "gave a loss or gradients that are not finite, where the uncompiled step's are"
        if learner.ranks.most([reason is not None])[0]:
            self.give_up(learner, reason or "failed in another process")
            return
        self._facts["seconds"] = round(time.perf_counter() - started, 1)
        self._say([f"compiled in {self._facts['seconds']:.0f} s"])

    def is_at_fault(self, learner: "Learner", batches: Iterable[Batch]) -> bool:
        """Whether one of these batches gives a loss or gradients that are not finite because they are compiled.

        Args:
            batches: each of the shape that was compiled.
        """
        if self.mode == "off":
            return False
        with _leave_no_trace(learner):
            return any(
                not _is_finite(learner, batch, learner.step_module) and _is_finite(learner, batch, self.step)
                for batch in batches
            )

    def give_up(self, learner: "Learner", reason: str) -> None:
        """Go on uncompiled and say so; or end the run, where the mode was asked for. Every rank calls this.

        Args:
            reason: what it did, behind "torch.compile".
        """
        sentence = f"torch.compile (mode {self.mode}) {reason}"
        learner.ranks.on_first(self._refuse, sentence)
        self.mode, self._run = "off", self.step.__call__
        torch._dynamo.reset()
        self._facts["failure"] = sentence
        self._write()
        self._say([f"warning: {sentence}; going on uncompiled from the same weights"])

    def _refuse(self, sentence: str) -> None:
        if self._asked:
            raise UserError(f"{sentence}; leave out --compile {self.mode}, or choose --compile off")

    def record_in(self, folder: Path) -> None:
        """Keep what came of it as `COMPILED` in the run's folder, now and when it changes."""
        self._folder = folder
        self._write()

    def _write(self) -> None:
        if self._folder is not None:
            write_json(self._folder / COMPILED, self._facts | {"versions": {"torch": torch.__version__}})


def _by_region(step: nn.Module) -> Callable[[Batch], Losses]:
    regions = Regions(partial(torch.compile, fullgraph=True, dynamic=True, backend=BACKEND))

    def run(batch: Batch) -> Losses:
        with regions.entered():
            losses: Losses = step(batch)
            return losses

    return run


def _is_finite(learner: "Learner", batch: Batch, step: nn.Module) -> bool:
    """Whether loss and gradients of a step are; the gradients are not kept, nor exchanged between ranks."""
    with step.no_sync() if isinstance(step, DistributedDataParallel) else nullcontext():
        with learner.autocast():
            losses = step(batch)
        losses.total.backward()
    gradients = [p.grad for p in learner.trained if p.grad is not None]
    finite = torch.stack([losses.total.detach().isfinite(), *(g.isfinite().all() for g in gradients)]).all()
    learner.optimiser.zero_grad(set_to_none=True)
    return bool(finite)


@contextmanager
def _leave_no_trace(learner: "Learner") -> Iterator[None]:
    """Put buffers, gradients and random generators back; a trial changes nothing else."""
    buffers = [(buffer, buffer.clone()) for buffer in learner.model.buffers()]
    devices = [learner.device] if learner.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            learner.optimiser.zero_grad(set_to_none=True)
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `_TookTooLongError` inside, after so many seconds; outside the main thread there is no limit."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise _TookTooLongError

    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 5)  # again, where a callback swallowed it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _say_now_and_then(say: Callable[[Iterable[str]], None], started: float, first: float = 30.0) -> Iterator[None]:
    """Say after 30 s, 1 minute, 2, 4, ... that the compiler is still at it."""
    over = threading.Event()

    def watch() -> None:
        wait = first
        while not over.wait(wait):
            passed = time.perf_counter() - started
            say([f"still compiling after {passed:.0f} s (at most {MOST_SECONDS:.0f} s)"])
            wait = passed

    thread = threading.Thread(target=watch, daemon=True, name="glat-compiling")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _keep_compiled_code() -> None:
    """Let Inductor and Triton keep what they compile where the next run finds it, and not in /tmp."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # PyTorch's own place is as good, as long as it lasts
    os.environ[CACHE] = str(folder)


def _what_failed(error: Exception) -> str:
    """Type and first line of what went wrong inside the compiler; a backend's error comes wrapped."""
    error = getattr(error, "inner_exception", error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
