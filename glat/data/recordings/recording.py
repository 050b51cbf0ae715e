"""One recording of a list."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Recording:
    """One file with its labels."""

    name: str  # path relative to the folder or CSV, with forward slashes
    path: Path
    labels: tuple[str, ...]  # sorted; none: a clip of no class, a negative example
    fold: str | None = None
