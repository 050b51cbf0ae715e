"""Runs as the world hands them over: what the commands that take one make of each."""

import shutil

import numpy as np
import pytest
import soundfile
from cases import containers
from cases import runs as made
from flags import TINY
from trained import glat, train_here

from glat.errors import UserError

SOME = ("--train-clips", 8, "--eval-clips", 6, "--schedule", "constant")
EDITED = "config.json is damaged, or was edited: its sha256 does not match"
NO_RUN = "is no run folder: it has no config.json; give the folder that train.py named"
ALONE = "has weights and no checkpoint: it cannot go on, and starting anew would lose them"
CUT = "model.safetensors is damaged"
CASES = {  # {command: the sentence that refuses, or None}
    "copied": {"evaluate": None, "init": None, "resume": None},
    "without_logs": {"tag": None, "plot": None, "resume": None},
    "read_only": {"tag": None},
    "weights_alone": {"tag": None, "resume": ALONE},
    "cut_checkpoint": {"tag": None, "resume": None},  # from the one before
    "renamed_checkpoint": {"tag": None, "resume": ALONE},
    "cut_weights": {"tag": CUT, "init": CUT, "evaluate": CUT},
    "other_classes": dict.fromkeys(("evaluate", "tag", "plot", "resume", "init"), EDITED),
    "empty": dict.fromkeys(("evaluate", "tag", "plot", "resume", "init"), NO_RUN),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of built-in soundscapes that has ended."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    train_here(*TINY, *SOME, "--iterations", 2, "--run-dir", folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_every_command_takes_a_run_or_says_why_not(name, trained, tmp_path, monkeypatch, capsys):
    sound = tmp_path / "x.wav"
    soundfile.write(sound, containers.sound(1.0, 32_000).astype(np.float32), 32_000)
    for command, sentence in CASES[name].items():
        root = tmp_path / command
        root.mkdir()
        folder = getattr(made, name)(trained, root)
        capsys.readouterr()
        status, said = 0, ""
        try:
            if command == "resume":
                train_here("--resume", folder, "--iterations", 3)
            elif command == "init":
                train_here(*TINY, *SOME, "--iterations", 1, "--run-dir", root / "new", "--init-from", folder)
            else:
                arguments = {
                    "evaluate": ("--run", folder),
                    "tag": (sound, "--run", folder),
                    "plot": (folder, "-o", root / "pictures"),
                }
                status = glat(monkeypatch, command, *arguments[command])
        except UserError as error:
            status, said = 2, str(error)
        said = said or capsys.readouterr().err.strip()
        assert (status == 0) == (sentence is None), said
        if sentence is not None:
            assert sentence in said
            assert "\n" not in said
        shutil.rmtree(root, ignore_errors=True)
