"""Runs of train.py that differ in some settings, several at the same time."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .data.parallel import cores
from .errors import UserError
from .evaluation.events.scores import FLAT, event_scores
from .evaluation.score import STREAMS
from .files import to_json_text, write_json
from .runs.folder import read_metrics
from .runs.results import read_evaluation
from .settings.sweeps import Plan
from .urls import absolute

if sys.platform != "win32":
    import fcntl

Point = tuple[Any, ...]  # what differs between runs, such as N and crop seconds
OF_A_RUN = ("run", "seed", "steps", *(f"mAP_{stream}" for stream in STREAMS), *FLAT)  # columns of `rows` besides that


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        varied: what differs between the runs, by name; those that are no settings are for the reader.
        settings: a file with all of its settings; without one those of `varied` are given as flags.
    """

    varied: Mapping[str, Any]
    seed: int
    folder: Path
    settings: Path | None = None

    @property
    def log(self) -> Path:
        """File with train.py's output. It lies beside the run's folder, since train.py creates that itself."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def command(self, train: Sequence[str], flags: Sequence[str]) -> list[str]:
        """The command line of this run; `train` is the command without flags."""
        own = dict(self.varied) if self.settings is None else {"config": self.settings}
        own |= {"seed": self.seed, "run-dir": self.folder, "resume": "auto"}
        pairs = itertools.chain.from_iterable(
            (f"--{name.replace('_', '-')}", str(value)) for name, value in own.items()
        )
        return [*train, *flags, *pairs]

    def result(self) -> dict[str, float] | None:
        """mAP of each stream, event metrics where there are any, and the steps; None while the run is not finished."""
        found = read_evaluation(self.folder)
        if found is None:
            return None
        scores = {stream: found["streams"][stream]["mAP"] for stream in STREAMS}
        steps = max((row["step"] for row in read_metrics(self.folder).rows), default=0)
        found_when = event_scores(found["events"]).flat() if "events" in found else {}
        return {"steps": steps} | {name: float("nan") if x is None else x for name, x in scores.items()} | found_when

    def last_line(self) -> str:
        """The last line of train.py's output, which says why it failed."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def trials(out: Path, counts: Sequence[int], lengths: Sequence[float], seeds: Sequence[int]) -> list[Trial]:
    """One trial per combination, in folders such as ``N5-T3-S0``: crops, seconds, seed."""
    combinations = itertools.product(seeds, counts, lengths)
    return [
        Trial({"num_crops": n, "crop_seconds": t}, seed, out / f"N{n}-T{t:g}-S{seed}") for seed, n, t in combinations
    ]


def planned(out: Path, plan: Plan) -> list[Trial]:
    """The trials of a file; see `write_settings`."""
    return [Trial(run.varied, run.seed, out / run.name, out / f"{run.name}.json") for run in plan.runs]


def write_settings(asked: Sequence[Trial], plan: Plan) -> None:
    """Write the file of settings of each trial beside its folder, those that are there already excepted.

    Raises:
        UserError: one that is there has other settings.
    """
    files = []
    for trial, run in zip(asked, plan.runs, strict=True):
        assert trial.settings is not None
        values = {name: _plain(value) for name, value in run.settings.items()}
        values = {"preset": plan.common.preset or "paper"} | values
        try:
            before = json.loads(trial.settings.read_text(encoding="utf-8"))
        except FileNotFoundError:
            files.append((trial.settings, values))
            continue
        except (OSError, ValueError) as error:
            raise UserError(f"{trial.settings} cannot be read ({error}); restore it, or choose another --out") from None
        if before != json.loads(to_json_text(values)):
            raise UserError(
                f"{plan.common.path} has other settings for {run.name} than {trial.settings}, with which it was "
                "started; name the run otherwise, or choose another --out"
            )
    for path, values in files:
        write_json(path, values)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):  # relative to the sweep's file, and the new one lies elsewhere
        return str(absolute(value))
    return list(value) if isinstance(value, tuple) else value


