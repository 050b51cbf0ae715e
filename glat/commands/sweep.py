"""`glat sweep`: the paper's Figure 2 on any data, and any other settings side by side."""

import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from ..config import FLAG, PRESET, TrainConfig
from ..errors import UserError
from ..evaluation.score import STREAMS
from ..files import write_json
from ..outputs import PICTURE, Kind, Output
from ..plots.sweep import plot_sweep
from ..settings.sweeps import Plan, read_plan
from ..sweep import Point, planned, rows, run_all, summary, trials, write_settings
from ..terminal import Console, Table
from ..text import CsvWriter

SWEEP, RESULTS, FIGURE = "sweep.json", "results.csv", "figure2.png"
_TABLE = Kind("a table of glat sweep", begins="run(,|\r?\n)")
FIGURE_2 = ("num_crops", "crop_seconds")  # what it is drawn over

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Sweep:
    """Train one run per number and length of crops, and draw mAP against both; or the runs that a file names.

    All other flags, such as --data and --iterations, go to train.py and are the same for all runs. Repeat the command
    to continue a sweep that was stopped: finished runs are kept, unfinished ones resumed.
    """

    out: Path
    """Folder for the runs."""
    num_crops: str = "1,3,5,7"
    """Numbers of crops N, separated by commas."""
    crop_seconds: str = "1,2,3,4,5"
    """Lengths of a crop τ in seconds, separated by commas."""
    file: Path | None = None
    """File of runs in place of --num-crops and --crop-seconds, YAML or JSON: settings (of all runs), grid (of settings,
    each a list of values), runs (settings by name), seeds; see docs/evaluating.md."""
    seeds: str = "0"
    """Seeds, separated by commas; scores are averaged over them. A seed also changes how the data is split."""
    processes: int = 1
    """Runs at the same time; they share the cores and GPUs."""
    train: Path | None = None
    """A train.py of your own. Default: the one of this installation."""
    flags: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    overwrite: bool = False
    """Also replace a results.csv or figure2.png that no sweep wrote."""
    config: Annotated[TrainConfig | None, tyro.conf.Suppress] = None

    def __call__(self) -> int:
        """Returns 2 if a run failed; the other runs are finished first."""
        return _sweep(self)


def _sweep(command: Sweep) -> int:
    seeds = _numbers(command.seeds, "seeds", int)
    plan = None
    if command.file is not None:
        plan = _plan(command, command.file, tuple(seeds))
        asked = planned(command.out, plan)
    else:
        counts, lengths = (
            _numbers(command.num_crops, "num-crops", int),
            _numbers(command.crop_seconds, "crop-seconds", float),
        )
        if min(counts) < 1 or min(lengths) <= 0:
            raise UserError("--num-crops and --crop-seconds: give numbers above 0")
        asked = trials(command.out, counts, lengths, seeds)
    if min(seeds) < 0:
        raise UserError("--seeds: give numbers from 0 on")
    if command.processes < 1:
        raise UserError(f"--processes is {command.processes}; give 1 or more")
    if command.train is not None and not command.train.is_file():
        raise UserError(f"--train {command.train}: there is no such file; give glat's train.py, or leave it out")
    train = (sys.executable, *(("-m", "glat", "train") if command.train is None else (str(command.train),)))
    _check_flags(command, plan)
    _claim(command.out, command.flags)
    if plan is not None:
        write_settings(asked, plan)
    results = Output("--out", command.out / RESULTS, _TABLE, (), command.overwrite)
    figure = Output("--out", command.out / FIGURE, PICTURE, (), command.overwrite)
    console = Console(soft_wrap=True)
    waiting = [trial for trial in asked if trial.result() is None]
    console.print(f"{len(asked)} runs in {command.out}, {len(asked) - len(waiting)} of them finished before")
    with _ended_by_signal():
        failed = run_all(waiting, train, command.flags, command.processes, console.print)
    lines = list(rows(asked))
    with results.replaced() as temporary:
        _write_csv(temporary, lines)
    found = summary(lines)
    if found:
        names = list(asked[0].varied)
        console.print(_table(found, names))
        if drawn := set(names) == set(FIGURE_2):
            points = {
                tuple(dict(zip(names, point, strict=True))[n] for n in FIGURE_2): at for point, at in found.items()
            }
            with figure.replaced() as temporary:
                plot_sweep(points, temporary)
        console.print(f"{command.out / FIGURE}, {command.out / RESULTS}" if drawn else f"{command.out / RESULTS}")
    if len(steps := {line["steps"] for line in lines}) > 1:
        console.print(f"not trained equally long: {min(steps)} to {max(steps)} steps; {RESULTS} has them")
    for trial in failed:
        console.print(f"failed: {trial.folder.name}: {trial.last_line()}")
    return 2 if failed else 0


