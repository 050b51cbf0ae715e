"""Events as text that other programs open: CSV, Audacity, Raven, RTTM, JSON lines; and Parquet."""

import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import UserError
from ..files import to_json_text
from ..text import CsvWriter, shown
from .events import TaggedEvent

FormatName = Literal["csv", "audacity", "raven", "rttm", "jsonl", "parquet"]
FORMATS: tuple[str, ...] = get_args(FormatName)

# Raven's selection tables and Audacity's labels are both .txt: their names tell.
_SUFFIXES = {
    ".csv": "csv",
    ".rttm": "rttm",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
    ".selections.txt": "raven",
    ".labels.txt": "audacity",
}
_COLUMNS = (
    "file",
    "class",
    "onset_seconds",
    "offset_seconds",
    "peak_seconds",
    "probability",
    "global",
    "local",
    "fused",
    "events_by",
)
_TEXTS = ("file", "class", "events_by")
_RAVEN = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin Path", "File Offset (s)", "Class", "Score", "Global", "Local", "Fused"),
)
_HIGHEST_HZ = 16_000.0  # of a selection, which Raven wants: half of 32 kHz


@dataclass(frozen=True)
class Format:
    """How events are written as text.

    Attributes:
        suffix: of a file in a folder of one file a recording.
        header: what a file begins with.
        rows: the text of a recording's events, given how many rows the file has already.
        one_recording: whether a file can hold the events of one recording only.
    """

    name: str
    suffix: str
    header: str
    rows: Callable[[Sequence[TaggedEvent], int], str]
    one_recording: bool = False


def format_of(out: Path, asked: str | None) -> str:
    """The format by its name, or by the suffix of the output.

    Raises:
        UserError: neither says which.
    """
    if asked is not None:
        return asked
    for suffix, name in _SUFFIXES.items():
        if out.name.lower().endswith(suffix):
            return name
    known = ", ".join(_SUFFIXES)
    raise UserError(f"--events {out}: its suffix names no format; add --format, or end it in one of {known}")


def text_format(name: str) -> Format:
    """A format that is written row by row; Parquet is made of JSON lines at the end."""
    return {
        "csv": Format("csv", ".csv", _csv_line(_COLUMNS), _csv),
        "audacity": Format("audacity", ".labels.txt", "", _audacity, one_recording=True),
        "raven": Format("raven", ".selections.txt", "\t".join(_RAVEN) + "\n", _raven),
        "rttm": Format("rttm", ".rttm", "", _rttm),
        "jsonl": Format("jsonl", ".jsonl", "", _jsonl),
    }["jsonl" if name == "parquet" else name]


def _values(event: TaggedEvent) -> dict[str, Any]:
    return {
        "file": event.file,
        "class": event.label,
        "onset_seconds": round(event.onset_seconds, 6),
        "offset_seconds": round(event.offset_seconds, 6),
        "peak_seconds": round(event.peak_seconds, 6),
        "probability": round(event.probability, 6),
        "global": round(event.global_, 6),
        "local": None if math.isnan(event.local_) else round(event.local_, 6),
        "fused": round(event.fused, 6),
        "events_by": event.events_by,
    }


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO(newline="")
    CsvWriter(line).writerow(cells)
    return line.getvalue()


def _csv(events: Sequence[TaggedEvent], rows_before: int) -> str:
    return "".join(
        _csv_line(v[name] if name in _TEXTS else _fixed(v[name]) for name in _COLUMNS) for v in map(_values, events)
    )


def _fixed(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _audacity(events: Sequence[TaggedEvent], rows_before: int) -> str:
    """A label a line: start, end and text between tabs (Audacity's manual, Importing and Exporting Labels)."""
    return "".join(
        f"{e.onset_seconds:.6f}\t{e.offset_seconds:.6f}\t{_one_line(e.label)} {e.probability:.2f}\n" for e in events
    )


def _raven(events: Sequence[TaggedEvent], rows_before: int) -> str:
    """A selection table: a header of column names, values separated by tabs (Raven Pro's manual, Selection Tables)."""
    lines = []
    for i, event in enumerate(events, start=rows_before + 1):
        v = _values(event)
        cells = [i, "Spectrogram 1", 1, _fixed(v["onset_seconds"]), _fixed(v["offset_seconds"]), "0.0", _HIGHEST_HZ]
        cells += [_one_line(event.file), _fixed(v["onset_seconds"]), _one_line(event.label)]
        cells += [_fixed(v[name]) for name in ("probability", "global", "local", "fused")]
        lines.append("\t".join(map(str, cells)) + "\n")
    return "".join(lines)


def _rttm(events: Sequence[TaggedEvent], rows_before: int) -> str:
    """NIST's Rich Transcription Time Marked file, type SPEAKER: fields separated by spaces, so that names have none."""
    return "".join(
        f"SPEAKER {_word(Path(e.file).stem)} 1 {e.onset_seconds:.3f} {e.offset_seconds - e.onset_seconds:.3f} "
        f"<NA> <NA> {_word(e.label)} {e.probability:.6f} <NA>\n"
        for e in events
    )


def _jsonl(events: Sequence[TaggedEvent], rows_before: int) -> str:
    return "".join(to_json_text(_values(event)) + "\n" for event in events)


def _one_line(text: str) -> str:
    return shown(re.sub(r"\s+", " ", text))


def _word(text: str) -> str:
    return re.sub(r"\s+", "_", shown(text.strip())) or "_"


def write_parquet(rows: Path, out: Path) -> None:
    """Make a Parquet file of JSON lines, some thousand rows at a time.

    Raises:
        UserError: pyarrow is not installed.
    """
    pyarrow, parquet = import_pyarrow()
    text, number = pyarrow.string(), pyarrow.float64()
    schema = pyarrow.schema([(name, text if name in _TEXTS else number) for name in _COLUMNS])
    with parquet.ParquetWriter(out, schema) as writer:
        for batch in _batches(rows):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))


def import_pyarrow() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet.

    Raises:
        UserError: not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("--format parquet needs pyarrow; pip install 'glat[parquet]', or choose jsonl or csv") from None
    return pyarrow, pyarrow.parquet


def _batches(rows: Path, size: int = 4096) -> Iterator[list[dict[str, Any]]]:
    import json

    with rows.open(encoding="utf-8") as file:
        batch: list[dict[str, Any]] = []
        for line in file:
            batch.append(json.loads(line))
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch
