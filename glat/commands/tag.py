"""`glat tag`: what sounds in recordings, and which seconds say so."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from .. import machine
from ..errors import UserError
from ..files import to_json_text
from ..inference import for_inference
from ..outputs import PICTURE, Output
from ..plots.style import PICTURES
from ..plots.tagged import plot_tagged
from ..tagging import Tagged, tag_file
from ..terminal import Console, Table
from ..text import CsvWriter, complain
from .trained import TrainedFlags


@dataclass(frozen=True)
class Tag(TrainedFlags):
    """Say what sounds in recordings, and which seconds decided it."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Recordings of any length that soundfile reads."""
    top: int = 3
    """How many tags to print, most likely first."""
    json: bool = False
    """Print JSON."""
    csv: bool = False
    """Print CSV, a line a tag."""
    plot: Path | None = None
    """Draw the log-mel spectrograms with the crops, and the frame scores, into this PNG."""
    overwrite: bool = False
    """Replace a file that is not a result of this command, too."""

    def __call__(self) -> int:
        """Returns 2 when a recording could not be read, after the others are done."""
        return _tag(self)


def _tag(command: Tag) -> int:
    if not command.files:
        raise UserError("no recordings; give at least one file")
    if command.json and command.csv:
        raise UserError("--json and --csv exclude each other; give one")
    if command.top < 1:
        raise UserError(f"--top is {command.top}; give at least 1")
    if command.plot is not None and command.plot.suffix not in PICTURES:
        raise UserError(f"--plot {command.plot}: give a file that ends in one of {', '.join(PICTURES)}")
    plot = None if command.plot is None else Output("--plot", command.plot, PICTURE, command.files, command.overwrite)
    opened, model = command.open()
    device = machine.pick_device()
    model = for_inference(model.to(device))
    tagged, failed = [], []
    for file in command.files:
        try:
            tagged.append(tag_file(file, model, opened.classes, opened.clip_samples, command.top, device))
        except UserError as error:
            failed.append({"file": str(file), "error": str(error)})
            complain(f"error: {error}")
    if command.json:
        print(to_json_text([item.to_json() for item in tagged] + failed, indent=2))
    elif command.csv:
        _print_csv(tagged)
    else:
        _print_tables(tagged)
    if plot is not None and tagged:
        with plot.replaced() as temporary:
            plot_tagged(tagged, temporary)
    return 2 if failed else 0


def _print_csv(tagged: list[Tagged]) -> None:
    writer = CsvWriter(sys.stdout)
    crop = ("crop_class", "crop_start_seconds", "crop_end_seconds", "crop_peak", "crop_probability")
    writer.writerow(("file", "class", "probability", "global", "local", *crop))
    for item in tagged:
        for t in item.tags:
            c = t.decided_by
            scores = (f"{x:.6f}" for x in (t.probability, t.global_, t.local_))
            times = (c.label, f"{c.start_seconds:.4f}", f"{c.end_seconds:.4f}", f"{c.peak:.6f}")
            writer.writerow((item.file, t.label, *scores, *times, f"{t.crop_probability:.6f}"))


def _print_tables(tagged: list[Tagged]) -> None:
    console = Console()
    for item in tagged:
        console.print(f"{item.file}  ({item.seconds:.1f} s)", soft_wrap=True)
        table = Table()
        for name in ("tag", "probability", "global", "local", "decided by"):
            table.add_column(name, justify="left" if name in ("tag", "decided by") else "right")
        for t in item.tags:
            scores = (f"{x:.3f}" for x in (t.probability, t.global_, t.local_))
            where = f"{t.decided_by.start_seconds:.2f}-{t.decided_by.end_seconds:.2f} s ({t.crop_probability:.3f})"
            table.add_row(t.label, *scores, where)
        console.print(table)
        crops = Table("crop of", "seconds", "peak", "peak at")
        for c in item.crops:
            times = f"{c.start_seconds:.2f}-{c.end_seconds:.2f}"
            crops.add_row(c.label, times, f"{c.peak:.3f}", f"{c.peak_seconds:.2f} s")
        console.print(crops)
