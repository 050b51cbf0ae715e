"""How a run is asked to end early: SIGTERM, as schedulers send it, or Ctrl-C."""

import shlex
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from ..errors import Stopped

# What the process leaves with. 75 is EX_TEMPFAIL: try again later.
STATUS = {signal.SIGTERM: 75, signal.SIGINT: 130}


class StopRequest:
    """Notes SIGTERM and the first Ctrl-C inside its block, so that the run can end at a step's boundary.

    A second Ctrl-C interrupts at once. Outside the main thread, which alone may handle signals, nothing is noted.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in STATUS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    @staticmethod
    def stopped(number: int, step: int, folder: object) -> Stopped:
        """What to raise once the run has saved itself."""
        number = signal.Signals(number)
        flags = f"--run-dir {shlex.quote(str(folder))} --resume auto"
        return Stopped(f"stopped by {number.name} and saved after step {step}; go on with {flags}", STATUS[number])
