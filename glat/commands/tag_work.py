"""What `glat tag` makes of each recording: tables, JSON or CSV, events, evidence, pictures."""

import hashlib
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .. import __version__
from ..data.parallel import Part
from ..errors import UserError
from ..files import writing
from ..outputs import PICTURE, Kind, Output
from ..plots.evidence import Evidence
from ..plots.tagged import Drawn, Sketch, plot_tagged
from ..runs.folder import BEST_WEIGHTS, WEIGHTS
from ..runs.thresholds import read_threshold_table
from ..sharpening import SAID
from ..tagging.events import EventRules, TaggedEvent, thresholds_of
from ..tagging.formats import format_of, import_pyarrow
from ..tagging.job import Job
from ..tagging.pipeline import Outcome, Start
from ..tagging.printed import STANDARD_OUTPUT, Printed
from ..tagging.recording import Recording
from ..tagging.tagger import Tagger
from ..tagging.tags import Tags
from ..terminal import Console
from .tag_output import JsonList, TagsCsv, print_tables

if TYPE_CHECKING:
    from .tag import Tag

_MOST_SAID = 20  # lines of a kind at the end
_TAGS = Kind("a table of glat tag", begins="file,class,probability,global,local,crop_class")
_EVENTS = Kind("a job that could go on, as there is no journal beside it", begins=r"(?!)")


def is_folder(path: Path) -> bool:
    """Whether an output is a folder: one that is there, or a name without a suffix."""
    return path.is_dir() or path.suffix == ""


def _digest(command: "Tag") -> str:
    """SHA-256 of the weights' file."""
    path = command.weights
    if path is None:
        assert command.run is not None
        path = command.run / (BEST_WEIGHTS if command.best else WEIGHTS)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Work:
    """What is made of each recording: tables or JSON or CSV, events, evidence, pictures."""

    def __init__(self, command: "Tag", tagger: Tagger, files: list[Path], part: Part) -> None:
        self.command, self.tagger, self.files = command, tagger, files
        self.names = [str(file) for file in files]
        self.top = command.top or 3
        thresholds = tagger.thresholds
        tag_thresholds = tagger.tag_thresholds
        at = tagger.thresholds_from
        if command.threshold is not None:
            at = f"--threshold {command.threshold}"
            thresholds = tag_thresholds = thresholds_of(read_threshold_table(command.threshold), tagger.classes)
        self.thresholds = thresholds
        self.by = f"by {SAID[tagger.events_by]} at {at}"
        self.job = self._open_job(thresholds, part) if command.events is not None else None
        self.rules = None
        if self.job is not None:
            self.rules = EventRules(
                thresholds, command.min_seconds, command.merge_gap_seconds, command.top, tagger.events_by
            )
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
        if command.plot is not None and not is_folder(command.plot):
            self._plot_file = Output("--plot", command.plot, PICTURE, reads, command.overwrite)
        elif command.plot is not None and command.plot.is_dir():
            for index in range(len(files)):
                Output("--plot", self._picture(index), PICTURE, reads, command.overwrite)

    def _open_job(self, thresholds: NDArray[Any], part: Part) -> Job | Printed:
        command, tagger = self.command, self.tagger
        assert command.events is not None
        if command.events == STANDARD_OUTPUT:
            return Printed(command.format or "csv", self.names, sys.stdout)
        in_folder = is_folder(command.events)
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
            "events_by": tagger.events_by,
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

    def __enter__(self) -> "Work":
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
            if self.job is not None:
                self.job.close()
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

    def _picture(self, index: int) -> Path:
        """Of a recording, in the folder of --plot."""
        assert self.command.plot is not None
        return self.command.plot / f"{index:05d}-{self.files[index].stem}.png"

    def _draw(self, drawn: Drawn, index: int) -> None:
        plot = self.command.plot
        assert plot is not None
        if not is_folder(plot):
            self._drawn.append(drawn)
            return
        with writing(f"--plot {plot}"):
            plot.mkdir(parents=True, exist_ok=True)
            plot_tagged([drawn], self._picture(index))

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
            more = f" ({self.job.journal} lists all)" if isinstance(self.job, Job) else ""
            said.print(f"... and {len(self.failed) - _MOST_SAID} more{more}")
        return 1 if self.failed else 0
