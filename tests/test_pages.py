"""Every command on every page runs, in a small world; what cannot run here says so on its page, and is parsed."""

import re
import shutil

import pytest
from pages import BLOCK, PAGES, ROOT, SECONDS, block, commands, make_world
from trained import glat, train_here

from glat import cli
from glat.settings.training import parse_train_config

SMALL = ("--width", "0.0625", "--batch-size", "1", "--crop-seconds", "0.4", "--dry-run")
FEW = ("--train-clips", "8", "--eval-clips", "8")
SHRUNK = {"600": "8"}  # clips to evaluate
QUICKER = {"evaluate": ("--resamples", "10")}
PARSED = {"sweep", "demo", "export"}  # trains for hours; serves until it is ended; test_export_page.py runs it
FOUND = {"check-data": {0, 1}}  # 1: it found something


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page, world, tmp_path, monkeypatch, capsys):
    here = tmp_path / "here"
    shutil.copytree(world, here)
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(here)
    if page.name == "own_network.md":
        (here / "my_audio.py").write_text(block(page.name, "python"))
        shutil.rmtree(here / "runs" / "a")
        own = ("--backbone", "my_audio:my_network", *SECONDS, "--iterations", "2", "--run-dir", "runs/a")
        train_here("--data", "recordings", *own)
    for line, words, not_run in commands(page):
        status = run(words, not_run is not None, monkeypatch)
        said = capsys.readouterr()
        assert status in FOUND.get(words[1], {0}), f"{page.name}: {line}\n{said.err}"


def run(words, parse_alone, monkeypatch):
    """Run a command, or what of it takes seconds; returns its exit status."""
    match words:
        case ["make", target, *_]:
            assert target in rules(), target
        case ["pip" | "ssh" | "hf", *_]:
            pass
        case ["python", "-c", program]:
            exec(compile(program, "<page>", "exec"), {})
        case ["python", "-m", module, *_] if module.startswith("bench."):
            path = ROOT.joinpath(*module.split("."))
            assert path.with_suffix(".py").is_file() or path.joinpath("__main__.py").is_file(), module
        case ["python", "train.py", *flags] | ["glat", "train", *flags]:
            if parse_alone:
                return parsed(flags)
            soundscapes = not {"--data", "--resume", "--config"} & {*flags} or "--mix" in flags
            train_here(*flags, *SMALL, *(FEW if soundscapes else ()))
        case ["torchrun", *rest]:
            flags = rest[rest.index("train.py") + 1 :]
            return parsed([flag for flag in flags if flag != "..."])
        case ["glat", name, *flags]:
            if not parse_alone and name not in PARSED:
                flags = [SHRUNK.get(flag, flag) for flag in flags]
                return glat(monkeypatch, name, *flags, *QUICKER.get(name, ()))
            cli._parse_sweep(flags) if name == "sweep" else cli._parse(name, flags)
        case _:
            raise AssertionError(f"a command that no test knows: {words}")
    return 0


def rules():
    """Targets of the Makefile that do something."""
    return re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_target_has_a_rule():
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony
    assert sorted(phony[1].split()) == sorted(rules())


def parsed(flags):
    parse_train_config(flags)
    return 0


def test_a_command_that_does_not_exist_is_noticed(monkeypatch, capsys):
    with pytest.raises(AssertionError, match="no test knows"):
        run(["glatt", "tag"], False, monkeypatch)
    assert run(["glat", "tag", "--no-such-flag"], False, monkeypatch) == 2
    with pytest.raises(SystemExit):
        run(["glat", "sweep", "--out", "x", "--no-such-flag"], True, monkeypatch)
    assert "no-such-flag" in capsys.readouterr().err


def test_no_block_of_commands_is_overlooked():
    for page in PAGES:
        fences = re.findall(r"^ *(?:```|~~~) *(\w+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        shells = [language for language in fences if language in ("bash", "sh", "shell", "console")]
        assert len(shells) == len(BLOCK.findall(page.read_text(encoding="utf-8"))), page.name
        assert bool(shells) == bool(list(commands(page))), page.name
    assert {PAGES[0].name, "training.md"} <= {page.name for page in PAGES if list(commands(page))}
