"""`glat export`: a trained model as a file that other programs run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from ..config import CropPooling
from ..export.check import TOLERANCE, Parity
from ..export.onnx import OPSET
from ..export.write import output
from ..hub.fetch import local
from ..outputs import read_by
from ..tagging.listing import list_recordings
from ..tagging.loading import load, needs_normaliser
from ..terminal import Console, Table
from ..text import size


@dataclass(frozen=True)
class Export:
    """Write a trained model as one file for other programs (.onnx, .pt2), compared with the run."""

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The folder of a training run, or a checkpoint of PANNs (.pth) or TALNet (.pt), used as both streams; hf://owner/name
    of either on the Hugging Face Hub."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """OUT.onnx for ONNX Runtime and others, or OUT.pt2 for torch.export.load, where glat need not be installed. It is
    written only where it says what the run says, and never over a file of another kind."""
    best: bool = False
    """The weights of the run's best evaluation, in place of those of its last checkpoint."""
    labels: Path | None = None
    """Class names for a checkpoint: AudioSet's class_labels_indices.csv, or a text file with one name per line."""
    crop_pooling: CropPooling | None = None
    """How the crops' probabilities become the local stream's score; default: as in training."""
    check: tuple[Path, ...] = ()
    """Compare on these recordings: files, folders, CSVs with a column file, lists (.txt). Default: those of the run,
    where they are at hand, else synthesised soundscapes."""
    tolerance: float = TOLERANCE
    """Largest difference of a probability from the run's."""
    allow_code: str | None = None
    """Modules whose code may run, separated by commas: of a run that was trained with a network of your own (--backbone
    module:factory). Name only code that you trust; the module is found where Python looks, then in this folder."""
    overwrite: bool = False
    """Replace a file that this command did not write, too."""

    def __call__(self) -> int:
        """Returns 0."""
        return _export(self)


def _export(command: Export) -> int:
    source = local(command.source)
    output("OUT", command.out, command.overwrite, read_by(source, command.labels, command.check))
    recordings = list_recordings(command.check).files if command.check else ()
    estimated = source.is_file() and needs_normaliser(source)
    tagger = load(
        source,
        labels=command.labels,
        best=command.best,
        crop_pooling=command.crop_pooling,
        device=torch.device("cpu"),
        allow_code=command.allow_code.split(",") if command.allow_code else (),
        normalise_with=recordings if estimated else (),
        events_by="frames",  # a file has no others
    )
    parity = tagger.export(command.out, check=recordings, tolerance=command.tolerance, overwrite=command.overwrite)
    console = Console(soft_wrap=True)
    kind = f"ONNX, opset {OPSET}" if command.out.suffix == ".onnx" else f"torch.export, torch {torch.__version__}"
    console.print(f"format      {kind}")
    console.print(
        f"input       wave [B, {tagger.grid.clip_samples}] float32: B clips of {tagger.clip_seconds:g} s at "
        f"{tagger.sample_rate_hz} Hz, full scale ±1"
    )
    console.print(f"classes     {len(tagger.classes)}; their names, thresholds and all else are in the metadata")
    for line in lines(parity):
        console.print(line)
    console.print(table(parity))
    console.print(f"wrote {command.out}, {size(command.out.stat().st_size)}")
    return 0


def lines(parity: Parity) -> list[str]:
    """What was compared, and what became of the crops."""
    same = parity.crops - parity.ties
    crops = f"crops       {same} of {parity.crops} are the run's"
    if parity.ties:
        crops += f"; the other {parity.ties} are at ties, where two scores differ by rounding alone"
    return [f"compared    {parity.sounds}", crops]


def table(parity: Parity) -> Table:
    """The largest differences by output."""
    found = Table("output", "largest difference from the run", title_justify="left")
    for name, apart in parity.largest.items():
        found.add_row(name, f"{apart:.1e}")
    return found
