"""``python -m bench.study run`` trains what is missing of the study; ``... report`` writes its results and its page."""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path

import torch

from glat.cli import reporting_user_errors
from glat.errors import UserError
from glat.files import write_json

from . import training
from .plan import FULL, JOBS, SMALL, Job, Scale

STUDY = "study.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.study", description=__doc__)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="train what is missing; the same command goes on where it was stopped")
    run.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    run.add_argument("--data", type=Path, help="recordings with folds, as train.py takes them; default: synthesised")
    run.add_argument("--processes", type=int, default=1, help="runs at a time, which share the cores")
    run.add_argument("--only", nargs="+", default=[], help="jobs, such as alone joint; default: all")
    run.add_argument("--seeds", nargs="+", type=int, default=[], help="default: those of the plan")
    run.add_argument("--small", action="store_true", help="in some minutes, to see that all of it works")
    run.set_defaults(work=_run)
    asked = parser.parse_args(arguments)
    asked.work(asked)
    return 0


def _run(asked: argparse.Namespace) -> None:
    scale = SMALL if asked.small else FULL
    jobs = _chosen(asked.only)
    if asked.processes < 1:
        raise UserError(f"--processes is {asked.processes}; give 1 or more")
    data = asked.data.resolve() if asked.data is not None else None
    _claim(asked.out, scale, data)
    # All jobs of a seed before the next seed: what is there when the study is stopped compares.
    seeds = sorted({seed for job in jobs for seed in job.seeds if not asked.seeds or seed in asked.seeds})
    todo = [(job, seed) for seed in seeds for job in jobs if seed in job.seeds]
    missing = [(job, seed) for job, seed in todo if not (folder_of(asked.out, job, seed) / training.RESULT).exists()]
    print(f"{len(todo)} runs in {asked.out}, {len(todo) - len(missing)} of them finished before", flush=True)
    threads = max(1, len(os.sched_getaffinity(0)) // asked.processes)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(asked.processes, context, torch.set_num_threads, (threads,)) as pool:
        running = {pool.submit(_train, job, seed, scale, data, asked.out) for job, seed in missing}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _train(job: Job, seed: int, scale: Scale, data: Path | None, out: Path) -> None:
    training.train(job, seed, scale, data, folder_of(out, job, seed), lambda line: print(line, flush=True))


def folder_of(out: Path, job: Job, seed: int) -> Path:
    """Of one run."""
    return out / f"{job.name}-S{seed}"


def _chosen(names: Sequence[str]) -> list[Job]:
    known = {job.name: job for job in JOBS}
    if unknown := sorted(set(names) - set(known)):
        raise UserError(f"--only {unknown[0]}: no such job; choose from {', '.join(known)}")
    return [job for job in JOBS if not names or job.name in names]


def _claim(out: Path, scale: Scale, data: Path | None) -> None:
    """Note what the folder's runs are of, or see that it is this.

    Raises:
        UserError: the folder holds runs of another size or of other data.
    """
    out.mkdir(parents=True, exist_ok=True)
    own = {"scale": asdict(scale), "data": "synthesised" if data is None else data.name}
    path = out / STUDY
    if not path.exists():
        write_json(path, own)
    elif json.loads(path.read_text(encoding="utf-8")) != own:
        raise UserError(f"{out} holds a study of another size or of other recordings; choose another --out")


if __name__ == "__main__":
    with reporting_user_errors():
        sys.exit(main())
