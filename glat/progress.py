"""How far a run is: a live bar on a terminal, a line an interval elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """Reports the steps of a run with their rate and the time left.

    Args:
        total: steps of the whole run.
        done: steps that an earlier process made.
    """

    def __init__(self, console: Console, total: int, done: int) -> None:
        self.console, self.total = console, total
        self.reported, self.at = done, time.perf_counter()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self.bar = Bar(*columns, console=console, disable=not console.is_terminal)
        self.task = self.bar.add_task("training", total=total, completed=done)

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def report(self, done: int, batch_size: int, **values: float) -> float:
        """Say that `done` steps are done; returns the clips a second since the last report."""
        now = time.perf_counter()
        seconds = max(1e-9, now - self.at)
        rate = (done - self.reported) * batch_size / seconds
        left = (self.total - done) * seconds / max(1, done - self.reported)
        self.reported, self.at = done, now
        text = " ".join(f"{name} {value:.4f}" for name, value in values.items())
        self.bar.update(self.task, completed=done, description=text)
        if not self.console.is_terminal:
            minutes, rest = divmod(round(left), 60)
            self.console.print(f"step {done}/{self.total}  {text}  {rate:.1f} clips/s  {minutes}:{rest:02d} left")
        return rate

    def restart_clock(self) -> None:
        """Leave the time since the last report out of the rate: it went into an evaluation or a checkpoint."""
        self.at = time.perf_counter()
