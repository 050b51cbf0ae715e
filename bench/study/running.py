"""Trains what is missing of the study, some runs at a time."""

import json
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path

import torch

from glat.data.clips import cores
from glat.errors import UserError
from glat.files import write_json

from . import training
from .plan import FULL, JOBS, Job, Scale

STUDY = "study.json"


def run(
    out: Path, data: Path | None, scale: Scale, processes: int, only: Sequence[str] = (), seeds: Sequence[int] = ()
) -> None:
    """Train the jobs of the plan that `out` does not hold yet, from their checkpoints where they were stopped.

    Args:
        out: a folder of its own for each size and set of recordings.
        data: recordings with folds; None: synthesised events.
        processes: runs at a time; the cores are shared out among them.
        only: names of jobs; none: all.
        seeds: none: those of the plan.

    Raises:
        UserError: an unknown job; a folder of another size or of other recordings.
    """
    known = {job.name: job for job in JOBS}
    if unknown := sorted(set(only) - set(known)):
        raise UserError(f"--only {unknown[0]}: no such job; choose from {', '.join(known)}")
    if processes < 1:
        raise UserError(f"--processes is {processes}; give 1 or more")
    claim(out, data, scale)
    jobs = [job for job in JOBS if not only or job.name in only]
    # All jobs of a seed before the next seed: what is there when the study is stopped compares.
    order = sorted({seed for job in jobs for seed in job.seeds if not seeds or seed in seeds})
    asked = [(job, seed) for seed in order for job in jobs if seed in job.seeds]
    missing = [(job, seed) for job, seed in asked if not (job.folder(out, seed) / training.RESULT).exists()]
    print(f"{len(asked)} runs in {out}, {len(asked) - len(missing)} of them finished before", flush=True)
    threads = max(1, cores() // processes)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin, (threads,)) as pool:
        running = {pool.submit(_train, job, seed, scale, data, out) for job, seed in missing}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin(threads: int) -> None:
    """Of a worker: its share of the cores; it ends with the study, however that ends, so that none trains on unseen."""
    torch.set_num_threads(threads)

    def follow() -> None:
        study = multiprocessing.parent_process()
        assert study is not None
        study.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _train(job: Job, seed: int, scale: Scale, data: Path | None, out: Path) -> None:
    training.train(job, seed, scale, data, job.folder(out, seed), lambda line: print(line, flush=True))


def claim(out: Path, data: Path | None, scale: Scale | None = None) -> Scale:
    """Note what the runs of a folder are of, or see that it is this; returns their size.

    Args:
        scale: None: that of the folder.

    Raises:
        UserError: the folder holds runs of another size or of other recordings.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, name = out / STUDY, "synthesised" if data is None else data.name
    if not path.exists():
        scale = scale or FULL
        write_json(path, {"scale": asdict(scale), "data": name})
    found = json.loads(path.read_text(encoding="utf-8"))
    its_scale = Scale(**found["scale"])
    if found["data"] != name or (scale is not None and its_scale != scale):
        raise UserError(
            f"{out} holds a study of {found['data']} and of {its_scale}, not of {name} and {scale or its_scale}; "
            "choose another --out, or give its --data"
        )
    return its_scale
