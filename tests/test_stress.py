"""A run harms nothing and loses nothing, whatever happens to it: a few variants here, many in ``make stress``.

GLAT_STRESS=SEED makes them many and chooses the moments.
"""

import os
import random
import shutil
import signal
import socket
import time

import numpy as np
import pytest
import soundfile
from processes import Trainer, assert_same_run, wait_for

SEED = os.environ.get("GLAT_STRESS")
LONG = SEED is not None
RUN = (
    *("--width", "0.1", "--batch-size", "4", "--num-crops", "2", "--crop-seconds", "0.5", "--clip-seconds", "1"),
    *("--train-clips", "12", "--eval-clips", "8", "--seed", "1", "--ema", "0.9"),
    *("--iterations", "16", "--save-every", "3", "--log-every", "4", "--eval-every", "8"),
)


@pytest.fixture
def moments(request):
    """Random numbers, the same for every run of a test with the same seed."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="module")
def trainer():
    found = Trainer()
    yield found
    found.close()


@pytest.fixture(scope="module")
def whole(trainer, tmp_path_factory):
    """The run that was left alone, and how many seconds it took."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    process = start(trainer, folder)
    started = time.monotonic()
    assert process.wait() == 0, process.communicate()
    return folder, time.monotonic() - started


def start(trainer, folder, *more, **options):
    """Start a run, or go on with it, once it handles signals."""
    process = trainer.start(
        folder.with_name(f"{folder.name}.said"), *RUN, "--run-dir", folder, "--resume", "auto", *more, **options
    )
    wait_for(process.handles_signals, process)
    return process


def finish(trainer, folder, whole):
    """Go on to the end, and find what a run that was left alone has."""
    process = start(trainer, folder)
    assert process.wait() == 0, process.communicate()
    assert_same_run(whole[0], folder)


def test_killed_at_random_moments_it_ends_with_the_same_files(trainer, whole, tmp_path, moments):
    kills, wanted, folder, damaged = 0, 60 if LONG else 3, tmp_path / "run0", 0
    while kills < wanted:
        process = start(trainer, folder)
        time.sleep(moments.uniform(0, 0.8 * whole[1]))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        assert process.wait() in (0, -signal.SIGKILL), process.communicate()
        if process.status == 0:
            assert_same_run(whole[0], folder)
            folder = tmp_path / f"run{kills}"
        elif len(found := checkpoints(folder)) > 1 and (moments.random() < 0.3 or not damaged):
            found[-1].write_bytes(found[-1].read_bytes()[: moments.randrange(100_000)])
            damaged += 1
    process = start(trainer, folder)
    assert process.wait() == 0, process.communicate()
    assert_same_run(whole[0], folder)
    said = "".join(path.read_text() for path in tmp_path.glob("*.out"))
    assert said.count(".pt is damaged") == damaged
    print(f"\n{kills} kills, {damaged} of them with a damaged checkpoint")


def checkpoints(folder):
    """Oldest first."""
    return sorted((folder / "checkpoints").glob("0*.pt"))


# What a run is doing, as its folder shows it.
PHASES = {
    "starts": lambda folder: True,
    "evaluates before its first step": lambda folder: (folder / "config.json").exists(),
    "makes a step": lambda folder: '"step": 4, "loss"' in rows(folder),
    "saves": lambda folder: any((folder / "checkpoints").glob(".*")),
    "evaluates": lambda folder: (folder / "checkpoints" / "000000000008.pt").exists(),
    "makes a later step": lambda folder: '"step": 12, "loss"' in rows(folder),
}
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGXCPU")


def rows(folder):
    path = folder / "metrics.jsonl"
    return path.read_text() if path.exists() else ""


def test_a_signal_ends_a_run_at_once_or_after_the_step_and_nothing_is_lost(trainer, whole, tmp_path):
    table = []
    for turn in range(len(SIGNALS) if LONG else 1):
        folder = tmp_path / f"run{turn}"
        for i, (phase, reached) in enumerate(PHASES.items()):
            name = SIGNALS[(turn + i) % len(SIGNALS)]
            process = start(trainer, folder)
            while not reached(folder) and process.poll() is None:
                time.sleep(0.002)
            if process.status == 0:  # a moment too short to be seen on a busy machine
                table.append(f"{name:8} while it {phase:32} came too late")
                continue
            seconds = process.signal(signal.Signals[name])
            assert process.status == (130 if name == "SIGINT" else 75), process.communicate()
            said = process.err.read_text().splitlines()[-1]
            assert said.startswith(f"stopped by {name}"), said
            assert "nothing is lost" in said or "and saved after step" in said
            assert seconds < 10
            table.append(f"{name:8} while it {phase:32} {seconds:5.2f} s")
        finish(trainer, folder, whole)
    print("", *table, sep="\n")


