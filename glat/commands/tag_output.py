"""What `glat tag` prints of recordings, and what it writes of their tags."""

import math
from typing import Any, TextIO

from ..files import to_json_text
from ..tagging.tags import Tags
from ..terminal import Console, Table, Text
from ..text import CsvWriter

_MOST_CROPS = 10  # in a table

_CSV_COLUMNS = (
    *("file", "class", "probability", "global", "local"),
    *("crop_class", "crop_start_seconds", "crop_end_seconds", "crop_peak", "crop_probability"),
)


def print_tables(console: Console, tags: Tags, top: int) -> None:
    """A table of the likeliest tags, and one of the crops: of several windows, of the highest peaks."""
    console.print(f"{tags.file}  ({tags.seconds:.1f} s)", soft_wrap=True)
    is_wide = console.width >= 66
    table = Table()
    wide, narrow = ("tag", "probability", "global", "local", "decided by"), ("tag", "fused", "decided by")
    for name in wide if is_wide else narrow:
        table.add_column(name, justify="left" if name in ("tag", "decided by") else "right", no_wrap=name != "tag")
    for t in tags.top(top):
        streams = (t.probability, t.global_, t.local_) if is_wide else (t.probability,)
        scores = ("-" if math.isnan(x) else f"{x:.3f}" for x in streams)
        where = Text("-")
        if t.decided_by is not None:
            times = f"{t.decided_by.start_seconds:.2f}-{t.decided_by.end_seconds:.2f} s"
            where = Text(f"{times}{' ' if is_wide else chr(10)}({t.crop_probability:.3f})")
        table.add_row(t.label, *scores, where)
    console.print(table)
    shown = list(tags.crops)
    if len(shown) > max(_MOST_CROPS, tags.crops_per_window):
        shown = sorted(shown, key=lambda c: -c.peak)[:_MOST_CROPS]
    crops = Table("crop of")
    for name in ("seconds", "peak", "peak at"):
        crops.add_column(name, no_wrap=True)
    for c in shown:
        crops.add_row(c.label, f"{c.start_seconds:.2f}-{c.end_seconds:.2f}", f"{c.peak:.3f}", f"{c.peak_seconds:.2f} s")
    console.print(crops)
    if len(shown) < len(tags.crops):
        console.print(f"the {len(shown)} highest of {len(tags.crops)} crops; --json lists all", soft_wrap=True)


class JsonList:
    """Prints a JSON list item by item, as `to_json_text` would print all of it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.count = stream, 0

    def add(self, item: dict[str, Any]) -> None:
        """Print one more item."""
        lines = to_json_text(item, indent=2).splitlines()
        self.stream.write(("[\n" if self.count == 0 else ",\n") + "\n".join("  " + line for line in lines))
        self.stream.flush()
        self.count += 1

    def end(self) -> None:
        """Print what closes the list."""
        self.stream.write("\n]\n" if self.count else "[]\n")


class TagsCsv:
    """A CSV with a line a tag: its probabilities, and the crop that decided it."""

    def __init__(self, stream: TextIO) -> None:
        self.writer = CsvWriter(stream)
        self.writer.writerow(_CSV_COLUMNS)

    def add(self, tags: Tags, top: int) -> None:
        """Write the likeliest tags of a recording."""
        for t in tags.top(top):
            scores = ("" if math.isnan(x) else f"{x:.6f}" for x in (t.probability, t.global_, t.local_))
            c = t.decided_by
            crop = ["", "", "", "", ""]
            if c is not None:
                times = (f"{c.start_seconds:.4f}", f"{c.end_seconds:.4f}")
                crop = [c.label, *times, f"{c.peak:.6f}", f"{t.crop_probability:.6f}"]
            self.writer.writerow((tags.file, t.label, *scores, *crop))
