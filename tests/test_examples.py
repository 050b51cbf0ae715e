"""The programs of examples/, run as their users do."""

import csv
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from pages import CLASSES, SECONDS, sound
from trained import train_here

from glat.backbones import build

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def write_recordings(folder, seconds, count):
    for label in CLASSES[:6]:
        (folder / label).mkdir(parents=True)
        for i in range(count):
            soundfile.write(folder / label / f"{i}.wav", sound(label, i, seconds), 32_000)


def test_fine_tuning_ends_with_one_file_and_goes_on_where_it_was(tmp_path):
    write_recordings(tmp_path / "recordings", 3.1, 3)
    torch.manual_seed(0)
    torch.save({"model": build("cnn10", 527, 0.0625).state_dict()}, tmp_path / "Cnn10.pth")
    program = [sys.executable, EXAMPLES / "fine_tune.py", "recordings", "Cnn10.pth", "out.pt2", "2"]
    for _ in range(2):
        ran = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert f"out.pt2: {', '.join(sorted(CLASSES[:6]))}, 32000 Hz, 3.1 s a clip" in ran.stdout
    assert "has ended" in ran.stdout
    found = torch.export.load(tmp_path / "out.pt2").module()(torch.zeros(2, round(3.1 * 32_000)))
    assert found["fused_probs"].shape == (2, 6)


def test_the_tasks_of_an_array_share_an_archive(tmp_path):
    train_here(*SECONDS, "--train-clips", 8, "--eval-clips", 8, "--iterations", 1, "--run-dir", tmp_path / "run")
    write_recordings(tmp_path / "archive", 1.0, 1)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for out, count in (("shared", 2), ("alone", 1)):
        for task in range(count):
            array = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": str(count)}
            command = ["bash", EXAMPLES / "tag_archive.sh", "archive", "run", out]
            ran = subprocess.run(command, cwd=tmp_path, env=environment | array, capture_output=True, text=True)
            assert ran.returncode == 0, ran.stderr
    tables = {out: sorted((tmp_path / out).rglob("*.csv")) for out in ("shared", "alone")}
    assert len(tables["shared"]) == 6
    for shared, alone in zip(tables["shared"], tables["alone"], strict=True):
        rows, same = (list(csv.DictReader(path.open(newline=""))) for path in (shared, alone))
        assert shared.name == alone.name
        assert rows
        for key in ("file", "class", "onset_seconds", "offset_seconds"):
            assert [row[key] for row in rows] == [row[key] for row in same]


def test_select_crops_in_another_model_learns():
    first, last = runpy.run_path(str(EXAMPLES / "select_crops.py"))["main"](25)
    assert last < 0.8 * first


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_an_example_says_how_it_is_run(path):
    assert f"examples/{path.name}" in path.read_text(encoding="utf-8")
