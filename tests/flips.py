"""One bit of a run's files flipped: what its readers make of that."""

import random
import shutil
import warnings
from pathlib import Path

import torch

from glat.errors import UserError
from glat.runs import checkpoints
from glat.runs import folder as run
from glat.runs.digests import read_weights
from glat.runs.results import read_evaluation
from glat.runs.weights import load_model

# What glat never reads: pictures, and TensorBoard's points, which have checksums of their own.
UNREAD = ("*.png", "events.out.tfevents.*", "skipped.json", "compiled.json")


def readers(folder: Path):
    """By file that glat reads of a run: a call that returns what its readers make of it."""

    def config():
        found = run.open_run(folder)
        load_model(found)
        return found.config, found.classes, found.clip_samples, found.fingerprint, found.network

    def weights(name):
        return lambda: load_model(run.open_run(folder), name).state_dict()

    def newest():
        path, lines = checkpoints.newest(folder)
        for line in lines:
            warnings.warn(line, stacklevel=1)
        return path.name, checkpoints.read(path)

    def metrics():
        found = run.read_metrics(folder)
        for line in found.damage:
            warnings.warn(line, stacklevel=1)
        return found.rows

    calls = {
        run.CONFIG: config,
        run.METRICS: metrics,
        run.EVALUATION: lambda: read_evaluation(folder),
        run.WEIGHTS: weights(run.WEIGHTS),
        run.BEST_WEIGHTS: weights(run.BEST_WEIGHTS),
    }
    if (folder / run.RECORDINGS).exists():
        calls[run.RECORDINGS] = lambda: read_weights(folder / run.RECORDINGS)
    for path in (folder / checkpoints.FOLDER).iterdir():
        calls[f"{checkpoints.FOLDER}/{path.name}"] = newest
    return calls


def same(one, other) -> bool:
    """Whether two answers are the same, bit by bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def silent_flips(whole: Path, folder: Path, count: int, seed: int) -> tuple[int, list[str]]:
    """Flip bits of every file that glat reads, one at a time.

    Args:
        whole: a run that has ended.
        folder: where its copy is to lie.
        count: flips of each file.

    Returns:
        How many flips there were, and those that changed an answer without a word: ``file: bit``.
    """
    shutil.copytree(whole, folder)
    unread = {path for pattern in UNREAD for path in folder.glob(pattern)}
    calls = readers(folder)
    assert {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path not in unread
    } == set(calls)
    rng, made, silent = random.Random(seed), 0, []
    for name, read in calls.items():
        path, wanted = folder / name, read()
        data = path.read_bytes()
        # The beginning of a file, its header, is small and matters: a third of the flips are there.
        for i in range(count):
            bit = rng.randrange(8 * (min(2048, len(data)) if i % 3 == 0 else len(data)))
            path.write_bytes(flipped(data, bit))
            made += 1
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                try:
                    found = read()
                except UserError:
                    found = wanted  # said
            if not said and not same(found, wanted):
                silent.append(f"{name}: {bit}")
            path.with_suffix(".damaged").unlink(missing_ok=True)
            path.write_bytes(data)
    return made, silent
