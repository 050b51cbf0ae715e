"""`glat sweep`: a stand-in for train.py where the bookkeeping is tested, and train.py itself once."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from glat import cli
from glat.sweep import environment, summary

GLAT = Path(sys.executable).with_name("glat")
STAND_IN = """
import argparse, json, os, pathlib, sys, time
flags = argparse.ArgumentParser()
for name in ("num-crops", "seed", "iterations"):
    flags.add_argument("--" + name, type=int)
flags.add_argument("--crop-seconds", type=float)
flags.add_argument("--run-dir", type=pathlib.Path)
flags.add_argument("--resume")
flags.add_argument("--config", type=pathlib.Path)
asked = flags.parse_args()
if asked.config:
    vars(asked).update(json.loads(asked.config.read_text()))
here = pathlib.Path(__file__).parent
with (here / "calls").open("a") as calls:
    print(asked.run_dir.name, asked.resume, os.environ["OMP_NUM_THREADS"], os.getpid(), file=calls)
if (here / "wait").exists():
    time.sleep(60)
if asked.num_crops == 13 and not (here / "mended").exists():
    sys.exit("error: 13 crops are too many")
asked.run_dir.mkdir(parents=True)
fused = asked.num_crops / 100 + asked.crop_seconds / 10 + 0.02 * asked.seed
streams = {"global": {"mAP": 0.2}, "local": {"mAP": fused - 0.01}, "fused": {"mAP": fused}}
(asked.run_dir / "metrics.jsonl").write_text(json.dumps({"step": asked.iterations}) + chr(10))
(asked.run_dir / "evaluation.json").write_text(json.dumps({"streams": streams}))
"""


@pytest.fixture
def sweep(monkeypatch, capsys):
    """Run the command in this process; returns its exit status and what it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["glat", "sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capsys.readouterr()
        return left.value.code, printed.out + printed.err

    return run


@pytest.fixture
def stand_in(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(STAND_IN)
    return path


def calls(stand_in):
    path = stand_in.parent / "calls"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_failed_runs_are_said_the_others_go_on_and_only_what_lacks_is_run_again(stand_in, sweep):
    out = stand_in.parent / "sweep"
    arguments = ("--out", out, "--train", stand_in, "--iterations", 7, "--processes", 2)
    grid = ("--num-crops", "1,13,5", "--crop-seconds", "1,2.5", "--seeds", "0,1")
    status, said = sweep(*arguments, *grid)
    assert status == 2, said
    assert said.count("FAILED with status 1: error: 13 crops are too many") == 4
    assert len(calls(stand_in)) == 12
    assert {call[1] for call in calls(stand_in)} == {"auto"}
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert {row["run"] for row in rows} >= {"N1-T1-S0", "N5-T2.5-S1"}
    assert {row["steps"] for row in rows} == {"7"}
    assert "0.310 ± 0.014" in said, "N = 5, 2.5 s: .30 and .32"
    assert (out / "figure2.png").read_bytes().startswith(b"\x89PNG")

    (stand_in.parent / "mended").touch()
    status, said = sweep(*arguments, *grid)
    assert status == 0, said
    assert "12 runs" in said
    assert "8 of them finished before" in said
    assert {call[0].split("-")[0] for call in calls(stand_in)[12:]} == {"N13"}
    assert len(calls(stand_in)) == 16

    status, said = sweep("--out", out, "--train", stand_in, "--iterations", 8)
    assert status == 2
    assert "is a sweep with --iterations 7, and here are --iterations 8" in said


FILE = """
settings: {iterations: 7, data: sounds, crop_seconds: 2}
grid: {num-crops: [1, 3]}
runs:
  plain:
  averaged: {crop_pooling: average}
seeds: [0, 1]
"""


def test_a_file_names_the_runs_which_get_files_of_their_own(stand_in, sweep):
    file, out = stand_in.parent / "runs.yaml", stand_in.parent / "sweep"
    file.write_text(FILE)
    arguments = ("--file", file, "--out", out, "--train", stand_in, "--processes", 2)
    status, said = sweep(*arguments)
    assert status == 0, said
    with (out / "results.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["name"], row["num_crops"], row["crop_pooling"], row["seed"]) for row in rows] == [
        (name, n, pooling, seed)
        for name, pooling in (("plain", "max_mean"), ("averaged", "average"))
        for n in "13"
        for seed in "01"
    ]
    assert rows[0]["run"] == "plain-num_crops=1-S0"
    assert {row["steps"] for row in rows} == {"7"}
    assert json.loads((out / "averaged-num_crops=3-S1.json").read_text()) == {
        "preset": "paper",
        "iterations": 7,
        "data": str(stand_in.parent / "sounds"),
        "crop_seconds": 2.0,
        "num_crops": 3,
        "crop_pooling": "average",
    }
    assert "0.240 ± 0.014" in said, "three crops of 2 s: .23 and .25"
    assert not (out / "figure2.png").exists(), "that is drawn over the number and length of crops"

    file.write_text(FILE.replace("[1, 3]", "[1, 3, 5]"))
    status, said = sweep(*arguments)
    assert status == 0, said
    assert "12 runs" in said
    assert "8 of them finished before" in said

    file.write_text(FILE.replace("crop_seconds: 2", "crop_seconds: 1"))
    status, said = sweep(*arguments)
    assert status == 2
    assert "runs.yaml has other settings for plain-num_crops=1-S0 than" in said

    file.write_text("settings: {iterations: 7}\ngrid: {crop_seconds: [1, 2], num_crops: [1, 5]}\n")
    status, said = sweep("--file", file, "--out", stand_in.parent / "crops", "--train", stand_in)
    assert status == 0, said
    assert (stand_in.parent / "crops" / "figure2.png").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_ends_leaves_no_run_behind_and_no_folder_is_trained_twice(stand_in, sweep, number):
    (stand_in.parent / "wait").touch()
    arguments = ("--out", stand_in.parent / "s", "--train", stand_in, "--iterations", 1, "--num-crops", 1)
    command = [str(GLAT), "sweep", *map(str, arguments), "--crop-seconds", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not calls(stand_in):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(timeout=30)
    child = int(calls(stand_in)[0][3])
    if number == signal.SIGTERM:
        assert process.returncode == 143
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
        return
    # Nobody can outlive a SIGKILL to end the run; it keeps its folder locked.
    status, said = sweep(*arguments, "--crop-seconds", "1")
    os.kill(child, signal.SIGKILL)
    assert status == 2
    assert "is being trained by another process" in said
    assert len(calls(stand_in)) == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "give --iterations"),
        (("--iterations", 2, "--num-crops", "1,x"), "--num-crops 1,x: give numbers separated by commas"),
        (("--iterations", 2, "--seed=1"), "--seed is what a sweep gives to each of its runs; give --seeds instead"),
        (("--iterations", 2, "--processes", 0), "--processes is 0"),
        (("--iterations", 2, "--train", "nowhere.py"), "--train nowhere.py: there is no such file"),
        (("--iterations", 2, "--colour", "red"), "--colour"),
        (("--file", "a.yaml", "--num-crops", "1"), "--num-crops and --file both say what the runs are; give one"),
        (("--file", "a.yaml", "--config", "a.yaml"), "a.yaml:1: 'settings' is no setting"),
        (("--file", "a.yaml", "--iterations", "3"), "--iterations is a setting of a.yaml, too; give it in one of the"),
    ],
)
def test_bad_input_starts_nothing(flags, said, tmp_path, monkeypatch, sweep):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("settings: {iterations: 2}\ngrid: {num_crops: [1]}\n")
    status, printed = sweep("--out", "s", *flags)
    assert status == 2
    assert said in printed
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


