"""`glat tag`: what sounds in recordings, and which seconds say so."""

import hashlib
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from numpy.typing import NDArray

from .. import __version__, machine
from ..config import CropPooling
from ..data.parallel import Part
from ..errors import UserError
from ..files import writing
from ..outputs import PICTURE, Kind, Output
from ..plots.evidence import Evidence
from ..plots.style import PICTURES
from ..plots.tagged import Drawn, Sketch, plot_tagged
from ..runs.folder import BEST_WEIGHTS, WEIGHTS
from ..runs.thresholds import read_threshold_table
from ..tagging.events import EventRules, TaggedEvent, thresholds_of
from ..tagging.formats import FormatName, format_of, import_pyarrow
from ..tagging.job import Job
from ..tagging.listing import list_recordings
from ..tagging.loading import load, needs_normaliser
from ..tagging.pipeline import Outcome, Start
from ..tagging.reading import FileSource
from ..tagging.recording import Recording
from ..tagging.tagger import OVERLAP, Tagger
from ..tagging.tags import Tags
from ..terminal import Console
from .tag_output import JsonList, TagsCsv, print_tables
from .tag_progress import TagProgress, audio_time, clock

_MOST_DRAWN = 20  # recordings in one picture
_MOST_SAID = 20  # lines of a kind at the end
_TAGS = Kind("a table of glat tag", begins="file,class,probability,global,local,crop_class")
_EVENTS = Kind("a job that could go on, as there is no journal beside it", begins=r"(?!)")


@dataclass(frozen=True)
class Tag:
    """Say what sounds in recordings, and which seconds decided it."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Recordings; folders, searched at any depth; CSVs with a column file; lists (.txt) with a path a line."""
    run: Path | None = None
    """The folder of a training run."""
    best: bool = False
    """The weights of the run's best evaluation, in place of those of its last checkpoint."""
    weights: Path | None = None
    """In place of a run: a checkpoint of PANNs (.pth) or TALNet (.pt), used as both streams."""
    labels: Path | None = None
    """The names of the checkpoint's classes: AudioSet's class_labels_indices.csv, or a text file with a name a line."""
    streams: Literal["both", "global"] = "both"
    """global: hear the recording alone, without crops."""
    crop_pooling: CropPooling | None = None
    """What makes the local stream's score of its crops' probabilities; without it, what the run was trained with."""
    overlap: float = OVERLAP
    """Share of a window that the next one hears again, from 0 to 0.9. A window is as long as the clips of training."""
    batch_size: int | None = None
    """Windows at a time; without it 8 on a CPU and 32 on a GPU."""
    amp: bool = False
    """Mixed precision, where this device has it."""
    workers: int = 2
    """Recordings that are read at once."""
    top: int | None = None
    """How many of the likeliest tags to print, without it 3. With --events: only the events of so many classes."""
    json: bool = False
    """Print JSON: tags and crops."""
    csv: Path | None = None
    """Write a line a tag into this CSV file."""
    plot: Path | None = None
    """Draw the recordings into this picture; or into a folder, a picture each."""
    events: Path | None = None
    """Write when each class sounds into this file; or into a folder, a file a recording. With the same command, a job
    that was stopped goes on."""
    format: FormatName | None = None
    """How --events are written; without it, by the suffix: .csv, .jsonl, .rttm, .parquet, .labels.txt (Audacity),
    .selections.txt (Raven)."""
    threshold: str | None = None
    """The frame probability from which on a class sounds: a number, or a CSV with the columns class and threshold.
    Without it, what `glat evaluate --thresholds` found for the run, else 0.5."""
    min_seconds: float = 0.0
    """Leave out shorter events."""
    merge_gap_seconds: float = 0.0
    """Make one event of two of a class that are at most this far apart."""
    evidence: Path | None = None
    """Write the crops that decided, as sounds with a page to look through them, into this folder."""
    evidence_top: int = 10
    """The most crops of a class."""
    part: str | None = None
    """3/16: only every 16th recording, from the third on, for 16 jobs side by side."""
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
    tagger = _load(command, files, said)
    work = _Work(command, tagger, files, part)
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
            if command.events is not None:
                said.print("the same command goes on from here")
            raise
    seconds = progress.heard / progress.rate if progress.heard else 0.0
    if not command.json:
        rate = f"{audio_time(progress.heard)} in {clock(seconds)}, {progress.rate:.0f}× real time"
        wrote = [f"{work.events_written} events in {work.job.out}"] if work.job else []
        wrote += [f"crops that decided: {work.page}"] if work.page else []
        said.print("; ".join([f"{len(files)} recording{'s' * (len(files) != 1)}, {rate}", *wrote]))
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
    if plot is None or _is_folder(plot):
        return
    if plot.suffix not in PICTURES:
        raise UserError(f"--plot {plot}: give a folder, or a file that ends in one of {', '.join(PICTURES)}")
    if recordings > _MOST_DRAWN:
        raise UserError(
            f"--plot {plot}: {recordings} recordings in one picture cannot be read; give a folder: {plot.stem}/"
        )
    if command.events is not None:
        raise UserError(f"--plot {plot}: with --events, which may go on in another call, give a folder: {plot.stem}/")


