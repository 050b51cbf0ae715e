"""What a data set is: clips of equal length with weak labels."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .stamps import Stamps
from .targets import Targets


class Batch(NamedTuple):
    """B clips as a training step takes them."""

    wave: Tensor  # [B, S] int16 or float32
    lengths: Tensor  # [B] int64, valid samples
    targets: Tensor  # [B, L] float32


@dataclass(frozen=True)
class Event:
    """One sounding event of a clip; the evaluation knows it, training never does."""

    label: int  # index into ClipSource.classes
    onset_seconds: float  # from the clip's start
    offset_seconds: float  # of a point in time the same


class Origin(NamedTuple):
    """Where a window lies: the clip begins so many seconds into this recording."""

    recording: str
    start_seconds: float


@dataclass(frozen=True)
class Skipped:
    """A recording that was left out."""

    file: str
    reason: str


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipSource(ABC):
    """M clips of at most S samples with weak labels of L classes: the columns that all sources share.

    Clips in memory, packs, encoded files and windows of long recordings are sources; a subclass adds where its samples
    lie, and how to read them.

    Known times are one column, whatever they come from: ``events[row]`` are the events that sound in a clip, in seconds
    from its start and cut at its ends, and their classes are those of ``targets``. Soundscapes have it on both sides,
    windows of strongly labelled recordings where they are evaluated, which follow each other without gap or overlap:
    ``origins`` says where each lies, so that they can be joined to recordings again.

    A source that training draws windows of has several `places` a clip: ``row + M * place`` is such a drawn row, which
    `read`, `read_samples`, `name_of` and `present` take as they take rows. All other sources have one place.
    """

    names: tuple[str, ...]  # [M], of the file, or "soundscape-train-000012"
    classes: tuple[str, ...]  # [L]
    targets: Targets  # [M, L]
    lengths: NDArray[np.int64]  # [M], valid samples; of encoded files as their headers say
    sample_rate_hz: int
    clip_samples: int  # S, what every clip is padded or cut to
    folds: tuple[str, ...] | None = None  # [M], "" where a clip has none
    events: tuple[tuple[Event, ...], ...] | None = None  # [M], where times are known
    origins: tuple[Origin, ...] | None = None  # [M], of windows
    remarks: tuple[tuple[str, ...], ...] | None = None  # [M], what is odd about what is heard of a recording

    storage: ClassVar[Literal["memory", "pack", "files"]]
    wave_dtype: ClassVar[torch.dtype] = torch.int16  # of `read_samples`
    row_arrays: ClassVar[tuple[str, ...]] = ()  # fields of a subclass with a row a clip
    places: int = 1  # a power of 2

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, rows: NDArray[np.int64]) -> Self:
        """The clips of some rows."""

        def taken(column: tuple[Any, ...] | None) -> Any:
            return None if column is None else tuple(column[row] for row in rows)

        return replace(
            self,
            names=taken(self.names),
            targets=self.targets.subset(rows),
            lengths=self.lengths[rows],
            folds=taken(self.folds),
            events=taken(self.events),
            origins=taken(self.origins),
            remarks=taken(self.remarks),
            **{name: getattr(self, name)[rows] for name in self.row_arrays},
        )

    @abstractmethod
    def read(self, row: int) -> NDArray[np.int16]:
        """Return the valid samples of a clip, at least 1 and at most S, at the source's rate.

        Raises:
            UnreadableAudio: the recording has gone bad since the source was opened.
        """

    def name_of(self, row: int) -> str:
        """Of a row or drawn row."""
        return self.names[row]

    def goes_bad_with(self, row: int) -> str:
        """What is named, once, when a row or drawn row cannot be read."""
        return self.name_of(row)

    def present(self, rows: Tensor) -> Tensor:
        """The classes [B, L] bool of rows or drawn rows [B]."""
        return self.targets.dense(rows)

    def identity(self) -> bytes:
        """What the numbers of a run depend on beyond names, lengths and targets."""
        return b""

    def read_samples(self, row: int) -> NDArray[Any]:
        """As `read`, in `wave_dtype`: float32 with full scale ±1 where the source can do better than int16."""
        return self.read(row)

    def hear(self, row: int) -> tuple[NDArray[Any], tuple[str, ...]]:
        """What `read_samples` returns, and what is odd about it, beyond the source's `remarks`."""
        return self.read_samples(row), ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Clips(ClipSource):
    """A source in memory."""

    waves: Tensor  # [M, S] int16, ±32767 is full scale, zero-padded at the end

    storage = "memory"

    def subset(self, rows: NDArray[np.int64]) -> Self:
        """The clips of some rows; their samples are copied unless the rows follow each other."""
        in_one_block = len(rows) > 0 and bool((np.diff(rows) == 1).all())
        where = slice(int(rows[0]), int(rows[-1]) + 1) if in_one_block else torch.from_numpy(rows)
        return replace(super().subset(rows), waves=self.waves[where])

    def read(self, row: int) -> NDArray[np.int16]:
        """See `ClipSource.read`; nothing can go bad here."""
        return self.waves[row, : int(self.lengths[row])].numpy()


Source = TypeVar("Source", bound=ClipSource, covariant=True)


@dataclass(frozen=True)
class Data(Generic[Source]):
    """Clips to train on, clips to evaluate on, and what was left out of both."""

    train: Source
    evaluation: Source
    skipped: tuple[Skipped, ...] = ()
    stamps: Stamps = field(default_factory=Stamps)  # of the files behind both sides


def fingerprint(names: Iterable[str]) -> str:
    """SHA-256 of a set of clips by their names, whatever their order: stands beside a score with their number."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
