"""How text tables are written: by their suffix, and as flags say."""

from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".csv", ".tsv", ".tab")


@dataclass(frozen=True)
class TableFormat:
    """How a table names its columns and joins its labels."""

    file_column: str = "file"
    label_column: str = "label"
    label_separator: str = ";"


def delimiter_of(table: Path) -> str:
    """What separates the cells of a table: of a .csv commas, of all others tabs."""
    return "," if table.suffix.lower() == ".csv" else "\t"
