"""A user's files stay as they are: in a run's folder, beside checkpoints, and where an output flag points."""

import json
import os
import re

import numpy as np
import pytest
import soundfile
from flags import TINY
from matplotlib.figure import Figure
from trained import ROOT, glat, train_here

from glat.commands.costs import PAGE as COSTS
from glat.data.packs.write import pack
from glat.data.recordings.manifest import read_manifest
from glat.errors import UserError
from glat.outputs import PICTURE, Output
from glat.plots.style import PICTURES, save
from glat.runs.digests import write_record

HIDDEN = (".my-notes/thesis.txt", ".git-credentials", ".pre-commit-config.yaml", ".glat-tmp-mine/a.txt")


def tree(folder):
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A CSV of eight recordings of two classes."""
    root = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    lines = ["file,label"]
    for label in ("a", "b"):
        (root / label).mkdir()
        for i in range(4):
            soundfile.write(root / label / f"{i}.wav", 0.1 * rng.normal(size=32_000), 32_000)
            lines.append(f"{label}/{i}.wav,{label}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def run(recordings, tmp_path_factory):
    """A run that has ended."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    train_here(*TINY, "--data", recordings / "labels.csv", "--iterations", 2, "--run-dir", folder)
    return folder


def test_hidden_files_in_a_runs_folder_stay(recordings, tmp_path):
    for name in HIDDEN:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("years of work")
    before = tree(tmp_path)
    with pytest.raises(UserError, match="no such file or folder"):
        train_here(*TINY, "--data", tmp_path / "nowhere", "--run-dir", tmp_path / "run")
    assert tree(tmp_path) == before, "a start that was refused"
    flags = (*TINY, "--data", recordings, "--iterations", 1, "--run-dir", tmp_path / "run", "--resume", "auto")
    train_here(*flags)
    assert before.items() <= tree(tmp_path).items()


def test_a_resumed_run_that_is_refused_leaves_what_a_kill_left(run, tmp_path, recordings):
    left = run / ".glat-tmp-model-abcd0123.safetensors"
    left.touch()
    with pytest.raises(UserError, match="--num-crops is 3"):
        train_here("--num-crops", 3, "--run-dir", run, "--resume", "auto")
    assert left.exists()
    train_here("--run-dir", run, "--resume", "auto")
    assert not left.exists()


def test_a_users_copies_among_the_checkpoints_are_left_alone_and_named(recordings, tmp_path, capsys):
    folder = tmp_path / "run"
    flags = (*TINY, "--data", recordings, "--save-every", 2, "--log-every", 1, "--run-dir", folder)
    train_here(*flags, "--iterations", 6)
    whole = folder / "checkpoints" / "000000000006.pt"
    copies = {name: folder / "checkpoints" / name for name in ("0-mine.pt", "2026-01-first.pt", "99.pt", "notes.txt")}
    for path in copies.values():
        path.write_bytes(whole.read_bytes())
    renamed = folder / "checkpoints" / "999999999999.pt"  # a copy that looks like one of glat's
    renamed.write_bytes(whole.read_bytes())
    # Goes on for two more steps: a record that says so.
    entries = json.loads((folder / "config.json").read_text())
    entries["config"]["optim"]["iterations"] = 8
    del entries["sha256"]
    write_record(folder / "config.json", entries)
    capsys.readouterr()
    train_here("--run-dir", folder, "--resume", "auto")
    said = capsys.readouterr().out
    assert "going on after step 6" in said
    assert said.count("left alone in") == 1
    assert all(name in said for name in copies)
    assert re.search("999999999999.pt is damaged .it is of step 6, under another name", said)
    assert all(path.read_bytes() for path in copies.values())
    kept = {path.name for path in (folder / "checkpoints").iterdir()}
    assert kept == {*copies, "999999999999.damaged", "000000000006.pt", "000000000008.pt"} or copies.keys() < kept


