"""`glat plot`: pictures of runs: curves, classes, crop starts, event metrics."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..errors import UserError
from ..files import writing
from ..hub.fetch import local
from ..outputs import PICTURE, Output
from ..plots.runs import PARTS, Recorded, plot_runs
from ..plots.style import PICTURES
from ..terminal import Console
from ..text import complain
from ..urls import url_of


@dataclass(frozen=True)
class Plot:
    """Draw the curves of runs, the classes that fusion helps or harms, where the crops start, and PSDS and F1."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of training runs, finished or not, or hf://owner/name."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """A folder for the pictures, or one file for all of them (.png, .pdf, .svg, .jpg). Default: the run's folder."""

    overwrite: bool = False
    """Also replace a file that this command did not write."""

    def __call__(self) -> int:
        """Returns 0, even where a picture could not be drawn; that is reported."""
        if not self.runs:
            raise UserError("no runs; give at least one folder of a run")
        out = self.out
        if out is None:
            if len(self.runs) > 1:
                raise UserError("pictures of several runs have no folder of their own; give --out")
            if url_of(self.runs[0]):
                raise UserError(f"pictures of {url_of(self.runs[0])} have no folder of their own; give --out")
            out = self.runs[0]
        if not out.is_dir():
            if out.suffix not in ("", *PICTURES):
                raise UserError(f"--out {out}: give a folder, or a file that ends in one of {', '.join(PICTURES)}")
            if not out.parent.is_dir():
                raise UserError(f"--out: there is no folder {out.parent}")
        files = [out / f"{name}.png" for name in PARTS] if not out.suffix or out.is_dir() else [out]
        for path in files:
            if path.parent.is_dir():
                Output("--out", path, PICTURE, (), self.overwrite)
        console = Console(soft_wrap=True)
        found = [Recorded.of(local(run), url_of(run)) for run in self.runs]
        for run in found:
            for line in run.missing():
                complain(line)
        with writing(f"--out {out}"):
            if not out.suffix and not out.is_dir():
                out.mkdir(exist_ok=True)
            written = plot_runs(found, out)
        for path in written:
            console.print(path)
        return 0
