"""A small run that has ended, and the `glat` command in this process, for the tests of what uses a run."""

import importlib.util
import sys
from pathlib import Path

import pytest

from glat import cli
from glat.settings.training import parse_train_config

ROOT = Path(__file__).resolve().parents[1]


def train_main():
    """`main` of train.py."""
    spec = importlib.util.spec_from_file_location("train", ROOT / "train.py")
    assert spec is not None
    assert spec.loader is not None
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    return train.main


def train_here(*flags):
    """Train in this process; returns what `main` does."""
    return train_main()(parse_train_config([str(flag) for flag in flags]))


def glat(monkeypatch, *arguments):
    """Run the command in this process; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["glat", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code