def test_a_pack_does_not_touch_hidden_files_of_its_folder(recordings, tmp_path):
    for name in (".lock", ".shard-notes.txt", ".manifest-mine/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = tree(tmp_path)
    pack(tmp_path, read_manifest(recordings), clip_seconds=0.5, workers=1)
    assert before.items() <= tree(tmp_path).items()


PNG = b"\x89PNG\r\n\x1a\n" + b"holiday" * 10
# By command: its flags, the flag of its output, and the suffix of that.
COMMANDS = {
    "evaluate --csv": (("evaluate", "--run", "{run}", "--resamples", 0), "--csv", ".csv"),
    "evaluate --json": (("evaluate", "--run", "{run}", "--resamples", 0), "--json", ".json"),
    "tag --csv": (("tag", "{data}/a/0.wav", "--run", "{run}"), "--csv", ".csv"),
    "tag --plot": (("tag", "{data}/a/0.wav", "--run", "{run}"), "--plot", ".png"),
    "plot png": (("plot", "{run}"), "--out", ".png"),
    "check-data --json": (("check-data", "--data", "{data}"), "--json", ".json"),
}


def command(name, run, recordings, output, *more):
    flags, flag, _ = COMMANDS[name]
    return (*(str(part).format(run=run, data=recordings) for part in flags), flag, output, *more)


def foreign(path):
    """Put something of the user's there: what a file of this suffix may well hold."""
    content = {".png": PNG, ".csv": b"file,label\na.wav,a\n", ".json": b'{"mine": 1}', ".md": b"# My notes\n"}
    path.write_bytes(content.get(path.suffix, b"%PDF-1.4 of mine"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_that_is_not_the_commands_own_kind_of_result_stays(name, run, recordings, tmp_path, monkeypatch, capsys):
    path = tmp_path / f"output{COMMANDS[name][2]}"
    foreign(path)
    before = tree(tmp_path)
    assert glat(monkeypatch, *command(name, run, recordings, path)) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1, complaint
    assert "exists and is not a" in complaint
    assert "--overwrite" in complaint
    assert tree(tmp_path) == before
    assert glat(monkeypatch, *command(name, run, recordings, path, "--overwrite")) == 0
    written = tree(tmp_path)
    assert written != before
    assert list(written) == list(before), "nothing lies beside it"
    assert glat(monkeypatch, *command(name, run, recordings, path)) == 0, "its own result it replaces without a flag"
    assert list(tree(tmp_path)) == list(before)


def test_every_kind_of_picture_and_the_page_of_costs_are_known_again(tmp_path, monkeypatch, capsys):
    for suffix in PICTURES:
        path = tmp_path / f"drawn{suffix}"
        save(Figure(figsize=(1, 1)), path)
        assert PICTURE.is_of(path), suffix
        foreign(path)
        assert not PICTURE.is_of(path), suffix
    page = tmp_path / "costs.md"
    foreign(page)
    assert glat(monkeypatch, "costs", "--markdown", page) == 2
    assert "costs.md exists and is not a page of glat costs" in capsys.readouterr().err
    Output("--markdown", ROOT / "docs" / "costs.md", COSTS)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_flag_writes_over_the_record_of_a_run(name, run, recordings, monkeypatch, capsys, tmp_path):
    before = tree(run)
    for record in ("config.json", "model.safetensors", "checkpoints/mine.json"):
        link = tmp_path / f"{record.replace('/', '-')}{COMMANDS[name][2]}"
        link.symlink_to(run / record)
        assert glat(monkeypatch, *command(name, run, recordings, link, "--overwrite")) == 2
        assert "belongs to the record of the run" in capsys.readouterr().err
    assert tree(run) == before


def test_no_flag_writes_over_what_its_command_reads(run, recordings, tmp_path, monkeypatch, capsys):
    """Also through links and with --overwrite."""
    linked, hard = tmp_path / "linked.csv", tmp_path / "hard.csv"
    linked.symlink_to(recordings / "labels.csv")
    os.link(recordings / "labels.csv", hard)
    before = tree(recordings)
    of_the_run = ("evaluate", "--run", run, "--resamples", 0)
    others = (*of_the_run, "--data", recordings / "labels.csv")
    sound = recordings / "a" / "0.wav"
    asked = [
        (*flags, "--csv", path) for flags in (of_the_run, others) for path in (linked, hard, recordings / "labels.csv")
    ]
    asked += [
        (*others, "--json", recordings / "labels.csv"),
        ("tag", sound, "--run", run, "--plot", tmp_path / "0.png"),
    ]
    (tmp_path / "0.png").symlink_to(sound)
    asked += [("check-data", "--data", recordings, "--json", sound)]
    for flags in asked:
        assert glat(monkeypatch, *flags, "--overwrite") == 2
        complaint = capsys.readouterr().err
        assert re.search("that this command reads|among the files that this command reads", complaint), complaint
    assert tree(recordings) == before


def test_a_device_and_a_folder_are_no_place_for_a_result(run, recordings, tmp_path, monkeypatch, capsys):
    os.mkfifo(tmp_path / "pipe.csv")
    for path, said in ((tmp_path / "pipe.csv", "is neither a file nor free"), (tmp_path, "give a file in a folder")):
        assert glat(monkeypatch, *command("evaluate --csv", run, recordings, path, "--overwrite")) == 2
        assert said in capsys.readouterr().err


def test_pictures_of_tags_are_looked_at_before_one_is_drawn(run, recordings, tmp_path, monkeypatch, capsys):
    foreign(tmp_path / "00001-1.png")
    before = tree(tmp_path)
    flags = ("tag", recordings / "a" / "0.wav", recordings / "a" / "1.wav", "--run", run, "--plot", tmp_path)
    assert glat(monkeypatch, *flags) == 2
    assert "00001-1.png exists and is not a picture that glat drew" in capsys.readouterr().err
    assert tree(tmp_path) == before
    for more in (["--overwrite"], []):
        assert glat(monkeypatch, *flags, *more) == 0
    assert list(tree(tmp_path)) == ["00000-0.png", "00001-1.png"]


def test_pictures_of_a_folder_are_looked_at_before_one_is_drawn(run, recordings, tmp_path, monkeypatch, capsys):
    foreign(tmp_path / "classes.png")
    before = tree(tmp_path)
    assert glat(monkeypatch, "plot", run, "--out", tmp_path) == 2
    assert "classes.png exists and is not a picture that glat drew" in capsys.readouterr().err
    assert tree(tmp_path) == before
    assert glat(monkeypatch, "plot", run) == 0, "over the curves that training drew"
    assert glat(monkeypatch, "plot", run) == 0
