"""How far a tagging job is: files, hours, rate and time left; a live line on a terminal, a line a minute elsewhere."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn

from ..data.recordings.decoding import read_header
from ..errors import UserError
from ..terminal import Console

_LINE_SECONDS = 60.0


def audio_time(seconds: float) -> str:
    """A length of audio: "42 s", "12.5 min", "3.2 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def clock(seconds: float) -> str:
    """A time to wait, h:mm:ss or m:ss."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


class TagProgress:
    """Reports how much audio is heard. How much there is is read off the files' headers meanwhile."""

    def __init__(self, console: Console, files: Sequence[Path]) -> None:
        self.console, self.count = console, len(files)
        self.heard, self.done = 0.0, 0
        self.started = self.said = time.perf_counter()
        self._total: float | None = None
        self._closed = False
        self.bar = Progress(
            BarColumn(bar_width=None),
            TextColumn("{task.description}"),
            console=console,
            expand=True,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=None)
        self._headers = threading.Thread(target=self._read_headers, args=(list(files),), daemon=True)

    def __enter__(self) -> "TagProgress":
        self._headers.start()
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self.bar.stop()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the live line away while something else is printed."""
        self.bar.stop()
        yield
        if not self._closed:
            self.bar.start()

    @property
    def rate(self) -> float:
        """Seconds of audio heard a second."""
        return self.heard / max(1e-9, time.perf_counter() - self.started)

    def add(self, seconds: float) -> None:
        """So many more seconds of audio are heard."""
        self.heard += seconds
        self._show()

    def file_done(self) -> None:
        """One more recording is done."""
        self.done += 1
        self._show()

    def text(self) -> str:
        """Files, audio, rate and time left."""
        total = self._total
        parts = [f"{self.done}/{self.count} files", audio_time(self.heard)]
        if total is not None:
            parts[1] += f" of {audio_time(total)}"
        parts.append(f"{self.rate:.0f}×")
        if total is not None and self.heard:
            parts.append(f"{clock((total - self.heard) / self.rate)} left")
        return "  ".join(parts)

    def _show(self) -> None:
        if self.console.is_terminal:
            self.bar.update(self.task, description=self.text(), completed=self.heard, total=self._total)
        elif time.perf_counter() - self.said > _LINE_SECONDS:
            self.said = time.perf_counter()
            self.console.print(self.text())

    def _read_headers(self, files: list[Path]) -> None:
        total = 0.0
        for file in files:
            if self._closed:
                return
            try:
                header = read_header(file)
            except UserError:  # said when its turn comes
                continue
            total += header.frames / header.rate_hz
        self._total = total
