"""One recording of a list."""

from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class Sounding:
    """A class sounds from onset to offset, in seconds of the recording; at one moment where the two are equal."""

    label: str
    onset_seconds: float
    offset_seconds: float

    def is_outside(self, seconds: float) -> bool:
        """Whether nothing of it lies in a recording of this length."""
        return self.onset_seconds >= seconds or self.offset_seconds < 0


@dataclass(frozen=True)
class Recording:
    """One file with its labels."""

    name: str  # path relative to the folder or CSV, with forward slashes
    path: Path
    labels: tuple[str, ...]  # sorted; none: a clip of no class, a negative example
    fold: str | None = None
    soundings: tuple[Sounding, ...] | None = None  # by onset; None: the labels are of the whole recording
    offset: int = -1  # of its first byte, where it is a piece of the file
    size: int = -1  # of that piece, in bytes

    def stream(self) -> BinaryIO | None:
        """Its bytes, where it is a piece of a file; None where the file is the recording, or cannot be read."""
        if self.offset >= 0:
            with suppress(OSError), self.path.open("rb") as file:  # who then reads the file says why it cannot be
                file.seek(self.offset)
                return BytesIO(file.read(self.size))
        return None
