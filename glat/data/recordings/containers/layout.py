"""What a file's bytes say against what its header says, and the bytes that a decoder is to be given."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader, RawIOBase
from itertools import accumulate
from typing import Any, BinaryIO

_BLOCK = 1 << 16
_SEARCHED = 1 << 20


class Damaged(Exception):  # noqa: N818 - named after what was met
    """The bytes of a file contradict its header; the text is the reason a user reads."""


Segment = bytes | tuple[int, int]  # bytes of our own, or (start, end) in the file


@dataclass(frozen=True)
class Layout:
    """How the samples of a file are to be decoded.

    `views` is empty where the file is given to the decoder as it is. Otherwise each view is a file of its own, made of
    pieces of this one with the wrong numbers replaced; their samples follow each other.
    """

    views: tuple[tuple[Segment, ...], ...] = ()
    remark: str | None = None  # what is wrong with the header, for the user; all samples are heard
    least_samples: int = 0  # what a decoder must give, where the container counts them beside its header


class Bytes:
    """Random reads of an open file."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = file.seek(0, SEEK_END)

    def at(self, start: int, count: int) -> bytes:
        """Up to `count` bytes from `start`; fewer at the end of the file."""
        if start >= self.size:  # perhaps further than a file can be
            return b""
        self.file.seek(start)
        return self.file.read(max(0, count))

    def only_zeros_in(self, start: int, end: int) -> bool:
        """Whether bytes are nothing but zeros, or none."""
        return not self.at(start, end - start).strip(b"\0")

    def find(self, what: bytes, start: int) -> int | None:
        """Where some bytes stand first, from `start` on."""
        while start < self.size:
            block = self.at(start, _SEARCHED)
            if (at := block.find(what)) >= 0:
                return start + at
            start += max(1, len(block) - len(what) + 1)
        return None

    def only_zeros(self, start: int) -> bool:
        """Whether nothing but zeros follows."""
        while start < self.size:
            block = self.at(start, _BLOCK)
            if not block or block.strip(b"\0"):
                return False
            start += len(block)
        return True


def patched(size: int, *patches: tuple[int, bytes], start: int = 0) -> tuple[Segment, ...]:
    """A view of the bytes from `start` up to `size`, some of them replaced; `patches` are (offset, bytes), in order."""
    segments: list[Segment] = []
    for at, new in patches:
        segments += [(start, at), new]
        start = at + len(new)
    segments.append((start, size))
    return tuple(segments)


def opened(file: BinaryIO, segments: Sequence[Segment]) -> BufferedReader:
    """A view as a file; it reads from `file`, which must stay open."""
    return BufferedReader(_View(file, segments), _BLOCK)


class _View(RawIOBase):
    def __init__(self, file: BinaryIO, segments: Sequence[Segment]) -> None:
        self._file = file
        self._segments = [s for s in segments if (len(s) if isinstance(s, bytes) else s[1] - s[0])]
        lengths = [len(s) if isinstance(s, bytes) else s[1] - s[0] for s in self._segments]
        self._starts = [0, *accumulate(lengths)]  # one more than segments: the last is the size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        self._at = max(0, offset + {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._starts[-1]}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._starts[-1]:
            return 0
        which = bisect_right(self._starts, self._at) - 1
        segment, inside = self._segments[which], self._at - self._starts[which]
        count = min(len(buffer), self._starts[which + 1] - self._at)
        if isinstance(segment, bytes):
            found = segment[inside : inside + count]
        else:
            self._file.seek(segment[0] + inside)
            found = self._file.read(count)
        memoryview(buffer)[: len(found)] = found
        self._at += len(found)
        return len(found)
