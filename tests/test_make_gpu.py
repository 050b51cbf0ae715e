"""`make gpu` without a GPU: it does nothing there, and what it does elsewhere is played with small stages."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from processes import ROOT

from bench import gpu

TESTS = """
import subprocess, sys, time
def test_right(): pass
def test_wrong(): assert 1 == 2
def test_before_the_endless(): pass
def test_endless():
    run = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    open({pid!r}, "w").write(str(run.pid))
    time.sleep(60)
"""


def is_running(pid):
    """Whether a process does; one that nobody waits for is a zombie, and does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def stages(tmp_path, monkeypatch):
    """Three stages of one test each, on a machine that says it has a GPU."""
    path = tmp_path / "test_stages.py"
    path.write_text(TESTS.replace("{pid!r}", repr(str(tmp_path / "pid"))))
    names = ("right", "wrong", "endless")
    found = tuple(gpu.Stage(name, f"what is {name}", (str(path), "-k", name), 60, 10) for name in names)
    monkeypatch.setattr(gpu, "STAGES", found)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "gathered_facts", lambda folder: {"gpu": "Testium H900", "torch": "2.99"})
    return found


def test_without_a_gpu_nothing_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--folder", str(tmp_path / "report")]) == 0
    assert capsys.readouterr().out == "no GPU here (torch sees none): nothing was run\n"
    assert not list(tmp_path.iterdir())


def test_every_stage_is_run_and_judged_and_the_folder_can_be_sent(stages, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "STAGES", stages[:2])
    folder = tmp_path / "report"
    assert gpu.main(["--folder", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "right  right  1       0       0" in said
    assert "wrong  WRONG  0       1       0" in said
    assert "failed: wrong: test_wrong" in said
    assert "Testium H900" in (folder / "summary.md").read_text(encoding="utf-8")
    assert [stage["verdict"] for stage in json.loads((folder / "outcome.json").read_text())] == ["right", "WRONG"]
    assert "assert 1 == 2" in (folder / "wrong.log").read_text(encoding="utf-8")
    with tarfile.open(tmp_path / "report.tar.gz") as file:
        assert {"report/summary.md", "report/right.log", "report/wrong.xml"} <= set(file.getnames())


def test_a_stage_that_does_not_end_is_killed_at_its_limit(stages, tmp_path):
    result = gpu.run(stages[2], tmp_path, quick=True)
    assert result.verdict == "NOT DONE"
    assert result.tests == [("test_before_the_endless", "passed", 0.0)]
    assert result.seconds < 30
    assert "not done within its limit: endless" in gpu.table([result])
    pid = int((tmp_path / "pid").read_text())
    assert not is_running(pid), "what it had started goes on"


def test_a_stage_that_tests_nothing_is_not_right(stages, tmp_path):
    nothing = gpu.Stage("nothing", "no test", (stages[0].pytest[0], "-k", "no_such_test"), 60, 60)
    assert gpu.run(nothing, tmp_path, quick=False).verdict == "WRONG"


def test_the_limits_keep_what_docs_promise():
    assert sum(stage.limit for stage in gpu.STAGES) <= 15 * 60
    assert sum(stage.quick_limit for stage in gpu.STAGES) <= 5 * 60


@pytest.mark.parametrize("stage", gpu.STAGES, ids=lambda stage: stage.name)
def test_a_stage_names_tests_that_there_are(stage):
    for path in stage.pytest:
        if not path.startswith("-") and "/" in path:
            assert (ROOT / path).is_dir(), path


def test_the_bodies_of_gpu_tests_run_in_small_on_a_cpu():
    """Some of them; all: ``GLAT_GPU_TESTS_ON=cpu pytest tests/gpu``, minutes."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu"]
    chosen = ["-k", "(scores and cnn10-paper) or (losses and talnet) or memory or (dali_on and WAV-PCM_16 and 44100)"]
    environment = os.environ | {"GLAT_GPU_TESTS_ON": "cpu", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *chosen], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout or "3 passed, 1 skipped" in done.stdout  # without DALI