def test_cores_and_gpus_are_shared_out(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    found = [environment(slot, 3) for slot in range(3)]
    assert [env["CUDA_VISIBLE_DEVICES"] for env in found] == ["4", "6", "4"]
    assert {env["OMP_NUM_THREADS"] for env in found} == {"2"}
    assert environment(0, 100)["OMP_NUM_THREADS"] == "1"


def test_seeds_are_averaged_and_runs_that_could_not_be_scored_are_left_out():
    def line(seed, fused, n=5):
        return {
            "num_crops": n,
            "crop_seconds": 3.0,
            "seed": seed,
            "mAP_global": 0.1,
            "mAP_local": 0.2,
            "mAP_fused": fused,
        }

    found = summary([line(0, 0.3), line(1, 0.5), line(0, float("nan"), n=7), line(0, 0.4, n=9)])
    assert found.keys() == {(5, 3.0), (9, 3.0)}
    assert found[5, 3.0]["fused"] == pytest.approx((0.4, 0.02**0.5))
    assert found[9, 3.0]["fused"] == (0.4, 0.0)


def test_train_itself_is_swept(tmp_path, sweep):
    tiny = ("--width", 0.1, "--batch-size", 2, "--clip-seconds", 1, "--train-clips", 4, "--eval-clips", 6)
    out = tmp_path / "sweep"
    flags = ("--num-crops", "1,13", "--crop-seconds", 0.5, "--iterations", 1, "--processes", 2)
    status, said = sweep("--out", out, *flags, *tiny)
    assert status == 2, said
    assert "N13-T0.5-S0: FAILED with status 2: error: num_crops is 13" in said
    recorded = json.loads((out / "N1-T0.5-S0" / "config.json").read_text())["config"]
    assert (recorded["model"]["num_crops"], recorded["model"]["crop_seconds"]) == (1, 0.5)
    assert recorded["optim"]["batch_size"] == 2
    assert (out / "figure2.png").exists()
    if find_spec("sed_scores_eval"):
        with (out / "results.csv").open(newline="") as opened:
            (row,) = csv.DictReader(opened)
        kept = json.loads((out / "N1-T0.5-S0" / "evaluation.json").read_text())["events"]["evidence"]
        assert float(row["segment_F1_sharpened"]) == kept["sharpened"]["scores"]["segment_F1"]
        assert list(summary([row | dict.fromkeys(("mAP_global", "mAP_local", "mAP_fused"), 0.1)])) == [("1", "0.5")]
