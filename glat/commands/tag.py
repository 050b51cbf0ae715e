"""`glat tag`: what sounds in recordings, and which seconds say so."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from ..config import CropPooling
from ..data.parallel import Part
from ..errors import UserError
from ..hub.fetch import local
from ..plots.style import PICTURES
from ..sharpening import EventsBy
from ..tagging.formats import FormatName
from ..tagging.listing import list_recordings
from ..tagging.loading import needs_normaliser
from ..tagging.printed import STANDARD_OUTPUT
from ..tagging.reading import FileSource
from ..tagging.tagger import OVERLAP, Tagger
from ..terminal import Console
from .heard import load_tagger
from .tag_progress import TagProgress, audio_time, clock
from .tag_work import Work, is_folder

_MOST_DRAWN = 20  # recordings in one picture


@dataclass(frozen=True)
class Tag:
    """Say what sounds in recordings, and which seconds decided it."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Recordings, folders (searched at any depth), CSVs with a column file, and lists (.txt, one path per line)."""
    run: Path | None = None
    """The folder of a training run, or hf://owner/name[@revision] on the Hugging Face Hub."""
    best: bool = False
    """The weights of the run's best evaluation, in place of those of its last checkpoint."""
    weights: Path | None = None
    """In place of a run: a checkpoint of PANNs (.pth) or TALNet (.pt), or hf://owner/name/file.safetensors of one, used
    as both streams."""
    labels: Path | None = None
    """Class names for --weights: AudioSet's class_labels_indices.csv, or a text file with one name per line."""
    streams: Literal["both", "global"] = "both"
    """global: the global stream alone, no crops."""
    crop_pooling: CropPooling | None = None
    """How the crops' probabilities become the local stream's score; default: as in training."""
    overlap: float = OVERLAP
    """Overlap of neighbouring windows, as a share of a window from 0 to 0.9. A window is as long as a training clip."""
    batch_size: int | None = None
    """Windows per batch; default: 8 on a CPU, 32 on a GPU."""
    amp: bool = False
    """Mixed precision, where this device has it."""
    workers: int = 2
    """Recordings to read at the same time."""
    top: int | None = None
    """Number of tags to print, likeliest first; default: 3. With --events: keep only the so many likeliest classes."""
    json: bool = False
    """Print JSON: tags and crops."""
    csv: Path | None = None
    """Write one line per tag into this CSV file."""
    plot: Path | None = None
    """Draw the recordings into this picture, or one picture per recording into this folder."""
    events: Path | None = None
    """Write when each class sounds into this file, or one file per recording into this folder; - prints it. The same
    command continues a job that was stopped, but for what is printed."""
    format: FormatName | None = None
    """Format of --events; default: csv for -, else by the suffix, .csv, .jsonl, .rttm, .parquet, .labels.txt
    (Audacity), .selections.txt (Raven)."""
    threshold: str | None = None
    """Least frame probability of an event: a number, or a CSV with the columns class and threshold. Default: what
    `glat evaluate --thresholds` found for these frames of the run, else 0.5."""
    events_by: EventsBy | None = None
    """Which frame probabilities events are found by: frames, as the global stream says them, or sharpened, averaged
    with what both streams say of the clip and of each crop. Default: sharpened, but
    frames where the run keeps thresholds of these alone, and of weights that were trained on no crops."""
    min_seconds: float = 0.0
    """Leave out events shorter than this."""
    merge_gap_seconds: float = 0.0
    """Merge events of a class that are at most this far apart."""
    evidence: Path | None = None
    """Write the crops that decided into this folder, as sound files with a page to see and hear them."""
    evidence_top: int = 10
    """Crops to keep per class, the best ones."""
    part: str | None = None
    """3/16: every 16th recording, starting with the third, for 16 jobs side by side."""
    overwrite: bool = False
    """Replace a file that is not a result of this command, too."""
    allow_code: str | None = None
    """Modules whose code may run, separated by commas: of a run that was trained with a network of your own (--backbone
    module:factory). Name only code that you trust; the module is found where Python looks, then in this folder."""

    def __call__(self) -> int:
        """Returns 1 when a recording could not be read, after the others are done."""
        return _tag(self)


