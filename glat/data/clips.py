"""What a data set is: clips of equal length in memory, with weak labels."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from torch import Tensor

Result = TypeVar("Result")


class Batch(NamedTuple):
    """B clips as a training step takes them."""

    wave: Tensor  # [B, S] int16 or float32
    lengths: Tensor  # [B] int64, valid samples
    targets: Tensor  # [B, L] float32


@dataclass(frozen=True)
class Event:
    """One sounding event of a clip; the evaluation knows it, training never does."""

    label: int  # index into Clips.classes
    onset_seconds: float
    offset_seconds: float


@dataclass(frozen=True)
class Skipped:
    """A recording that was left out."""

    file: str
    reason: str


@dataclass(frozen=True)
class Clips:
    """M clips of S samples with the labels of L classes."""

    waves: Tensor  # [M, S] int16, ±32767 is full scale, zero-padded at the end
    lengths: Tensor  # [M] int64, valid samples
    targets: Tensor  # [M, L] bool
    names: tuple[str, ...]  # of the file, or "soundscape-train-000012"
    classes: tuple[str, ...]
    sample_rate_hz: int
    events: tuple[tuple[Event, ...], ...] | None = None  # per clip, where times are known

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Data:
    """Clips to train on, clips to evaluate on, and what was left out of both."""

    train: Clips
    evaluation: Clips
    skipped: tuple[Skipped, ...] = ()


def in_parallel(work: Callable[[int], Result], count: int, workers: int | None) -> list[Result]:
    """``[work(0), ..., work(count - 1)]`` by `workers` threads (None: one a core); the order is kept.

    Threads suffice: NumPy, soundfile and soxr give up Python's lock while they calculate.
    """
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(max(1, workers)) as pool:
        return list(pool.map(work, range(count)))