def test_of_two_processes_on_one_folder_one_trains_and_the_other_says_so(trainer, whole, tmp_path, moments):
    for turn in range(10 if LONG else 1):
        folder = tmp_path / f"run{turn}"
        first = start(trainer, folder)
        time.sleep(moments.uniform(0, whole[1]) if turn else 0)
        second = trainer.start(tmp_path / f"second{turn}", *RUN, "--run-dir", folder, "--resume", "auto")
        statuses = [first.wait(), second.wait()]
        for process in (first, second):
            said = process.err.read_text()
            if process.status != 0:
                assert process.status == 2
                assert " trains in " in said or "was taken by another run" in said
                assert said.count("\n") == 1, said
        assert 0 in statuses
        assert_same_run(whole[0], folder)


def test_a_run_that_is_made_longer_is_one_that_was_started_so(trainer, tmp_path):
    run = (*RUN, "--schedule", "constant")
    for name, steps in (("whole", 24), ("longer", 16), ("longer", 24)):
        more = ("--iterations", steps, "--run-dir", tmp_path / name, "--resume", "auto")
        status, _, complained = trainer.run(tmp_path / "said", *run, *more)
        assert status == 0, complained
    assert_same_run(tmp_path / "whole", tmp_path / "longer")


def test_files_of_the_user_in_a_runs_folder_stay_as_they_are(trainer, whole, tmp_path, moments):
    folder = tmp_path / "run"
    hidden = [".my-notes/thesis.txt", ".git-credentials", ".pre-commit-config.yaml", ".model-x.safetensors"]
    seen = ["notes.txt", "checkpoints/0-mine.pt", "checkpoints/2026-01-first.pt", "checkpoints/.000000000003-x.pt"]
    for name in hidden:  # of a folder that is new to glat
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    for turn in range(6 if LONG else 1):
        process = start(trainer, folder)
        wait_for(lambda: (folder / "checkpoints").exists(), process)
        time.sleep(moments.uniform(0, 0.2 * whole[1]))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for name in seen if turn == 0 else []:
            (folder / name).write_text(name)
    process = start(trainer, folder)
    assert process.wait() == 0, process.communicate()
    for name in (*hidden, *seen):
        assert (folder / name).read_text() == name
        (folder / name).unlink()
    (folder / ".my-notes").rmdir()
    assert_same_run(whole[0], folder)


def rename_a_class(folder):
    (folder / "tone").rename(folder / "tones")


def remove_two(folder):
    for name in ("0.wav", "3.wav"):
        (folder / "tone" / name).unlink()


def shorten_one(folder):
    soundfile.write(folder / "tone" / "2.wav", 0.1 * np.sin(np.arange(9_000)), 16_000)


DIFFERENCES = {
    "two files fewer": (remove_two, (), "number of training clips: "),
    "another class name": (rename_a_class, (), "training classes: ['tones'] there, ['tone'] on rank 0"),
    "a shorter file": (shorten_one, (), "lengths of the "),
    "another flag": (lambda folder: None, ("--num-crops", "1"), "--num-crops: 1 there, 2 on rank 0"),
}


@pytest.mark.parametrize("kind", list(DIFFERENCES)[: None if LONG else 1])
def test_ranks_that_hear_other_recordings_do_not_train(trainer, tmp_path, kind):
    spoil, flags, what = DIFFERENCES[kind]
    rng = np.random.default_rng(0)
    for label in ("noise", "tone"):
        (tmp_path / "rank0" / label).mkdir(parents=True)
        for i in range(8):
            soundfile.write(tmp_path / "rank0" / label / f"{i}.wav", rng.uniform(-0.5, 0.5, 16_000), 16_000)
    shutil.copytree(tmp_path / "rank0", tmp_path / "rank1")
    spoil(tmp_path / "rank1")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    processes = []
    for rank in range(2):
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        where = {name: str(value) for name, value in ranks.items()} | {"hears": tmp_path / f"rank{rank}"}
        run = (*RUN, "--data", tmp_path / "rank0", "--run-dir", tmp_path / "run", *(flags if rank else ()))
        processes.append(trainer.start(tmp_path / f"said{rank}", *run, **where))
    statuses = [process.wait() for process in processes]
    said = [process.err.read_text() for process in processes]
    assert statuses == [2, 2], said
    assert said[0].startswith(f"error: rank 1 differs from rank 0: {what}"), said
    assert said[0].count("\n") == 1
    assert said[1] == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("most_bytes", [None] if not LONG else range(8))
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(trainer, whole, tmp_path, moments, most_bytes):
    folder = tmp_path / "run"
    limit = 1_000_000 if most_bytes is None else int(10 ** moments.uniform(2, 6.4))
    process = start(trainer, folder, most_bytes=limit)
    assert process.wait() in (0, 2), process.communicate()
    said = process.err.read_text()
    if process.status == 2:
        assert said.startswith("error: "), said
        assert said.count("\n") == 1, said
        assert "cannot be written" in said
    finish(trainer, folder, whole)