def run_all(
    waiting: Sequence[Trial], train: Sequence[str], flags: Sequence[str], processes: int, say: Callable[[str], None]
) -> list[Trial]:
    """Run trials, `processes` at a time. A trial that fails is reported and does not stop the others.

    When this function ends, also by an exception, it ends the trials that still run.

    Returns:
        The failed trials.
    """
    todo, failed = list(waiting), []
    running: dict[int, tuple[Trial, subprocess.Popen[bytes], float]] = {}  # by slot
    try:
        while todo or running:
            for slot in set(range(processes)) - set(running):
                if todo:
                    trial = todo.pop(0)
                    say(f"{trial.folder.name}: started, {trial.log} has what it says")
                    running[slot] = trial, _start(trial, train, flags, environment(slot, processes)), time.monotonic()
            for slot, (trial, process, started) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[slot]
                result = trial.result()
                if process.returncode != 0 or result is None:
                    failed.append(trial)
                    say(f"{trial.folder.name}: FAILED with status {process.returncode}: {trial.last_line()}")
                else:
                    seconds = time.monotonic() - started
                    say(f"{trial.folder.name}: fused mAP {result['fused']:.3f}, {seconds:.0f} s, {len(todo)} to go")
            time.sleep(0.1)
    finally:
        for _, process, _ in running.values():
            process.terminate()
        for _, process, _ in running.values():
            process.wait()
    return failed


def _start(trial: Trial, train: Sequence[str], flags: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with ExitStack() as stack:
        log = stack.enter_context(trial.log.open("ab"))
        if sys.platform != "win32":
            # The run inherits the locked file as its output, so the lock holds to its end even if the sweep is killed.
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(
                    f"{trial.folder} is being trained by another process; end that, or wait until it is done"
                ) from None
        return subprocess.Popen(trial.command(train, flags), stdout=log, stderr=subprocess.STDOUT, env=dict(env))


def environment(slot: int, processes: int) -> dict[str, str]:
    """Environment variables for one of `processes` runs: its share of the cores, and one GPU, assigned in turn."""
    env = dict(os.environ)
    env["OMP_NUM_THREADS"] = str(max(1, cores() // processes))
    visible = env.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count()))))
    gpus = [gpu for gpu in visible.split(",") if gpu]
    if len(gpus) > 1:
        env["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    return env


def rows(done: Sequence[Trial]) -> Iterator[dict[str, Any]]:
    """One row per finished run; with event metrics where any run has them."""
    finished = [(trial, result) for trial in done if (result := trial.result()) is not None]
    when = FLAT if any(FLAT[0] in result for _, result in finished) else ()
    for trial, result in finished:
        yield {
            "run": trial.folder.name,
            **{name: _cell(value) for name, value in trial.varied.items()},
            "seed": trial.seed,
            "steps": int(result["steps"]),
            **{f"mAP_{stream}": result[stream] for stream in STREAMS},
            **{name: result.get(name, "") for name in when},
        }


def _cell(value: Any) -> Any:
    """A value as a table has it."""
    if value is None:
        return ""
    return value if isinstance(value, int | float | str) else " ".join(map(str, _plain(value)))


def summary(lines: Sequence[Mapping[str, Any]]) -> dict[Point, dict[str, tuple[float, float]]]:
    """Mean and standard deviation of mAP over seeds (0 for one seed) by point and stream; NaN runs are left out."""
    found: dict[Point, list[list[float]]] = {}
    for line in lines:
        scores = [line[f"mAP_{stream}"] for stream in STREAMS]
        if np.isfinite(scores).all():
            found.setdefault(tuple(line[name] for name in line if name not in OF_A_RUN), []).append(scores)
    result = {}
    for point, scores_of in found.items():
        table = np.array(scores_of)  # [seeds, streams]
        spread = table.std(0, ddof=1) if len(table) > 1 else np.zeros(len(STREAMS))
        result[point] = {stream: (float(table[:, i].mean()), float(spread[i])) for i, stream in enumerate(STREAMS)}
    return result
