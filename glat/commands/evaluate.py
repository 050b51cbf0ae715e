"""`glat evaluate`: Table 2 of a run with intervals, on the run's own evaluation clips or on other recordings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from .. import machine
from ..config import DataConfig
from ..data import ClipSource, Skipped, fingerprint, load, load_for_evaluation
from ..data.labels import relabelled
from ..data.loading.batches import Loading
from ..data.packs.read import is_pack
from ..errors import UserError
from ..evaluation.events.counts import sed_scores_eval
from ..evaluation.events.report import EventReport, event_report
from ..evaluation.report import ScoreReport, independent, report
from ..evaluation.score import Scored, remarks, score
from ..evaluation.thresholds import best_thresholds
from ..files import to_json_text, writing
from ..hub.fetch import parse
from ..outputs import PICTURE, Kind, Output, read_by
from ..plots.style import PICTURES
from ..runs import folder as run
from ..runs.thresholds import Thresholds, thresholds_of_weights, write_thresholds
from ..sharpening import SAID, EventsBy
from ..tagging.events import thresholds_of
from ..terminal import Console, Table
from ..text import CsvWriter
from ..urls import url_of
from .trained import TrainedFlags

_MOST_SHOWN = 20  # classes whose thresholds are printed
_TABLE = Kind("a table of glat evaluate", begins="class,clips,AP_global")
_FOUND = Kind("a JSON of glat evaluate", begins=r'\{\s*"run":[^{}]*"best":[^{}]*"crop_pooling":')


@dataclass(frozen=True)
class Evaluate(TrainedFlags):
    """Score a run: mAP, mAUC and d' of the global stream, the local stream and their fusion, with 95 % intervals."""

    data: Path | None = None
    """Evaluate on these recordings: what train.py's --data takes, with times or without. Default: the run's own
    evaluation clips."""
    labels: Path | None = None
    """AudioSet's class_labels_indices.csv, for packs that name no classes."""
    file_column: str = "file"
    """Column of the CSV or TSV with the file names."""
    label_column: str = "label"
    """Column of the CSV or TSV with the labels."""
    label_separator: str = ";"
    """Separator between several labels of one file in the CSV or TSV."""
    label_threshold: float | None = None
    """Soft labels of packs count as present from this probability on. Default: the run's."""
    audio: Path | None = None
    """Folder of the files that a table of --data names. Default: the table's own."""
    negatives: Path | None = None
    """Recordings in which no class sounds, beside those of --data: a folder or a list of files."""
    windows: Literal["auto", "on", "off"] = "auto"
    """Hear long recordings of --data whole, in windows as long as the run's clips; off: their beginnings. auto: on
    where times are labelled, and where more than a third of the audio would go unheard."""
    min_overlap: float | None = None
    """Seconds that an event must sound in a window to be a label of it. Default: the run's."""
    mix: bool = False
    """Mix soundscapes from the recordings of --data, each of which is an isolated event."""
    eval_folds: tuple[str, ...] = ()
    """Use only these folds of --data."""
    eval_clips: int = 200
    """Number of soundscapes to mix."""
    clip_seconds: float | None = None
    """Pad or cut each clip of --data to this length in seconds. Default: the run's."""
    batch_size: int | None = None
    """Clips per batch. Default: the run's."""
    amp: bool = False
    """Use mixed precision where this device supports it."""
    resamples: int = 1000
    """Bootstrap resamples of the clips, for the intervals; 0: no intervals."""
    seed: int = 0
    """Seed for the resamples and for the soundscapes of --mix."""
    csv: Path | None = None
    """Write this CSV file, a row per class: clips, and AP and AUC of each stream with intervals; where the times of
    events are known, their number, PSDS and F1."""
    json: Path | None = None
    """Write all results into this JSON file."""
    thresholds: bool = False
    """Find the thresholds that maximise F1 of each class on these clips, and store them in the run's folder, where
    glat tag reads them."""
    events: bool = True
    """Where the times of events are known, also print PSDS and F1 of frames, crops and both (needs glat[events])."""
    plot: Path | None = None
    """Draw these into this picture: PSD-ROC curves, and the PSDS of every class."""
    overwrite: bool = False
    """Also replace a file that this command did not write."""

    def __call__(self) -> int:
        """Returns 0."""
        return _evaluate(self)


