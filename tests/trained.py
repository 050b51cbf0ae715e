"""A small run that has ended, and the `glat` command in this process, for the tests of what uses a run."""

import importlib.util
import sys
from pathlib import Path

import pytest

from glat import cli
from glat.settings.training import parse_train_config
from glat.training import keeper

ROOT = Path(__file__).resolve().parents[1]


def train_main():
    """`main` of train.py."""
    spec = importlib.util.spec_from_file_location("train", ROOT / "train.py")
    assert spec is not None
    assert spec.loader is not None
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    return train.main


def without_pictures(patch):
    """Training draws none: they take most of the time of a run of a few steps."""
    patch.setattr(keeper.Keeper, "_show", lambda *arguments: None)
    patch.setattr(keeper, "plot_curves", lambda runs, path: None)


def train_here(*flags, pictures=False):
    """Train in this process, `without_pictures` unless a test looks at them; returns what `main` does."""
    with pytest.MonkeyPatch.context() as patch:
        if not pictures:
            without_pictures(patch)
        return train_main()(parse_train_config([str(flag) for flag in flags]))


def glat(monkeypatch, *arguments):
    """Run the command in this process; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["glat", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code
