"""What asks a run to end early: a signal, as schedulers and people send it, or an output that nobody reads."""

import errno
import os
import select
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import Stopped

# Not every system has every signal.
SIGNALS = [signal.Signals[n] for n in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGXCPU") if hasattr(signal, n)]
OUTPUT_CLOSED = 13  # SIGPIPE, which Python ignores
INTERRUPTED, TRY_AGAIN = 130, 75  # exit statuses after Ctrl-C and after all else; 75 is EX_TEMPFAIL
MOST_SECONDS = 8.0  # from a signal to the end of the process: schedulers kill after 10 s and more
# A signal that comes again after this ends the process at once. Earlier: torchrun and a terminal both send Ctrl-C.
AGAIN_SECONDS = 1.0
_END_OF_WATCH = 0


class Stop:
    """Ends the process when a signal asks for it.

    At once, while there is nothing to save: a run that starts, loads, compiles its first step, or evaluates what it has
    saved. From `unsaved` to `saved` a signal is noted in `signal`, for the loop to save and end. Where that takes
    longer than `MOST_SECONDS`, or a second Ctrl-C or SIGTERM arrives, the process ends without it.

    A thread reads the signals, so that they are met while the main thread is inside a long call. Without ``with``
    nothing is handled and no signal is ever noted: a process that calls `main` itself keeps its own handlers.

    Attributes:
        signal: what asked the run to end; 0 while nothing did.
        folder: of the run, to say how to go on.
        quiet: whether to print nothing, since another rank does.
        leaving: is called before the process ends at once.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.folder: Path | None = None
        self.quiet = False
        self.leaving: Callable[[], None] = lambda: None
        self._nothing_to_save, self._output_matters = True, True
        self._asked_at = 0.0
        self._state = threading.Lock()  # of the attributes that both threads change
        self._handlers: dict[int, Any] = {}
        self._wake: socket.socket | None = None

    def __enter__(self) -> "Stop":
        watched, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        self._old_wake = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP, and means it
                self._handlers[number] = signal.signal(number, lambda number, frame: None)
        self._watcher = threading.Thread(target=self._watch, args=(watched,), name="glat-stop", daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wake)
        assert self._wake is not None
        self._wake.send(bytes([_END_OF_WATCH]))
        self._watcher.join()
        self._wake.close()
        self._wake = None

    def unsaved(self) -> None:
        """A step was made: from here on a signal waits until it is saved."""
        with self._state:
            self._nothing_to_save = False

    def saved(self, step: int, number: int = 0) -> None:
        """All `step` steps are saved: from here on a signal ends the process at once.

        Args:
            number: the signal that the run was saved for, perhaps another rank's.

        Raises:
            Stopped: there is one.
        """
        with self._state:
            self._nothing_to_save = True
            number = number or self.signal
        if number:
            raise Stopped(f"stopped by {_name(number)} and saved after step {step}{self._go_on()}", _status(number))

    def over(self) -> None:
        """The run is written whole: it is no matter whether its output is read."""
        self._output_matters = False

    def output_closed(self) -> None:
        """Take note that nobody reads the output any more, as after ``| head``."""
        if self._wake is not None and self._output_matters:
            self._wake.send(bytes([OUTPUT_CLOSED]))

    def _watch(self, watched: socket.socket) -> None:
        with watched:
            while True:
                left = max(0.0, self._asked_at + MOST_SECONDS - time.monotonic()) if self.signal else None
                if not select.select([watched], [], [], left)[0]:
                    self._leave(self.signal, f"not saved, which took longer than {MOST_SECONDS:g} s")
                for number in watched.recv(64):
                    if number == _END_OF_WATCH:
                        return
                    if number in self._handlers or number == OUTPUT_CLOSED:
                        self._take(number)

    def _take(self, number: int) -> None:
        with self._state:
            if self._nothing_to_save:
                self._leave(number, "nothing is lost: no step was made that is not saved")
            if not self.signal:
                self._asked_at, self.signal = time.monotonic(), number
            elif number in (signal.SIGTERM, signal.SIGINT) and time.monotonic() > self._asked_at + AGAIN_SECONDS:
                self._leave(number, "not saved, since it came a second time")

    def _leave(self, number: int, why: str) -> None:
        """End the process without waiting for the main thread, which may be inside a long call."""
        with suppress(Exception):
            self.leaving()
            if os.isatty(1):
                os.write(1, b"\x1b[?25h")  # the progress bar hides the cursor
        if not self.quiet:
            text = f"stopped by {_name(number)}; {why}{self._go_on()}\n"
            # In a thread: standard error may be a pipe that is full and that nobody reads.
            say = threading.Thread(target=os.write, args=(2, text.encode(errors="replace")), daemon=True)
            say.start()
            say.join(1.0)
        os._exit(_status(number))

    def _go_on(self) -> str:
        return "" if self.folder is None else f"; go on with --run-dir {shlex.quote(str(self.folder))} --resume auto"


def _name(number: int) -> str:
    return "its closed output" if number == OUTPUT_CLOSED else signal.Signals(number).name


def _status(number: int) -> int:
    return INTERRUPTED if number == signal.SIGINT else TRY_AGAIN


class Output:
    """Standard output that may lose its reader: what is written from then on is dropped, and `closed` is called.

    Args:
        closed: called when nobody reads any more.
    """

    def __init__(self, closed: Callable[[], None]) -> None:
        self._closed = closed

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)

    def write(self, text: str) -> int:
        """As of a text stream."""
        with self._without_a_reader():
            sys.stdout.write(text)
        return len(text)

    def flush(self) -> None:
        """As of a text stream."""
        with self._without_a_reader():
            sys.stdout.flush()

    @contextmanager
    def _without_a_reader(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # of a pipe, of a terminal that is gone
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes again at its end
            self._closed()
