"""What a data set is: clips of equal length with weak labels."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .targets import Targets

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


class ClipSource(Protocol):
    """M clips of at most S samples that can be had by row, with the labels of L classes: what sources have in common.

    Clips in memory, packs, and encoded files are sources; a loader makes batches of any of them.
    """

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def targets(self) -> Targets: ...
    @property
    def sample_rate_hz(self) -> int: ...
    @property
    def clip_samples(self) -> int:
        """S, what every clip is padded or cut to."""
        ...

    @property
    def lengths(self) -> Tensor | NDArray[np.int64]:
        """[M], valid samples of each clip; of encoded files as their headers say."""
        ...

    @property
    def events(self) -> tuple[tuple[Event, ...], ...] | None:
        """Per clip, where times are known."""
        ...

    def subset(self, rows: NDArray[np.int64]) -> "ClipSource":
        """The clips of some rows."""
        ...

    def __len__(self) -> int: ...

    def read(self, row: int) -> NDArray[np.int16]:
        """The valid samples of a clip, at least 1 and at most S, at the source's rate.

        Raises:
            UnreadableAudio: the recording has gone bad since the source was opened.
        """
        ...


@dataclass(frozen=True)
class Clips:
    """A source in memory."""

    waves: Tensor  # [M, S] int16, ±32767 is full scale, zero-padded at the end
    lengths: Tensor  # [M] int64, valid samples
    targets: Targets  # of L classes
    names: tuple[str, ...]  # of the file, or "soundscape-train-000012"
    classes: tuple[str, ...]
    sample_rate_hz: int
    events: tuple[tuple[Event, ...], ...] | None = None  # per clip, where times are known

    @property
    def clip_samples(self) -> int:
        return self.waves.shape[1]

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, rows: NDArray[np.int64]) -> "Clips":
        """The clips of some rows; their samples are copied unless the rows follow each other."""
        in_one_block = len(rows) > 0 and bool((np.diff(rows) == 1).all())
        where = slice(int(rows[0]), int(rows[-1]) + 1) if in_one_block else torch.from_numpy(rows)
        return replace(
            self,
            waves=self.waves[where],
            lengths=self.lengths[where],
            targets=self.targets.subset(rows),
            names=tuple(self.names[row] for row in rows),
            events=None if self.events is None else tuple(self.events[row] for row in rows),
        )

    def read(self, row: int) -> NDArray[np.int16]:
        return self.waves[row, : self.lengths[row]].numpy()


Source = TypeVar("Source", bound=ClipSource, covariant=True)


@dataclass(frozen=True)
class Data(Generic[Source]):
    """Clips to train on, clips to evaluate on, and what was left out of both."""

    train: Source
    evaluation: Source
    skipped: tuple[Skipped, ...] = ()


def fingerprint(names: Iterable[str]) -> str:
    """SHA-256 of a set of clips by their names, whatever their order: stands beside a score with their number."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
