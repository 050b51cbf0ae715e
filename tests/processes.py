"""train.py as a process of its own, for the tests that kill it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    *("--width", "0.1", "--batch-size", "4", "--num-crops", "2", "--crop-seconds", "1", "--clip-seconds", "2"),
    *("--train-clips", "12", "--eval-clips", "8", "--seed", "1"),
)
# How fast a process was and how much memory it took is its own.
OF_THE_PROCESS = ("clips_per_second", "data_wait", "memory_mib")


def start(*arguments, command=(str(ROOT / "train.py"),), **environment):
    """A process that trains, in a group of its own; its output is kept."""
    return subprocess.Popen(
        [sys.executable, *command, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process, timeout=240):
    """Status, standard output and standard error of a process that ends by itself."""
    try:
        said, complained = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said, complained


def train(*arguments, **options):
    """As `finish`, of a run from its start."""
    return finish(start(*arguments, **options))


def wait_for(condition, process, seconds=240):
    """Wait until something is true of a process that goes on meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def metrics(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in OF_THE_PROCESS} for row in rows]


def assert_same_run(first, second):
    """Weights, bit by bit, and the metrics of two runs."""
    for name in ("model.safetensors", "best.safetensors"):
        one, other = load_file(first / name), load_file(second / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
    assert metrics(first) == metrics(second)
    assert not list(second.rglob(".*")), "temporary files were left"