def _evaluate(command: Evaluate) -> int:
    _check(command)
    recorded = command.recorded()
    table, everything, picture = _outputs(command, recorded)
    opened, model = command.open(recorded)
    console = Console(soft_wrap=True)
    rate = model.global_.sample_rate_hz
    clips, skipped, notes = _own(opened, rate) if command.data is None else _others(command, opened, rate)
    model.check_clip(clips.clip_samples)
    device = machine.pick_device()
    precision = machine.pick_precision(command.amp, device)
    in_time = _scores_events(command, clips, notes)
    lost: list[Skipped] = []
    scored = score(
        model.to(device),
        clips,
        command.batch_size or opened.config.optim.batch_size or 16,
        device,
        lambda: precision.autocast(device),
        loading=Loading(report=lost.append),
        in_time=in_time,
        sharpen=command.thresholds,
    )
    skipped += tuple(lost)
    assert scored is not None  # one process
    resamples = command.resamples
    if resamples and independent(scored.clips) == 1:
        resamples = 0
        notes.append("no intervals: all that is scored is one recording; give --data with more, or other --eval-folds")
    found = report(scored, model.crop_samples, resamples, command.seed)
    of_run = f"{command.named}{', its best evaluation' if command.best else ''}"
    pooled = f"crops pooled by {command.crop_pooling}, " if command.crop_pooling else ""
    console.print(f"{of_run}, {pooled}{machine.device_name(device)}, {precision.reason}")
    console.print(f"{found.evaluation.counted()}, SHA-256 of their names:")
    console.print(f"  {found.evaluation.clips_sha256}")
    console.print(found.table())
    if resamples:
        of_what = "clips" if found.evaluation.recordings is None else "recordings, with all of their windows"
        console.print(f"in brackets: 95 % over {resamples} resamples of the {of_what}")
    when = _event_report(command, opened, scored, model.crop_samples, resamples) if in_time else None
    if when is not None:
        console.print(when.table())
        notes += when.remarks()
    left_out = run.skipped_lines(skipped, listed="--json lists them")
    for line in (*notes, *remarks(found.evaluation, found.classes), *left_out):
        console.print(line)
    if command.thresholds:
        _keep_thresholds(command, scored, console)
    if table is not None:
        with table.replaced() as temporary:
            _write_csv(temporary, found, when)
    if everything is not None:
        values = {"run": command.named, "best": command.best, "crop_pooling": opened.config.model.crop_pooling}
        values |= {"data": str(command.data or "of the run"), "notes": notes}
        values |= found.to_json() | {"skipped": [vars(skip) for skip in skipped]}
        if when is not None:
            values |= {"events": when.to_json(), "per_class": _rows(found, when)}
        with everything.replaced() as temporary:
            temporary.write_text(to_json_text(values, indent=2) + "\n", encoding="utf-8")
    if picture is not None:
        assert when is not None
        from ..plots.when import plot_when  # matplotlib takes a second

        with picture.replaced() as temporary:
            plot_when(when, temporary)
    return 0


def _scores_events(command: Evaluate, clips: ClipSource, notes: list[str]) -> bool:
    """Whether PSDS and F1 are to be computed; where they could be and cannot, a note says why."""
    if not command.events:
        return False
    if clips.events is None or not any(clips.events):
        if command.plot is not None:
            raise UserError(f"--plot {command.plot} draws when events sound; the times of these clips' are not known")
        return False
    try:
        sed_scores_eval()
    except UserError as error:
        if command.plot is not None:
            raise
        notes.append(str(error))
        return False
    return True


def _event_report(command: Evaluate, opened: run.Run, scored: Scored, crop_samples: int, resamples: int) -> EventReport:
    """At the thresholds by which glat tag finds events: those that the run keeps for these weights."""
    kept = thresholds_of_weights(opened.folder, run.BEST_WEIGHTS if command.best else run.WEIGHTS)
    thresholds = {
        kind: thresholds_of(found, opened.classes).astype(np.float64)
        for kind in get_args(EventsBy)
        if kept is not None and (found := kept.of_events(kind))
    }
    return event_report(scored, crop_samples, thresholds, resamples, command.seed)


def _check(command: Evaluate) -> None:
    if command.data is None:
        for flag in ("labels", "mix", "eval_folds", "clip_seconds", "audio", "negatives", "min_overlap"):
            if getattr(command, flag):
                raise UserError(f"--{flag.replace('_', '-')} says how to take other recordings; add --data")
    if command.thresholds and url_of(command.run):
        raise UserError(
            f"--thresholds writes into the run's folder, and {command.named} is on the hub; fetch it with hf download "
            f"{parse(command.named).name} --local-dir FOLDER, and give --run FOLDER"
        )
    if command.plot is not None and not command.events:
        raise UserError("--plot draws when events sound; leave --no-events out")
    if command.plot is not None and command.plot.suffix not in PICTURES:
        raise UserError(f"--plot {command.plot}: give a name that ends in {', '.join(PICTURES)}")
    if command.min_overlap is not None and not 0 <= command.min_overlap <= 3600:
        raise UserError(f"--min-overlap {command.min_overlap:g}; give seconds from 0 to 3600, such as 0.3")
    for flag, least in (("batch_size", 1), ("resamples", 0), ("eval_clips", 1), ("seed", 0)):
        value = getattr(command, flag)
        if value is not None and value < least:
            raise UserError(f"--{flag.replace('_', '-')} is {value}; give {least} or more")


