"""How far a run is: on a terminal a live bar with the losses below it, a line an interval elsewhere."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import RenderableType
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from ..terminal import Console, Text


class _BarAboveText(Bar):
    """A bar with a text below it, which wraps at words."""

    text = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.text:
            yield Text(self.text)


class Progress:
    """Reports the steps of a run with their rate and the time left.

    Args:
        total: steps of the whole run.
    """

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total = console, total
        self.reported, self.at, self.waited = 0, time.perf_counter(), 0.0
        columns = (
            BarColumn(bar_width=min(40, max(10, console.width - 40))),
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        self.bar = _BarAboveText(*columns, console=console, disable=not console.is_terminal)
        self.task = self.bar.add_task("training", total=total)

    @contextmanager
    def after(self, done: int) -> Iterator[None]:
        """Show the bar during the block, which starts after `done` steps of an earlier process."""
        self.reported = done
        self.bar.update(self.task, completed=done)
        self.restart_clock()
        with self.bar:
            yield

    def step(self, done: int) -> None:
        """Move the bar: `done` steps are done."""
        self.bar.update(self.task, completed=done)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count what the block takes as waiting for data."""
        start = time.perf_counter()
        yield
        self.waited += time.perf_counter() - start

    def report(self, done: int, batch_size: int, memory_bytes: int, **losses: float) -> dict[str, float]:
        """Say that `done` steps are done, and how it goes since the last report.

        Returns:
            clips_per_second; data_wait, the share of the time spent waiting for data; memory_mib.
        """
        now = time.perf_counter()
        seconds = max(1e-9, now - self.at)
        values = {
            "clips_per_second": (done - self.reported) * batch_size / seconds,
            "data_wait": min(1.0, self.waited / seconds),
            "memory_mib": memory_bytes / 2**20,
        }
        left = (self.total - done) * seconds / max(1, done - self.reported)
        self.reported, self.at, self.waited = done, now, 0.0
        text = " ".join(f"{name} {value:.4f}" for name, value in losses.items())
        text += (
            f"  {values['clips_per_second']:.1f} clips/s  data {values['data_wait']:.0%}  "
            f"{values['memory_mib'] / 1024:.2f} GiB"
        )
        self.bar.text = text
        self.step(done)
        if not self.console.is_terminal:
            minutes, rest = divmod(round(left), 60)
            self.console.print(f"step {done}/{self.total}  {text}  {minutes}:{rest:02d} left")
        return values

    def restart_clock(self) -> None:
        """Leave the time since the last report out of the rate: it went into an evaluation or a checkpoint."""
        self.at, self.waited = time.perf_counter(), 0.0