def _tag(command: Tag) -> int:
    _check(command)
    said = Console(stderr=True, soft_wrap=True)
    part = Part.parse(command.part) if command.part else Part()
    listed = list_recordings(command.files)
    for skip in listed.skipped:
        said.print(f"left out: {skip.file}: {skip.reason}")
    files = part.of(listed.files)
    if not files:
        raise UserError(f"--part {command.part}: there are only {len(listed.files)} recordings; use fewer parts")
    _check_plot(command, len(files))
    # Once: what the hub holds may change while this job runs.
    command = replace(
        command, run=command.run and local(command.run), weights=command.weights and local(command.weights)
    )
    tagger = _load(command, files, said)
    work = Work(command, tagger, files, part)
    if not work.left:
        said.print(f"{command.events} is done: {len(files)} recordings, {work.events_written} events")
        return work.report_failed(said)
    sources = [FileSource(file) for file in files]
    with work, TagProgress(said, files[len(files) - work.left :]) as progress:
        try:
            for outcome in tagger.hear(
                sources, work.make, threads=command.workers, start=work.start, report=progress.add
            ):
                with progress.hidden():
                    work.take(outcome)
                progress.file_done()
        except KeyboardInterrupt:
            if command.events not in (None, STANDARD_OUTPUT):
                said.print("the same command goes on from here")
            raise
    seconds = progress.heard / progress.rate if progress.heard else 0.0
    if not command.json:
        rate = f"{audio_time(progress.heard)} in {clock(seconds)}, {progress.rate:.0f}× real time"
        wrote = []
        if work.job:
            where = "" if work.job.out == STANDARD_OUTPUT else f" in {work.job.out}"
            wrote.append(f"{work.events_written} events{where}, {work.by}")
        wrote += [f"crops that decided: {work.page}"] if work.page else []
        heard = len(files) - len(work.failed)
        of = "" if heard == len(files) else f" of {len(files)}"
        said.print("; ".join([f"{heard}{of} recording{'s' * (len(files) != 1)}, {rate}", *wrote]))
    return work.report_failed(said)


def _check(command: Tag) -> None:
    if (command.run is None) == (command.weights is None):
        raise UserError("a model is wanted: give either --run, a run's folder, or --weights, a checkpoint")
    if command.labels is not None and command.weights is None:
        raise UserError("--labels names the classes of --weights; a run knows its own")
    if command.best and command.run is None:
        raise UserError("--best is of a run; leave it out with --weights")
    for flag, least in (("top", 1), ("batch_size", 1), ("workers", 1), ("evidence_top", 1)):
        value = getattr(command, flag)
        if value is not None and value < least:
            raise UserError(f"--{flag.replace('_', '-')} is {value}; give at least {least}")
    for flag in ("min_seconds", "merge_gap_seconds"):
        if not 0 <= getattr(command, flag) < float("inf"):
            raise UserError(f"--{flag.replace('_', '-')} is {getattr(command, flag)}; give seconds, 0 or more")
    if command.json and command.csv:
        raise UserError("--json and --csv exclude each other; give one")
    if command.events is None and command.format is not None:
        raise UserError(f"--format {command.format} is of events; give --events, where to write them")
    if command.events is not None and (command.json or command.csv is not None):
        raise UserError("--events goes on where it was stopped, and --json and --csv do not; give them in another call")


def _check_plot(command: Tag, recordings: int) -> None:
    plot = command.plot
    if plot is None or is_folder(plot):
        return
    if plot.suffix not in PICTURES:
        raise UserError(f"--plot {plot}: give a folder, or a file that ends in one of {', '.join(PICTURES)}")
    if recordings > _MOST_DRAWN:
        raise UserError(
            f"--plot {plot}: {recordings} recordings in one picture cannot be read; give a folder: {plot.stem}/"
        )
    if command.events is not None:
        raise UserError(f"--plot {plot}: with --events, which may go on in another call, give a folder: {plot.stem}/")


def _load(command: Tag, files: list[Path], said: Console) -> Tagger:
    source = command.run or command.weights
    assert source is not None
    estimated = command.weights is not None and needs_normaliser(command.weights)
    tagger = load_tagger(command, source, files if estimated else ())
    if command.weights is not None:
        how = "as the global stream alone" if command.streams == "global" else "as both streams"
        said.print(f"{source} {how}, without training" + ("; normaliser estimated from these recordings" * estimated))
    return tagger
