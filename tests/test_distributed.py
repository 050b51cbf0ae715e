"""Several processes as one run: gloo on CPUs here, as nccl on GPUs."""

import json
import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from flags import BUILT_IN
from processes import ROOT, finish, metrics, start, wait_for

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def losses(folder):
    return [row["loss"] for row in metrics(folder) if "loss" in row]


def test_two_ranks_of_batch_4_are_one_of_batch_8(tmp_path):
    script = str(ROOT / "tests" / "ranks_of_batch_norm.py")
    # 7 clips to evaluate: no multiple of the ranks.
    run = (*BUILT_IN, "--batch-size", 8, "--eval-clips", 7, "--iterations", 8, "--log-every", 1, "--clip-grad-norm", 1)
    first, second, third = (tmp_path / name for name in ("one", "two", "accumulated"))
    started = [
        start(*run, "--run-dir", first, command=(script,)),
        start(*run, "--run-dir", second, command=(*TORCHRUN, script)),
        start(*run, "--run-dir", third, "--accumulate", 2, "--compile", "regions", command=(*TORCHRUN, script)),
    ]
    one, two, accumulated = (finish(process) for process in started)
    for status, _, complained in (one, two, accumulated):
        assert status == 0, complained
    assert two[1].count("device      2 x CPU") == 1, "one rank prints"
    assert accumulated[1].count("compiling the training step (mode regions, --compile)") == 1
    assert losses(first) == pytest.approx(losses(second), rel=1e-4)
    assert losses(first) == pytest.approx(losses(third), rel=1e-4)
    alone, shared = (json.loads((folder / "evaluation.json").read_text()) for folder in (first, second))
    assert alone["clips"] == shared["clips"] == 7
    for stream in ("global", "local", "fused"):
        assert alone["streams"][stream]["mAP"] == pytest.approx(shared["streams"][stream]["mAP"], abs=1e-2)
    if find_spec("sed_scores_eval"):
        assert two[1].count("┃ when ") == 1
        for key in ("events", "classes", "at"):
            assert alone["events"][key] == shared["events"][key]


def rank_1(process):
    """The process id of the second rank that torchrun has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (pid,) = [pid for pid in children if "\0RANK=1\0" in Path(f"/proc/{pid}/environ").read_text()]
    return int(pid)


def test_terminated_ranks_agree_on_the_step_they_save(tmp_path):
    folder = tmp_path / "run"
    run = (*BUILT_IN, "--iterations", 1000, "--log-every", 1, "--save-every", 1000, "--run-dir", folder)
    process = start(*run, command=(*TORCHRUN, str(ROOT / "train.py")))
    wait_for(lambda: (folder / "metrics.jsonl").exists() and losses(folder), process)
    process.send_signal(signal.SIGTERM)
    status, _, complained = finish(process)
    assert status != 0
    assert complained.count("stopped by SIGTERM and saved after step ") == 1, "one rank says it"
    assert len(list((folder / "checkpoints").glob("[0-9]*.pt"))) == 1


def test_a_rank_that_dies_ends_the_run_which_says_so_and_restarts_by_itself(tmp_path):
    folder = tmp_path / "run"
    run = (*BUILT_IN, "--iterations", 60, "--save-every", 5, "--run-dir", folder, "--resume", "auto")
    process = start(*run, command=(*TORCHRUN, "--max-restarts", "1", str(ROOT / "train.py")))
    wait_for(lambda: (folder / "checkpoints" / "000000000010.pt").exists(), process)
    os.kill(rank_1(process), signal.SIGKILL)
    status, said, complained = finish(process)
    assert status == 0, complained
    assert "rank 0 lost another rank" in complained
    assert "give the same command again with --resume auto" in complained
    assert "going on after step" in said
    steps = [row["step"] for row in metrics(folder)]
    assert steps == sorted(steps)
    assert steps[-1] == 60
