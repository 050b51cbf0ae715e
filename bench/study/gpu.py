"""The study's main rows at the paper's width, in minutes of one GPU: the plan, what it should take, and the run."""

import json
import tarfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from glat.files import replaced

from . import training
from .carried import table_in
from .collect import finished
from .networks import NETWORKS
from .plan import ALONE, GLAT, LONGER, POOL_MAX, SEEDS, SMALL, Job, Row, Scale
from .running import note

NETWORK = "cnn10-paper"
LEARNING_RATE = 1e-3  # of PANNs and of the released program, at this width
RATES = (3e-4, 3e-3)  # beside it, for the backbone alone; last of all, where there is time

GPU_FULL = Scale(steps=600, width=1.0, points=4, mix=2)
GPU_SMALL = replace(SMALL, eval_clips=16, steps=2, mix=GPU_FULL.mix)


def paper_sized(row: Row) -> Row:
    """The same row of the library's CNN10."""
    return replace(row, network=NETWORK, learning_rate=LEARNING_RATE)


GPU_ALONE = paper_sized(ALONE)
MAIN = (
    Job("joint", (GPU_ALONE, paper_sized(GLAT), paper_sized(POOL_MAX)), SEEDS),
    Job("longer", (paper_sized(LONGER),), SEEDS),
)
TUNING = tuple(
    Job(f"rate-{rate:g}", (replace(GPU_ALONE, name=f"rate-{rate:g}", learning_rate=rate),), (0,)) for rate in RATES
)
GPU_JOBS = (*MAIN, *TUNING)

MINUTES = 8.0
RESULTS_SECONDS = 20.0  # kept for the results
# What was measured (docs/gpu.md): clips a second of a compiled training step of two CNN10s, bfloat16, on an H200.
CLIPS_PER_SECOND = 1_356
# What is assumed, since nothing of this has run on a GPU.
SHARE = 0.6  # of that speed
START_SECONDS = 30.0  # imports, decoding, mixing
COMPILE_SECONDS = 100.0  # of two CNN10s, cold
POINT_SECONDS = 1.5  # an evaluation and a checkpoint


def units(job: Job) -> float:
    """Compute of a clip and step, in that of the backbone alone."""
    return 1 + sum(row.num_crops * row.crop_seconds / training.CLIP_SECONDS for row in job.rows if row.two_streams)


def predicted(scale: Scale = GPU_FULL) -> dict[str, tuple[str, float]]:
    """Seconds of all runs of `MAIN`, by what takes them, and how they were reckoned."""
    pair = units(Job("", (GPU_ALONE, paper_sized(GLAT)), ()))
    counts = [1 + len(local_streams(job)) for job in MAIN]
    compiled = sum(COMPILE_SECONDS / 2 * networks for networks in counts)
    work = sum(units(job) * job.first.schedule for job in MAIN)
    speed = SHARE * CLIPS_PER_SECOND * pair
    runs = sum(len(job.seeds) for job in MAIN)
    steps = f"{len(SEEDS)} seeds × {scale.steps} steps × {scale.batch_size} clips"
    return {
        "start, decoding, mixing": ("assumed", START_SECONDS),
        "compiling, from nothing": (
            f"{' + '.join(map(str, counts))} networks at {COMPILE_SECONDS / 2:g} s, assumed",
            compiled,
        ),
        "training": (
            f"{steps} × {work:g} / ({SHARE:g} × {pair:g} × {CLIPS_PER_SECOND:,})".replace(",", " "),
            len(SEEDS) * scale.steps * scale.batch_size * work / speed,
        ),
        "evaluations and checkpoints": (
            f"{runs} runs × {scale.points + 1} × {POINT_SECONDS:g} s, assumed",
            runs * (scale.points + 1) * POINT_SECONDS,
        ),
        "results": ("kept for them", RESULTS_SECONDS),
    }


def local_streams(job: Job) -> tuple[str, ...]:
    """Names of the rows that have one; jobs with the same are one compiled step."""
    return tuple(row.name for row in job.rows if row.two_streams)


def run(out: Path, data: Path, scale: Scale, minutes: float, compile_mode: str) -> str:
    """Train the jobs that `out` does not hold yet, from their checkpoints where they were stopped, for some minutes.

    All main rows of a seed come before the next seed's; the learning rates come last. Weights are not kept.

    Args:
        data: a CSV of recordings with folds, or the folder of `carried.carry`.
        minutes: from this call on, with what the results take; 0: train nothing.
        compile_mode: as ``train.py --compile``.

    Returns:
        The name of the recordings.

    Raises:
        UserError: a folder of another size or of other recordings.
    """
    began = time.monotonic()
    deadline = began + 60 * minutes - RESULTS_SECONDS
    data = table_in(data).resolve()
    note(out, data, scale, NETWORKS[NETWORK].sample_rate_hz)
    asked = [(job, seed) for seed in SEEDS for job in MAIN] + [(job, 0) for job in TUNING]
    there = {(each.job, each.seed) for each in finished(out, may_be_empty=True, jobs=GPU_JOBS)}
    missing = [each for each in asked if each not in there]
    _say(f"{len(asked)} runs in {out}, {len(asked) - len(missing)} of them finished before")
    seconds, done = 0.0, 0.0
    compiled: dict[tuple[str, ...], float] = {}  # seconds, by local streams
    while missing:
        job, seed = missing[0]
        if time.monotonic() + _to_compile(job, compiled) > deadline:
            break
        folder = job.folder(out, seed)
        started = time.monotonic()
        ended = training.train(job, seed, scale, data, folder, _say, compile_mode=compile_mode, deadline=deadline)
        if not ended:
            break
        (folder / training.WEIGHTS).unlink()  # 20 MB a network
        missing.pop(0)
        compiling = json.loads((folder / training.RESULT).read_text(encoding="utf-8"))["compiled"]["seconds"]
        compiled.setdefault(local_streams(job), compiling)
        seconds += time.monotonic() - started - compiling
        done += units(job) * job.first.schedule
        left = sum(units(each) * each.first.schedule for each, _ in missing) * seconds / done
        more = f"; the others need about {left / 60:.1f}" if missing else ""
        passed = (time.monotonic() - began) / 60
        _say(f"{len(asked) - len(missing)} of {len(asked)} runs, {passed:.1f} of {minutes:g} minutes{more}")
    if missing:
        names = ", ".join(job.folder(out, seed).name for job, seed in missing)
        _say(f"not trained yet: {names}; the same command goes on")
    return data.name


def _to_compile(job: Job, compiled: Mapping[tuple[str, ...], float]) -> float:
    """Seconds that its compilation should take, which does not listen to the clock; 0 where nothing is known."""
    streams = local_streams(job)
    if streams in compiled:
        return 0.0
    return max((seconds / (1 + len(each)) for each, seconds in compiled.items()), default=0.0) * (1 + len(streams))


def pack(out: Path) -> Path:
    """Results and scores of `out` in one file in it, to be sent; unpacked, it is such a folder again."""
    name = out.resolve().name
    archive = out / f"{name}.tar.gz"
    files = [path for path in sorted(out.rglob("*")) if path.suffix in (".json", ".npz", ".md")]
    with replaced(archive) as temporary, tarfile.open(temporary, "w:gz") as file:
        for path in files:
            file.add(path, Path(name) / path.relative_to(out))
    return archive


def _say(line: str) -> None:
    print(line, flush=True)
