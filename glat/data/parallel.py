"""Threads, and how many of the machine's cores this process may use."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


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
