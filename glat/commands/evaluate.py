"""`glat evaluate`: Table 2 of a run with intervals, on the run's own evaluation clips or on other recordings."""

from dataclasses import dataclass
from pathlib import Path

from .. import machine
from ..config import DataConfig
from ..data import ClipSource, Skipped, fingerprint, load, load_for_evaluation
from ..data.labels import relabelled
from ..data.loading.batches import Loading
from ..errors import UserError
from ..evaluation.report import ScoreReport, report
from ..evaluation.score import Scored, remarks, score
from ..evaluation.thresholds import best_thresholds
from ..files import to_json_text, writing
from ..hub.fetch import parse
from ..outputs import Kind, Output, read_by
from ..runs import folder as run
from ..runs.thresholds import Thresholds, write_thresholds
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
    """Evaluate on these recordings: a folder with one sub-folder per class, a CSV with columns file, label and
    optionally fold, packs of glat pack, or tar files. Default: the run's own evaluation clips."""
    labels: Path | None = None
    """AudioSet's class_labels_indices.csv, for packs that name no classes."""
    file_column: str = "file"
    """Column of the CSV or TSV with the file names."""
    label_column: str = "label"
    """Column of the CSV or TSV with the labels."""
    label_separator: str = ";"
    """Separator between several labels of one file in the CSV or TSV."""
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
    """Write this CSV file, a row per class: clips, and AP and AUC of each stream with intervals."""
    json: Path | None = None
    """Write all results into this JSON file."""
    thresholds: bool = False
    """Find the thresholds that maximise F1 of each class on these clips, and store them in the run's folder, where
    glat tag reads them."""
    overwrite: bool = False
    """Also replace a file that this command did not write."""

    def __call__(self) -> int:
        """Returns 0."""
        return _evaluate(self)


def _evaluate(command: Evaluate) -> int:
    _check(command)
    recorded = command.recorded()
    table, everything = _outputs(command, recorded)
    opened, model = command.open(recorded)
    console = Console(soft_wrap=True)
    rate = model.global_.sample_rate_hz
    clips, skipped, notes = _own(opened, rate) if command.data is None else _others(command, opened, rate)
    model.check_clip(clips.clip_samples)
    device = machine.pick_device()
    precision = machine.pick_precision(command.amp, device)
    lost: list[Skipped] = []
    scored = score(
        model.to(device),
        clips,
        command.batch_size or opened.config.optim.batch_size or 16,
        device,
        lambda: precision.autocast(device),
        loading=Loading(report=lost.append),
    )
    skipped += tuple(lost)
    assert scored is not None  # one process
    found = report(scored, model.crop_samples, command.resamples, command.seed)
    of_run = f"{command.named}{', its best evaluation' if command.best else ''}"
    pooled = f"crops pooled by {command.crop_pooling}, " if command.crop_pooling else ""
    console.print(f"{of_run}, {pooled}{machine.device_name(device)}, {precision.reason}")
    seconds = clips.clip_samples / rate
    console.print(
        f"{found.evaluation.clips} clips of {seconds:g} s, SHA-256 of their names {found.evaluation.clips_sha256}"
    )
    console.print(found.table())
    if command.resamples:
        console.print(f"in brackets: 95 % over {command.resamples} resamples of the clips")
    left_out = run.skipped_lines(skipped, listed="--json lists them")
    for line in (*notes, *remarks(found.evaluation, found.classes), *left_out):
        console.print(line)
    if command.thresholds:
        _keep_thresholds(command, scored, console)
    if table is not None:
        with table.replaced() as temporary:
            _write_csv(temporary, found)
    if everything is not None:
        values = {"run": command.named, "best": command.best, "crop_pooling": opened.config.model.crop_pooling}
        values |= {"data": str(command.data or "of the run"), "notes": notes}
        values |= found.to_json() | {"skipped": [vars(skip) for skip in skipped]}
        with everything.replaced() as temporary:
            temporary.write_text(to_json_text(values, indent=2) + "\n", encoding="utf-8")
    return 0


def _check(command: Evaluate) -> None:
    if command.data is None:
        for flag in ("labels", "mix", "eval_folds", "clip_seconds"):
            if getattr(command, flag):
                raise UserError(f"--{flag.replace('_', '-')} says how to take other recordings; add --data")
    if command.thresholds and url_of(command.run):
        raise UserError(
            f"--thresholds writes into the run's folder, and {command.named} is on the hub; fetch it with hf download "
            f"{parse(command.named).name} --local-dir FOLDER, and give --run FOLDER"
        )
    for flag, least in (("batch_size", 1), ("resamples", 0), ("eval_clips", 1), ("seed", 0)):
        value = getattr(command, flag)
        if value is not None and value < least:
            raise UserError(f"--{flag.replace('_', '-')} is {value}; give {least} or more")


def _outputs(command: Evaluate, opened: run.Run) -> tuple[Output | None, Output | None]:
    """The output files, checked before anything is scored."""
    recorded = opened.config.data
    reads = read_by(command.data, command.labels, recorded.data, recorded.eval_data, recorded.labels)
    flags = (("--csv", command.csv, _TABLE), ("--json", command.json, _FOUND))
    table, everything = (
        None if path is None else Output(flag, path, kind, reads, command.overwrite) for flag, path, kind in flags
    )
    return table, everything


def _keep_thresholds(command: Evaluate, scored: Scored, console: Console) -> None:
    """Find the thresholds for frames and for tags, print those for frames, and write both into the run's folder."""
    clips = scored.clips
    targets = clips.targets.dense().numpy()
    frames = best_thresholds(targets, scored.highest, clips.classes)
    tags = best_thresholds(targets, scored.probs["fused"], clips.classes)
    weights = run.BEST_WEIGHTS if command.best else run.WEIGHTS
    path = command.run / run.THRESHOLDS
    with writing(f"--thresholds {path}"):
        write_thresholds(command.run, Thresholds(frames, tags, len(clips), fingerprint(clips.names), weights))
    shown = Table("class", title="thresholds of the frames", title_justify="left")
    for column in ("threshold", "precision", "recall", "F1"):
        shown.add_column(column, justify="right")
    for label, found in list(frames.items())[:_MOST_SHOWN]:
        shown.add_row(label, *(f"{x:.3f}" for x in (found.threshold, found.precision, found.recall, found.f1)))
    console.print(shown)
    more = f"{len(frames) - _MOST_SHOWN} more classes, and " if len(frames) > _MOST_SHOWN else ""
    console.print(f"{more}the thresholds of the clips' fused probabilities: {path}; glat tag takes both from there")
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


def _write_csv(path: Path, found: ScoreReport) -> None:
    rows = list(found.rows())
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = CsvWriter(file)
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow(f"{value:.6f}" if isinstance(value, float) else value for value in row.values())
