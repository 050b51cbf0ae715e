"""Train the study's missing runs, several at the same time."""

import json
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path

import torch

from glat.data.parallel import cores
from glat.errors import UserError
from glat.files import write_json
from glat.runs.folder import fingerprint_of

from . import training
from .collect import finished
from .plan import FULL, JOBS, Job, Scale

STUDY = "study.json"
PROBE = Scale(train_clips=20, eval_clips=20)  # by whose clips' labels recordings are known again


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
    planned = {seed for job in JOBS for seed in job.seeds}
    if strange := sorted(set(seeds) - planned):
        raise UserError(f"--seeds {strange[0]}: the plan has {', '.join(map(str, sorted(planned)))}")
    # Before anything is noted or trained: can the recordings be read, and are there classes enough?
    classes = training.soundscapes(data, PROBE).train.classes
    most = max(row.num_crops for job in JOBS for row in job.rows)
    if len(classes) < most:
        raise UserError(f"--data {data} has {len(classes)} classes; the study cuts up to {most} crops, one a class")
    note(out, data, scale)
    jobs = [job for job in JOBS if not only or job.name in only]
    # All jobs of a seed before the next seed: what is there when the study is stopped compares.
    order = sorted({seed for job in jobs for seed in job.seeds if not seeds or seed in seeds})
    asked = [(job, seed) for seed in order for job in jobs if seed in job.seeds]
    there = {(run.job, run.seed) for run in finished(out, may_be_empty=True)}
    missing = [each for each in asked if each not in there]
    print(f"{len(asked)} runs in {out}, {len(asked) - len(missing)} of them finished before", flush=True)
    threads = max(1, cores() // processes)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin, (threads,)) as pool:
        running: set[Future[None]] = set()
        while missing or running:
            while missing and len(running) < processes:  # no more: what is queued could not be called back
                running.add(pool.submit(_train, *missing.pop(0), scale, data, out))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()


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


def note(
    out: Path, data: Path | None, scale: Scale | None = None, sample_rate_hz: int = training.SAMPLE_RATE_HZ
) -> Scale:
    """Note what the runs of a folder are of, or see that it is this; returns their size.

    Args:
        scale: None: that of the folder.
        sample_rate_hz: of the networks.

    Raises:
        UserError: the folder holds runs of another size or of other recordings.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, name = out / STUDY, "synthesised events" if data is None else data.name
    probe = training.soundscapes(data, PROBE, sample_rate_hz=sample_rate_hz)
    own = {"data": name, "clips": fingerprint_of(probe)}
    if not path.exists():
        write_json(path, {"scale": asdict(scale or FULL)} | own)
    found = json.loads(path.read_text(encoding="utf-8"))
    its_scale = Scale(**found.pop("scale"))
    if found != own or (scale is not None and its_scale != scale):
        raise UserError(
            f"{out} holds a study of {found['data']} and of {its_scale}, not of {name} and {scale or its_scale}; "
            "choose another --out, or give its --data"
        )
    return its_scale
