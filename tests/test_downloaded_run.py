"""A run's folder from somewhere else runs no code of its own, whatever it names and wherever one stands."""

import json
import sys

import pytest
import soundfile
import torch
from flags import TINY
from trained import glat, train_here

from glat.errors import UserError
from glat.runs.digests import read_weights, write_record, write_weights
from glat.runs.folder import open_run
from glat.runs.pretrained import load_pretrained
from glat.runs.weights import load_model

EVIL = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
from glat.backbones import CNN10
def make(num_classes, width):
    return CNN10(num_classes, width)
"""
SOME = ("--train-clips", 8, "--eval-clips", 6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of built-in soundscapes that has ended."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    train_here(*TINY, *SOME, "--iterations", 2, "--run-dir", folder)
    return folder


@pytest.fixture
def downloaded(trained, tmp_path, monkeypatch):
    """The run with code beside its files, which its config names: called with the name of the network to name."""
    folder = tmp_path / "shared_run"
    folder.mkdir()
    (folder / "evil.py").write_text(EVIL)
    soundfile.write(tmp_path / "a.wav", torch.randn(32_000).mul(0.1).numpy(), 32_000)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])

    def naming(name, where="backbone"):
        for path in trained.rglob("*"):
            if path.is_file():
                (folder / path.relative_to(trained)).parent.mkdir(exist_ok=True)
                (folder / path.relative_to(trained)).write_bytes(path.read_bytes())
        entries = json.loads((folder / "config.json").read_text())
        entries["config"]["model"][where] = name
        del entries["sha256"]
        write_record(folder / "config.json", entries)
        for weights in folder.glob("*.safetensors"):
            tensors, facts, _ = read_weights(weights)
            del facts["network_sha256"]
            write_weights(weights, tensors, facts)
        return folder

    yield naming
    for name in [name for name in sys.modules if name.split(".")[0] in ("shared_run", "evil")]:
        del sys.modules[name]


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("where", ["backbone", "local_backbone"])
def test_no_command_runs_what_a_folder_names(downloaded, tmp_path, monkeypatch, capsys, inside, where):
    name = "evil:make" if inside else "shared_run.evil:make"
    folder = downloaded(name, where)
    monkeypatch.chdir(folder if inside else tmp_path)
    for arguments in (("tag", tmp_path / "a.wav"), ("evaluate",)):
        assert glat(monkeypatch, *arguments, "--run", folder) == 2
        complaint = capsys.readouterr().err
        assert complaint.count("\n") == 1
        assert f"asks for the network {name}" in complaint
        assert f"--allow-code {name.split(':')[0]}" in complaint
    for flags in (
        ("--init-from", folder, *TINY, *SOME, "--run-dir", tmp_path / "new"),
        ("--resume", folder),
        ("--resume", "auto", "--run-dir", folder),
        ("--resume", folder, "--backbone", "other:make"),
    ):
        with pytest.raises(UserError, match=rf"asks for the network {name}, .* add --(local-)?backbone {name}"):
            train_here(*flags)
    for call in (lambda: load_model(open_run(folder)), lambda: load_pretrained(folder)):
        with pytest.raises(UserError, match="asks for the network"):
            call()
    assert not (folder / "ran").exists()
    assert str(folder) not in sys.path
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("name", ["os:kill", "os:system", "shutil:rmtree", "builtins:exec", "subprocess:call"])
def test_nothing_of_python_itself_is_called_even_where_it_is_named(downloaded, tmp_path, monkeypatch, capsys, name):
    folder = downloaded(name)
    monkeypatch.chdir(tmp_path)
    for more in ((), ("--allow-code", name), ("--allow-code", name.split(":")[0])):
        assert glat(monkeypatch, "tag", "a.wav", "--run", folder, *more) == 2
        complaint = capsys.readouterr().err
        assert complaint.count("\n") == 1
        assert "wanted" in complaint if more else "--allow-code" in complaint


def test_code_that_the_caller_names_runs(downloaded, tmp_path, monkeypatch):
    folder = downloaded("shared_run.evil:make")
    monkeypatch.chdir(tmp_path)
    assert glat(monkeypatch, "tag", "a.wav", "--run", folder, "--allow-code", "other,shared_run.evil") == 0
    assert (folder / "ran").exists()
    assert load_pretrained(folder, allow_code=["shared_run.evil:make"]).global_.num_classes == 12
    train_here("--resume", folder, "--backbone", "shared_run.evil:make")
