"""train.py with a compiler that fails: with one that was asked for it ends, else it goes on."""

import importlib.util
import json
from pathlib import Path

import pytest

from glat.errors import UserError
from glat.runs.folder import COMPILED
from glat.settings.training import parse_train_config
from glat.training import compiling

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "--width", "0.1", "--batch-size", "4", "--num-crops", "2", "--crop-seconds", "1", "--clip-seconds", "2",
    "--train-clips", "8", "--eval-clips", "4", "--iterations", "1",
)  # fmt: skip


@pytest.fixture
def train(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("train", ROOT / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv(compiling.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "BACKEND", raising)
    return module


def raising(graph, inputs):
    raise RuntimeError("no such instruction")


def test_left_to_us_the_run_goes_on_and_its_folder_says_so(train, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(train, "mode_for", lambda optim, device, model: "default")  # as on a GPU
    result = train.main(parse_train_config([*SMALL, "--run-dir", str(tmp_path / "run")]))
    assert result.clips == 4
    sentence = "torch.compile (mode default) failed: RuntimeError: no such instruction"
    assert capsys.readouterr().out.count(f"warning: {sentence}; going on uncompiled from the same weights\n") == 1
    assert json.loads((tmp_path / "run" / COMPILED).read_text())["failure"] == sentence


def test_asked_for_the_run_ends(train, tmp_path):
    with pytest.raises(UserError, match=r"torch.compile \(mode default\) failed: .*; leave out --compile default"):
        train.main(parse_train_config([*SMALL, "--compile", "default", "--run-dir", str(tmp_path / "run")]))
    assert not list((tmp_path / "run").glob("checkpoints/*"))
