"""`glat costs`: parameters and FLOPs of every backbone, alone and in GL-AT."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from ..backbones import BACKBONES
from ..costs import Costs, count_costs, markdown
from ..errors import UserError
from ..files import to_json_text
from ..outputs import Kind, Output
from ..terminal import Console, Table

PAGE = Kind("a page of glat costs", begins="# What GL-AT costs")


@dataclass(frozen=True)
class CountCosts:
    """Count parameters and FLOPs of every backbone, alone and in GL-AT, without running it."""

    width: float = 1.0
    """Factor on the number of channels; 1: the paper's networks."""
    num_classes: int = 527
    """Number of classes L; AudioSet has 527."""
    num_crops: int = 5
    """Crops per clip, N."""
    crop_seconds: float = 3.0
    """Length of a crop in seconds, τ."""
    clip_seconds: float = 10.0
    """Length of a clip in seconds, T0."""
    markdown: Path | None = None
    """Write the table into this Markdown file instead of printing it."""
    json: bool = False
    """Print JSON."""
    overwrite: bool = False
    """Also replace a file that this command did not write."""

    def __call__(self) -> int:
        """Returns 0."""
        if not math.isfinite(self.width):
            raise UserError(f"--width is {self.width}; wanted a positive factor, such as 1 or 0.25")
        output = None if self.markdown is None else Output("--markdown", self.markdown, PAGE, (), self.overwrite)
        counted = [
            count_costs(name, self.width, self.num_classes, self.num_crops, self.crop_seconds, self.clip_seconds)
            for name in BACKBONES
        ]
        if self.json:
            print(to_json_text([asdict(c) for c in counted], indent=2))
        if output is None and not self.json:
            self._print(counted)
        page = markdown(counted, self.command(), self.width, self.clip_seconds, self.num_classes)
        if output is not None:
            with output.replaced() as temporary:
                temporary.write_text(page, encoding="utf-8")
        return 0

    def _print(self, counted: list[Costs]) -> None:
        """Print a table of 80 columns; --markdown has more."""
        console = Console()
        console.print(
            f"one clip of {self.clip_seconds:g} s, {self.num_crops} crops of {self.crop_seconds:g} s, width "
            f"{self.width:g}, {self.num_classes} classes; GFLOP unless said"
        )
        table = Table()
        table.add_column("backbone", overflow="fold", min_width=max(len(c.backbone) for c in counted))
        for column in ("weights", "GL-AT's", "clip", "crop", "GL-AT", "ratio"):
            table.add_column(column, justify="right")
        for c in counted:
            parameters = (f"{n / 1e6:.2f} M" for n in (c.parameters, c.parameters_two_streams))
            flops = (f"{n / 1e9:.2f}" for n in (c.clip_flops, c.crop_flops, c.two_stream_flops))
            table.add_row(c.backbone, *parameters, *flops, f"{c.times_alone:.2f}×")
        console.print(table)

    def command(self) -> str:
        """The command line that gives this page."""
        names = ("width", "num_classes", "num_crops", "crop_seconds", "clip_seconds")
        changed = (name for name in names if getattr(self, name) != getattr(type(self), name))
        return " ".join(("glat costs", *(f"--{name.replace('_', '-')} {getattr(self, name):g}" for name in changed)))