def _is_folder(path: Path) -> bool:
    return path.is_dir() or path.suffix == ""


def _load(command: Tag, files: list[Path], said: Console) -> Tagger:
    source = command.run or command.weights
    assert source is not None
    device = machine.pick_device()
    precision = machine.pick_precision(command.amp, device)
    estimated = command.weights is not None and needs_normaliser(command.weights)
    tagger = load(
        source,
        labels=command.labels,
        best=command.best,
        crop_pooling=command.crop_pooling,
        streams=command.streams,
        overlap=command.overlap,
        device=device,
        dtype=precision.dtype or torch.float32,
        batch_size=command.batch_size,
        allow_code=command.allow_code.split(",") if command.allow_code else (),
        normalise_with=files if estimated else (),
    )
    if command.weights is not None:
        how = "as the global stream alone" if command.streams == "global" else "as both streams"
        said.print(f"{source} {how}, without training" + ("; normaliser estimated from these recordings" * estimated))
    return tagger


def _digest(command: Tag) -> str:
    """SHA-256 of the weights' file."""
    path = command.weights
    if path is None:
        assert command.run is not None
        path = command.run / (BEST_WEIGHTS if command.best else WEIGHTS)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Work:
    """What is made of each recording: tables or JSON or CSV, events, evidence, pictures."""

    def __init__(self, command: Tag, tagger: Tagger, files: list[Path], part: Part) -> None:
        self.command, self.tagger, self.files = command, tagger, files
        self.names = [str(file) for file in files]
        self.top = command.top or 3
        thresholds = tagger.thresholds
        tag_thresholds = tagger.tag_thresholds
        if command.threshold is not None:
            thresholds = tag_thresholds = thresholds_of(read_threshold_table(command.threshold), tagger.classes)
        self.thresholds = thresholds
        self.job = self._open_job(thresholds, part) if command.events is not None else None
        self.rules = None
        if self.job is not None:
            self.rules = EventRules(thresholds, command.min_seconds, command.merge_gap_seconds, command.top)
        self.evidence: Evidence | None = None
        if command.evidence is not None:
            self.evidence = Evidence(
                part.named(command.evidence),
                command.evidence_top,
                tag_thresholds,
                tagger.classes,
                tagger.sample_rate_hz,
                tagger.crop_samples,
                going_on=self.job is not None and bool(self.job.done),
            )
        done = self.job.done if self.job else []
        self.start = Start.after([d.windows for d in done], tagger.batch_size)
        self.left = len(files) - len(done)
        self.page: Path | None = None
        self.remarks: list[str] = []
        self.failed: list[tuple[str, str]] = [(d.file, d.error) for d in done if d.error is not None]
        self._sketches: dict[int, Sketch] = {}
        self._gathered: dict[int, Any] = {}
        self._drawn: list[Drawn] = []
        self._open = ExitStack()
        self._json = JsonList(sys.stdout) if command.json else None
        self._csv: TagsCsv | None = None
        reads = (*command.files, *files)
        self._csv_file = self._plot_file = None
        if command.csv is not None:
            self._csv_file = Output("--csv", command.csv, _TAGS, reads, command.overwrite)
        if command.plot is not None and not _is_folder(command.plot):
            self._plot_file = Output("--plot", command.plot, PICTURE, reads, command.overwrite)

    def _open_job(self, thresholds: NDArray[Any], part: Part) -> Job:
        command, tagger = self.command, self.tagger
        assert command.events is not None
        in_folder = _is_folder(command.events)
        if in_folder and command.format is None:
            raise UserError(f"--events {command.events} is a folder; say how its files are written with --format")
        name = format_of(command.events, command.format)
        if name == "parquet":
            import_pyarrow()
        settings = {
            "glat": __version__,
            "model": str(command.run or command.weights),
            "weights": _digest(command),
            "best": command.best,
            "streams": command.streams,
            "crop_pooling": command.crop_pooling,
            "overlap": command.overlap,
            "batch_size": tagger.batch_size,
            "amp": command.amp,
            "thresholds": [round(float(t), 6) for t in thresholds],
            "min_seconds": command.min_seconds,
            "merge_gap_seconds": command.merge_gap_seconds,
            "top": command.top,
            "part": command.part,
            "evidence": None if command.evidence is None else str(command.evidence),
        }
        out = command.events if in_folder else part.named(command.events)
        if not in_folder and not Job.begun(out):
            Output("--events", out, _EVENTS, (*command.files, *self.files), command.overwrite)
        return Job(out, name, settings, self.names, in_folder=in_folder, part=part)

    def __enter__(self) -> "_Work":
        if self._csv_file is not None:
            temporary = self._open.enter_context(self._csv_file.replaced())
            self._csv = TagsCsv(self._open.enter_context(temporary.open("w", newline="", encoding="utf-8")))
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for gathered in self._gathered.values():  # of recordings that are not done
            gathered.close()
        try:
            if kind is None:
                self._finish()
        finally:
            self._open.__exit__(kind, error, trace)

    def make(self, index: int) -> Recording:
        """What gathers the windows of a recording."""
        sinks: list[Any] = []
        sketch = None
        if self.command.plot is not None:
            sketch = self._sketches[index] = Sketch(self.tagger.grid)
            sinks.append(sketch)
        if self.evidence is not None:
            self._gathered[index] = self.evidence.gather(index, self.names[index])
            sinks.append(self._gathered[index])

        def every(*arguments: Any) -> None:
            for sink in sinks:
                sink(*arguments)

        return self.tagger.recording(
            self.names[index],
            rules=self.rules,
            frame_sink=sketch.frames if sketch else None,
            window_sink=every if sinks else None,
            with_crops=self.job is None or self.command.plot is not None,
        )

    def take(self, outcome: Outcome) -> None:
        """Write what is said of a recording that is done."""
        index, sketch = outcome.index, self._sketches.pop(outcome.index, None)
        gathered = self._gathered.pop(index, None)
        events: list[TaggedEvent] = []
        self.remarks += [f"{self.names[index]}: {remark}" for remark in outcome.remarks]
        if outcome.recording is None:
            self.failed.append((self.names[index], str(outcome.error)))
            if gathered is not None:
                gathered.close()
        else:
            tags, events = outcome.recording.finish(outcome.samples, self.thresholds)
            self._say(tags)
            if sketch is not None:
                self._draw(sketch.done(tags, self.top), index)
            if self.evidence is not None and gathered is not None:
                with writing(f"--evidence {self.command.evidence}"):
                    self.evidence.keep(gathered)
        if self.job is not None:
            with writing(f"--events {self.job.out}"):
                self.job.commit(events, outcome.windows, None if outcome.error is None else str(outcome.error))

    def _say(self, tags: Tags) -> None:
        if self._json is not None:
            self._json.add(tags.to_json(self.top))
        elif self._csv is not None:
            self._csv.add(tags, self.top)
        elif self.job is None:
            print_tables(Console(), tags, self.top)

    def _draw(self, drawn: Drawn, index: int) -> None:
        plot = self.command.plot
        assert plot is not None
        if not _is_folder(plot):
            self._drawn.append(drawn)
            return
        with writing(f"--plot {plot}"):
            plot.mkdir(parents=True, exist_ok=True)
            plot_tagged([drawn], plot / f"{index:05d}-{self.files[index].stem}.png")

    def _finish(self) -> None:
        if self._json is not None:
            for file, error in self.failed:
                self._json.add({"file": file, "error": error})
            self._json.end()
        if self._drawn and self._plot_file is not None:
            with self._plot_file.replaced() as temporary:
                plot_tagged(self._drawn, temporary)
        if self.job is not None:
            with writing(f"--events {self.job.out}"):
                self.job.finish()
        if self.evidence is not None:
            with writing(f"--evidence {self.command.evidence}"):
                self.page = self.evidence.finish()

    @property
    def events_written(self) -> int:
        """By this process and those before it."""
        return self.job.rows if self.job else 0

    def report_failed(self, said: Console) -> int:
        """List what could not be read; the exit status."""
        for remark in self.remarks[:_MOST_SAID]:
            said.print(f"note: {remark}")
        if len(self.remarks) > _MOST_SAID:
            said.print(f"... and {len(self.remarks) - _MOST_SAID} more; glat check-data lists all")
        for _, error in self.failed[:_MOST_SAID]:
            said.print(f"error: {error}")
        if len(self.failed) > _MOST_SAID:
            more = f" ({self.job.journal} lists all)" if self.job else ""
            said.print(f"... and {len(self.failed) - _MOST_SAID} more{more}")
        return 1 if self.failed else 0
