"""What came of the runs of `gpu`: results, and their section of docs/study.md, which says so where there are none."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glat.errors import UserError
from glat.files import replaced

from .collect import Run, conditions_of, costs_of, finished, judge
from .gpu import GPU_FULL, GPU_JOBS, LEARNING_RATE, MINUTES, TUNING, predicted
from .page import ENSEMBLES, NOTHING, PAGE, SCORES, Summary, claims_table, table, value, with_blocks, write_section
from .plan import CLAIMS, CONFIRMED, EQUAL_COMPUTE, Scale
from .report import rounded

RESULTS = "gpu.json"
ALL_CLAIMS = CLAIMS | CONFIRMED
TITLES = {row.name: row.title for job in GPU_JOBS for row in job.rows}


def write(out: Path, data: str, scale: Scale, to: Path, resamples: int) -> Path:
    """Put ``study/gpu.json`` into `to`, and its tables into the page there; returns the page.

    Where no run has ended, the page is of the results that are in `to` already, if any.

    Args:
        data: name of the recordings.

    Raises:
        UserError: no resample; for docs/, a small study or one of a CPU.
    """
    if resamples < 1:
        raise UserError(f"--resamples is {resamples}; give 1 or more")
    runs, page = finished(out, may_be_empty=True, jobs=GPU_JOBS), to / PAGE.name
    if runs:
        on_cpu = runs[0].result["device"].startswith("CPU")
        if to.resolve() == PAGE.parent and (scale != GPU_FULL or on_cpu):
            raise UserError(f"{out} is not what docs/ is about, which is larger and of a GPU; give another --to")
        write_section(to, RESULTS, rounded(summarise(runs, resamples) | {"data": data}), blocks)
        return page
    text = with_blocks((page if page.exists() else PAGE).read_text(encoding="utf-8"), blocks(read(to)))
    with replaced(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return page


def read(to: Path) -> dict[str, Any] | None:
    """The results that lie beside a page in a folder; None where nobody has run it."""
    path = to / "study" / RESULTS
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def summarise(runs: Sequence[Run], resamples: int) -> dict[str, Any]:
    """All that the section shows, as plain types."""
    first = runs[0].result
    rows = {row.name: row for run in runs for row in run.job.rows}
    kept = ("job", "seed", "steps", "training_seconds", "compiled", "curve", "hits", "device", "precision")
    return {
        **conditions_of(runs, resamples),
        "runs": [{name: run.result[name] for name in kept} for run in runs],
        **judge(runs, ALL_CLAIMS, resamples),
        "costs": costs_of(rows.values(), first["scale"]["width"], len(first["classes"])),
    }


def blocks(found: Summary | None) -> dict[str, str]:
    """What stands between the page's comments, by name; of a study that nobody has run: None."""
    makers = {
        "gpu-conditions": _conditions,
        "gpu-main": _main,
        "gpu-claims": lambda s: claims_table(s["differences"], ALL_CLAIMS, ("",)),
        "gpu-tuning": _tuning,
    }
    made = {name: NOTHING if found is None else make(found) for name, make in makers.items()}
    return made | {"gpu-plan": _plan()}


def _plan() -> str:
    """The prediction, line by line."""
    lines = predicted()
    whole = sum(seconds for _, seconds in lines.values())
    cells = [[what, how, f"{seconds:.0f}"] for what, (how, seconds) in lines.items()]
    return table(("what", "how it was reckoned", "s"), [*cells, ["together", f"of {60 * MINUTES:g}", f"{whole:.0f}"]])


def _conditions(s: Summary) -> str:
    scale, versions, runs = s["scale"], s["versions"], s["runs"]
    compiled = [f"{run['job']} {run['compiled']['seconds']:.0f} s" for run in runs if run["compiled"]["seconds"] > 1]
    text = (
        f"{len(runs)} runs on {_of(runs, 'device')}, {_of(runs, 'precision')}, at commit {', '.join(s['commits'])}: "
        f"{s['data']}, {scale['train_clips']} training and {scale['eval_clips']} evaluation clips of 10 s, "
        f"{len(s['classes'])} classes, batches of {scale['batch_size']}, {scale['steps']} steps (where not said "
        f"otherwise), width {scale['width']:g}, torch {versions['torch']}. Training took "
        f"{sum(run['training_seconds'] for run in runs):.0f} s ({_speeds(s)}), compiling "
        f"({_of([run['compiled'] for run in runs], 'mode')}) {', '.join(compiled) or 'nothing'}."
    )
    return textwrap.fill(text, 120)


def _of(found: Sequence[Mapping[str, Any]], name: str) -> str:
    return ", ".join(sorted({str(each[name]) for each in found}))


def _speeds(s: Summary) -> str:
    """Clips a second by job, over all seeds."""
    said = []
    for job in GPU_JOBS:
        runs = [run for run in s["runs"] if run["job"] == job.name]
        if runs and job not in TUNING:
            clips = s["scale"]["batch_size"] * sum(run["steps"] for run in runs)
            said.append(f"{job.name} {clips / sum(run['training_seconds'] for run in runs):.0f} clips/s")
    return ", ".join(said)


def _main(s: Summary) -> str:
    alone, glat = (s["costs"].get(name, {"gflop": float("nan")})["gflop"] for name in ("alone", "glat"))
    lines = []

    def line(key: str, title: str, gflop: float, schedule: float = 1.0) -> None:
        if key in s["rows"]:
            found = s["rows"][key]
            scores = [value(found[name]) for name in SCORES]
            lines.append([title, *scores, f"{gflop:.2f}", f"{gflop * schedule / alone:.2f}", str(len(found["seeds"]))])

    line("alone/global", TITLES["alone"], alone)
    line("longer/global", TITLES["longer"], alone, EQUAL_COMPUTE)
    for name, size in ENSEMBLES.items():
        line(f"{name}-alone/global", f"{name} alone, averaged", size * alone)
    line("glat/global", "GL-AT, global", alone)
    line("glat/local", "GL-AT, local", glat)
    line("glat/fused", "**GL-AT, fused**", glat)
    for stream in ("local", "fused"):
        line(f"pool-max/{stream}", f"{TITLES['pool-max']}, {stream}", glat)
    return table(("row", *SCORES.values(), "GFLOP a clip", "training compute, × alone", "seeds"), lines)


def _tuning(s: Summary) -> str:
    rates = {LEARNING_RATE: "alone"} | {job.first.learning_rate: job.first.name for job in TUNING}
    lines = []
    for rate, name in sorted(rates.items()):
        found = s["rows"].get(f"{name}/global")
        if found is not None and 0 in found["seeds"]:
            lines.append([f"{rate:g}", f"{found['mAP']['by_seed'][found['seeds'].index(0)]:.3f}"])
    return table(("learning rate", "mAP of the backbone alone, seed 0"), lines)
