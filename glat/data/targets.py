"""Weak labels, one bit each: two million clips of 527 classes take 130 MB; as float32 they would take 4 GB."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """Which of L classes sound in each of M clips."""

    packed: NDArray[np.uint8]  # [M, ceil(L / 8)], the first class in the highest bit
    num_classes: int

    @classmethod
    def from_labels(cls, labels: Iterable[Sequence[int]], num_classes: int) -> "Targets":
        """Make targets from the class indices of each clip; an empty sequence is a clip without a class."""
        rows = [np.asarray(row, np.int64) for row in labels]
        packed = np.zeros((len(rows), -(-num_classes // 8)), np.uint8)
        clip = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        label = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        assert ((label >= 0) & (label < num_classes)).all()
        np.bitwise_or.at(packed, (clip, label // 8), np.uint8(128) >> (label % 8).astype(np.uint8))
        return cls(packed, num_classes)

    @classmethod
    def from_dense(cls, dense: NDArray[np.bool_]) -> "Targets":
        """Make targets from a table [M, L]."""
        return cls(np.packbits(dense, axis=1), dense.shape[1])

    def __len__(self) -> int:
        return len(self.packed)

    def subset(self, rows: NDArray[np.int64]) -> "Targets":
        """The targets of some clips."""
        return Targets(self.packed[rows], self.num_classes)

    def dense(self, rows: slice | NDArray[np.int64] | Tensor = slice(None)) -> Tensor:
        """Targets of the given rows (default: all) as [B, L] bool."""
        chosen = self.packed[np.asarray(rows) if isinstance(rows, Tensor) else rows]
        return torch.from_numpy(np.unpackbits(chosen, axis=1, count=self.num_classes).view(np.bool_))

    def counts(self) -> NDArray[np.int64]:
        """Number of clips of each class, [L]."""
        total = np.zeros(self.num_classes, np.int64)
        for first in range(0, len(self.packed), 65_536):  # 35 MB at a time for AudioSet
            block = self.packed[first : first + 65_536]
            total += np.unpackbits(block, axis=1, count=self.num_classes).sum(axis=0, dtype=np.int64)
        return total

    def by_class(self) -> list[NDArray[np.int32]]:
        """Rows of the clips of each class, ascending; takes 4 bytes per label."""
        width = self.packed.shape[1]
        byte = np.flatnonzero(self.packed)  # few bytes: a clip has about 2 of 527 labels
        row, column = np.divmod(byte, width)
        value = self.packed.reshape(-1)[byte]
        found = [np.empty(0, np.int32)] * (8 * width)
        for bit in range(8):
            has = np.flatnonzero(value & (128 >> bit))
            order = has[column[has].argsort(kind="stable")]
            ends = np.bincount(column[has], minlength=width).cumsum()
            found[bit::8] = np.split(row[order].astype(np.int32), ends[:-1])
        return found[: self.num_classes]
