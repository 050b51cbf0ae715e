"""The `glat` command: what it prints without importing anything, and what its parts import."""

import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import glat
from glat import cli
from glat.commands import COMMANDS, train

HEAVY = ("torch", "numpy", "scipy", "sklearn", "h5py", "matplotlib", "soundfile", "soxr", "nvidia", "tyro", "rich")


def imported_by(program: str) -> set[str]:
    """Packages that are imported once a program has run, in a fresh process."""
    ending = "\nimport sys; print('imported:', *sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program + ending], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["no-such-command"], []])
def test_what_needs_no_command_imports_none(arguments):
    program = f"""
import contextlib, sys
sys.argv = ["glat", *{arguments!r}]
from glat.cli import main
with contextlib.suppress(SystemExit):
    main()
"""
    assert not imported_by(program) & set(HEAVY)


def test_the_operators_import_torch_and_nothing_else_that_is_heavy():
    # torch itself imports numpy; DALI, HDF5, sound and plots are ours alone.
    found = imported_by("from glat.kernels import select_crops")
    assert not found & (set(HEAVY) - {"torch", "numpy"} | {"triton"})


def test_the_package_imports_nothing_heavy():
    assert not imported_by("import glat") & set(HEAVY)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_help_says_of_a_command_what_the_command_says_of_itself(name):
    module, class_name, said = COMMANDS[name]
    command = getattr(importlib.import_module(f"glat.commands.{module}"), class_name)
    assert said == command.__doc__.splitlines()[0]


def test_the_version_is_that_of_the_installation(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["glat", "--version"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    assert capsys.readouterr().out == f"glat {version('glat')}\n"
    assert glat.__version__ == version("glat")


def test_an_unknown_command_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["glat", "tug"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: there is no command 'tug'; choose one of train, tag")
    assert len(said.splitlines()) == 1


def test_the_checkout_trains_with_its_own_train():
    assert train.script() == Path(glat.__file__).resolve().parents[1] / "train.py"
    assert train.script().is_file()


def test_train_is_called_as_train_py_is(monkeypatch, tmp_path):
    path, seen = tmp_path / "train.py", tmp_path / "seen"
    path.write_text(f"import pathlib, sys\npathlib.Path({str(seen)!r}).write_text(repr((__name__, sys.argv[1:])))\n")
    monkeypatch.setattr(train, "script", lambda: path)
    monkeypatch.setattr(sys, "argv", ["glat", "train", "--width", "0.1"])
    cli.main()
    assert seen.read_text() == repr(("__main__", ["--width", "0.1"]))


def test_an_installation_without_train_py_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(train, "__file__", str(tmp_path / "glat" / "commands" / "train.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["glat", "train"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert "has no train.py" in capsys.readouterr().err


def test_help_fits_a_terminal_of_80_columns():
    assert max(map(len, cli.usage().splitlines())) <= 80


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_help_of_a_command_fits_too_and_says_no_default_of_none(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli._parse(name, ["--help"])
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines()[1:])) <= 80  # but for the line of usage, which tyro does not wrap
    assert not re.search(r"\(default: *(None)?\)", " ".join(said.replace("│", " ").split()))
    assert ("(required)" in said) == (name in ("export", "demo", "evaluate", "sweep", "push", "pack"))
    assert name not in ("tag", "demo") or "(default: 0.25)" in said, "those that say something stay"


@pytest.mark.parametrize("extra", ["events", "dev"])
def test_event_metrics_get_a_setuptools_that_has_pkg_resources(extra):
    # dcase_util, which sed_scores_eval brings, imports it; without it `pip install 'glat[events]'` changes nothing.
    extras = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert {"sed_scores_eval>=0.0.4", "setuptools<82"} <= set(extras["optional-dependencies"][extra])