def _outputs(command: Evaluate, opened: run.Run) -> tuple[Output | None, Output | None, Output | None]:
    """The output files, checked before anything is scored."""
    recorded = opened.config.data
    reads = read_by(command.data, command.labels, recorded.data, recorded.eval_data, recorded.labels)
    flags = (("--csv", command.csv, _TABLE), ("--json", command.json, _FOUND), ("--plot", command.plot, PICTURE))
    table, everything, picture = (
        None if path is None else Output(flag, path, kind, reads, command.overwrite) for flag, path, kind in flags
    )
    return table, everything, picture


def _keep_thresholds(command: Evaluate, scored: Scored, console: Console) -> None:
    """Find the thresholds for both kinds of frames and for tags, print the former, and write all into the run."""
    clips = scored.clips
    assert scored.highest_sharpened is not None
    targets = clips.targets.dense().numpy()
    probs = {"frames": scored.highest, "sharpened": scored.highest_sharpened, "tags": scored.probs["fused"]}
    found = {kind: best_thresholds(targets, each, clips.classes) for kind, each in probs.items()}
    weights = run.BEST_WEIGHTS if command.best else run.WEIGHTS
    path = command.run / run.THRESHOLDS
    with writing(f"--thresholds {path}"):
        write_thresholds(
            command.run, Thresholds(**found, clips=len(clips), clips_sha256=fingerprint(clips.names), weights=weights)
        )
    for kind in get_args(EventsBy):
        shown = Table("class", title=f"thresholds of {SAID[kind]}", title_justify="left")
        for column in ("threshold", "precision", "recall", "F1"):
            shown.add_column(column, justify="right")
        for label, each in list(found[kind].items())[:_MOST_SHOWN]:
            shown.add_row(label, *(f"{x:.3f}" for x in (each.threshold, each.precision, each.recall, each.f1)))
        console.print(shown)
    if (more := len(found["frames"]) - _MOST_SHOWN) > 0:
        console.print(f"and {more} more classes")
    console.print(f"these, and thresholds of the clips' fused probabilities: {path}; glat tag takes them from there")
    console.print("precision and recall are of the clips that chose the thresholds; on other clips they are lower")


Loaded = tuple[ClipSource, tuple[Skipped, ...], list[str]]


def _own(opened: run.Run, sample_rate_hz: int) -> Loaded:
    """The run's own evaluation clips, and notes on them."""
    config = opened.config
    feed = config.feed
    sets = load(config.data, sample_rate_hz, loader=feed.loader, seed=config.optim.seed, workers=feed.workers)
    if sets.evaluation.classes != opened.classes:
        raise UserError(
            f"the recordings of {opened.folder} have other classes than the run was trained on; give the recordings "
            "to evaluate on as --data"
        )
    notes = []
    if run.fingerprint_of(sets) != opened.fingerprint:
        notes.append("the recordings have changed since this run was trained: these are not the clips of its own table")
    return sets.evaluation, sets.skipped, notes


def _label_threshold(command: Evaluate, opened: run.Run) -> float | None:
    """That of the run, for packs alone, where none is given."""
    if command.label_threshold is not None or command.data is None or not is_pack(command.data):
        return command.label_threshold
    return opened.config.data.label_threshold


def _others(command: Evaluate, opened: run.Run, sample_rate_hz: int) -> Loaded:
    """The clips of --data with the run's classes, and notes on them."""
    assert command.data is not None
    asked = DataConfig(
        data=command.data,
        clip_seconds=command.clip_seconds or opened.clip_samples / sample_rate_hz,
        labels=command.labels,
        file_column=command.file_column,
        label_column=command.label_column,
        label_separator=command.label_separator,
        label_threshold=_label_threshold(command, opened),
        audio=command.audio,
        negatives=command.negatives,
        windows=command.windows,
        min_overlap=opened.config.data.min_overlap if command.min_overlap is None else command.min_overlap,
        eval_folds=command.eval_folds,
        mix=command.mix,
        eval_clips=command.eval_clips,
    )
    clips, skipped = load_for_evaluation(asked, sample_rate_hz, seed=command.seed)
    found = relabelled(clips, opened.classes)
    notes = []
    if found.unknown:
        names = ", ".join(found.unknown[:5]) + (", ..." if len(found.unknown) > 5 else "")
        notes.append(f"labels that the run does not know, left out: {len(found.unknown)} ({names})")
    if found.dropped:
        notes.append(f"clips with no other label, left out: {found.dropped} of {len(clips)}")
    return found.clips, skipped, notes


def _rows(found: ScoreReport, when: EventReport | None) -> list[dict[str, Any]]:
    """A row a class."""
    rows = list(found.rows())
    return rows if when is None else [a | b for a, b in zip(rows, when.rows(), strict=True)]


def _write_csv(path: Path, found: ScoreReport, when: EventReport | None) -> None:
    rows = _rows(found, when)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = CsvWriter(file)
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow(f"{value:.6f}" if isinstance(value, float) else value for value in row.values())
