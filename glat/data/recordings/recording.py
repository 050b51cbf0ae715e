"""One recording of a list."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sounding:
    """A class sounds from onset to offset, in seconds of the recording; at one moment where the two are equal."""

    label: str
    onset_seconds: float
    offset_seconds: float


@dataclass(frozen=True)
class Recording:
    """One file with its labels."""

    name: str  # path relative to the folder or CSV, with forward slashes
    path: Path
    labels: tuple[str, ...]  # sorted; none: a clip of no class, a negative example
    fold: str | None = None
    soundings: tuple[Sounding, ...] | None = None  # by onset; None: the labels are of the whole recording
