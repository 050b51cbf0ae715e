"""train.py as a process of its own, for the tests that kill it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
# How fast a process was and how much memory it took is its own.
OF_THE_PROCESS = ("clips_per_second", "data_wait", "memory_mib", "crc")


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
    """Every file of two runs but for times and pictures: weights, checkpoints, metrics, curves, evaluation."""
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (first, second)]
    kept = [[name for name in found if not name.startswith("events.") and ".damaged" not in name] for found in names]
    assert kept[0] == kept[1]
    assert metrics(first) == metrics(second)
    for name in kept[0]:
        one, other = first / name, second / name
        if name in ("evaluation.json", "skipped.json"):
            assert one.read_bytes() == other.read_bytes(), name
        elif name.endswith(".safetensors"):
            assert_equal(*(weights(path) for path in (one, other)), name)
        elif name.endswith(".pt"):
            assert_equal(*(torch.load(path, weights_only=True) for path in (one, other)), name)
        elif name == "config.json":
            assert_equal(*(json.loads(path.read_text()) for path in (one, other)), name)
    assert curves(first) == curves(second)


def weights(path):
    """The tensors of a file, and its header, which safetensors writes in any order."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()} | {"": file.metadata()}  # noqa: SIM118


def assert_equal(one, other, where):
    """Nested values, but for the run's folder (and digests over it) and generators that glat does not draw from."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one.keys() - {"run_dir", "resume", "python", "numpy", "sha256"}:
            assert_equal(one[key], other[key], f"{where}: {key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{where}: {i}")
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, where


def curves(folder):
    """The points that TensorBoard shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    shown.Reload()
    tags = [tag for tag in shown.Tags()["scalars"] if tag not in OF_THE_PROCESS]
    return {tag: [(event.step, event.value) for event in shown.Scalars(tag)] for tag in tags}


class Trainer:
    """Starts train.py as forks of a process that has imported everything; see trainer.py. Close it at the end."""

    def __init__(self):
        command = [sys.executable, str(ROOT / "tests" / "trainer.py")]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.server = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request):
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def start(self, outputs, *arguments, most_bytes=None, hears=None, **environment):
        """A run whose outputs are added to the files ``OUTPUTS.out`` and ``OUTPUTS.err``."""
        paths = [Path(f"{outputs}.{name}") for name in ("out", "err")]
        pid = self.ask(
            arguments=[str(argument) for argument in arguments],
            outputs=[str(path) for path in paths],
            most_bytes=most_bytes,
            hears=hears and str(hears),
            environment=environment,
        )
        return Forked(self, pid, *paths)

    def run(self, outputs, *arguments, **options):
        """A run from its start to its end: status, standard output, standard error."""
        process = self.start(outputs, *arguments, **options)
        return process.wait(), process.out.read_text(), process.err.read_text()

    def close(self):
        self.server.kill()  # it has nothing to lose, and the interpreter takes a second to end
        self.server.communicate()


class Forked:
    """A run that a Trainer has started."""

    def __init__(self, trainer, pid, out, err):
        self.trainer, self.pid, self.out, self.err = trainer, pid, out, err
        self.status = None

    def poll(self):
        if self.status is None:
            self.status = self.trainer.ask(status=self.pid)
        return self.status

    def wait(self, seconds=240):
        """The exit status."""
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                raise AssertionError(f"it does not end: {self.communicate()}")
            time.sleep(0.005)
        return self.status

    def communicate(self):
        return self.out.read_text(), self.err.read_text()

    def handles_signals(self):
        """Whether it has got as far as to handle them; Linux tells."""
        caught = Path(f"/proc/{self.pid}/status").read_text().split("SigCgt:")[1].split()[0]
        return int(caught, 16) >> (signal.SIGTERM - 1) & 1

    def signal(self, number):
        """Send a signal, and return how many seconds the process lived after it."""
        sent = time.monotonic()
        os.kill(self.pid, number)
        self.wait()
        return time.monotonic() - sent
