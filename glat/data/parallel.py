"""Threads, how many of the machine's cores this process may use, and jobs side by side that share the work."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import UserError

Result = TypeVar("Result")
Item = TypeVar("Item")


def in_parallel(work: Callable[[int], Result], count: int, workers: int | None) -> list[Result]:
    """``[work(0), ..., work(count - 1)]`` by `workers` threads (None: one a core); the order is kept.

    Threads suffice: NumPy, soundfile and soxr give up Python's lock while they calculate.
    """
    with ThreadPoolExecutor(workers or cores()) as pool:
        return list(pool.map(work, range(count)))


def local_processes() -> int:
    """Of a run that torchrun started, on this machine: they share its memory and its cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1)


def cores() -> int:
    """How many this process may use, its share where several train together."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, allowed // local_processes())


@dataclass(frozen=True)
class Part:
    """One of several jobs that share the recordings among them: every `count`-th, from the `number`-th on."""

    number: int = 1
    count: int = 1

    @staticmethod
    def parse(text: str) -> "Part":
        """ "3/16" is the third of sixteen.

        Raises:
            UserError: anything else.
        """
        number, _, count = text.partition("/")
        if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
            return Part(int(number), int(count))
        raise UserError(f"--part {text}: give the number of the part and of all parts, as 3/16")

    def of(self, items: Sequence[Item]) -> list[Item]:
        """The items of this part."""
        return list(items[self.number - 1 :: self.count])

    def named(self, path: Path) -> Path:
        """A path of its own for this part; the path itself where there is one part."""
        return path if self.count == 1 else path.with_name(f"part-{self.number}-of-{self.count}-{path.name}")