def _numbers(text: str, flag: str, kind: Callable[[str], Number]) -> list[Number]:
    try:
        return list(dict.fromkeys(kind(part) for part in text.split(",")))
    except ValueError:
        raise UserError(f"--{flag} {text}: give numbers separated by commas, such as 1,3,5") from None


def _plan(command: Sweep, path: Path, seeds: tuple[int, ...]) -> Plan:
    for flag in FIGURE_2:
        if getattr(command, flag) != getattr(Sweep, flag):
            raise UserError(f"--{flag.replace('_', '-')} and --file both say what the runs are; give one of the two")
    plan = read_plan(path, None if command.seeds == Sweep.seeds else seeds)
    flagged = command.config.origins if command.config is not None else {}
    for name, origin in flagged.items():
        if origin not in (FLAG, PRESET):
            raise UserError(f"--config and --file are both files of settings; give those of {path} below settings:")
        if origin == FLAG and any(name in run.settings or name == "preset" for run in plan.runs):
            raise UserError(f"--{name.replace('_', '-')} is a setting of {path}, too; give it in one of the two")
    return plan


def _check_flags(command: Sweep, plan: Plan | None) -> None:
    instead = {"--seed": "--seeds", "--run-dir": "--out", "--resume": "--out"}
    given = {flag.split("=")[0].replace("_", "-") for flag in command.flags}
    for flag in instead.keys() & given:
        raise UserError(f"{flag} is what a sweep gives to each of its runs; give {instead[flag]} instead")
    if command.config is not None and command.config.run.dry_run:
        raise UserError("--dry-run trains nothing, and a sweep draws what was trained; give it to train.py")
    optim = None if command.config is None else command.config.optim
    if plan is None and optim is not None and optim.iterations is None and optim.epochs is None:
        raise UserError("runs that are compared need equally many steps; give --iterations or --epochs")


def _claim(out: Path, flags: Sequence[str]) -> None:
    """Create the sweep's folder, or check that it belongs to a sweep with the same flags."""
    record = out / SWEEP
    try:
        if record.exists():
            before = json.loads(record.read_text(encoding="utf-8"))["flags"]
            if before != list(flags):
                raise UserError(
                    f"--out {out} is a sweep with {' '.join(before) or 'no flags'}, and here are "
                    f"{' '.join(flags) or 'none'}; give those, or another folder"
                )
            return
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"--out {out} exists and holds no sweep; choose another folder")
        out.mkdir(parents=True, exist_ok=True)
        write_json(record, {"flags": list(flags)})
    except (OSError, KeyError, TypeError) as error:
        raise UserError(f"--out {out} cannot be used ({error}); choose another folder") from None


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """SIGTERM ends the sweep as Ctrl-C does, so that its runs end too."""

    def leave(*_: object) -> None:
        sys.exit(143)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write_csv(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = CsvWriter(file)
        writer.writerow(lines[0] if lines else ["run"])
        writer.writerows(line.values() for line in lines)


def _table(found: Mapping[Point, Mapping[str, tuple[float, float]]], names: Sequence[str]) -> Table:
    result = Table(*({"num_crops": "N", "crop_seconds": "τ, s"}.get(name, name) for name in names))
    for stream in STREAMS:
        result.add_column(stream, justify="right")
    best = max(found, key=lambda point: found[point]["fused"][0])
    for point in found:
        cells = (f"{mean:.3f}" + (f" ± {spread:.3f}" if spread else "") for mean, spread in found[point].values())
        shown = (f"{value:g}" if isinstance(value, float) else str(value) for value in point)
        result.add_row(*shown, *cells, style="bold" if point == best else None)
    return result
