"""Who is heard next: one sound at a time, in the order in which they came."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Turns:
    """Seats for sounds that are heard or wait, and a line in front of the model.

    Args:
        seats: sounds that are held in memory at once.
    """

    def __init__(self, seats: int) -> None:
        self.seats = seats
        self._free = threading.BoundedSemaphore(seats)
        self._line: deque[object] = deque()
        self._moved = threading.Condition()

    @contextmanager
    def seat(self) -> Iterator[bool]:
        """Whether there is a free seat, which is taken until the end of the block."""
        taken = self._free.acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                self._free.release()

    @property
    def busy(self) -> bool:
        """Whether a sound is being heard."""
        return bool(self._line)

    @contextmanager
    def turn(self, waiting: Callable[[int], None]) -> Iterator[None]:
        """Wait for one's turn, which lasts until the end of the block.

        Args:
            waiting: told how many are before, about twice a second. What it raises ends the wait.
        """
        me = object()
        with self._moved:
            self._line.append(me)
        try:
            while before := self._before(me):
                waiting(before)
                with self._moved:
                    self._moved.wait_for(lambda: self._line[0] is me, timeout=0.5)
            yield
        finally:
            with self._moved:
                self._line.remove(me)
                self._moved.notify_all()

    def _before(self, me: object) -> int:
        with self._moved:
            return self._line.index(me)
