"""Labels and file names that would move a cursor, forge a line or be a formula pass every command and harm nothing."""

import csv
import json
import os

import numpy as np
import pytest
import soundfile
from flags import TINY
from trained import glat, train_here

from glat.data.names import clean
from glat.errors import UserError

LABELS = ("=cmd|' /C calc'!A0\x1b[2J\x1b]0;owned\x07", "dog\u202egod\n\u2066error: all is well\x9b31m")
OBEYED = set("\x1b\x07\x9b\u202e\u2066\r")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Two classes of hostile names."""
    root = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for label in LABELS:
        (root / label.replace("/", "∕")).mkdir()
        for i in range(4):
            path = root / label.replace("/", "∕") / f"\x1b[31m{i}\n\u202e.wav"
            soundfile.write(os.fspath(path), 0.1 * rng.normal(size=32_000), 32_000, format="WAV")
        (root / label.replace("/", "∕") / "bad\x1b[2J\n.wav").write_bytes(b"RIFF")
    return root


@pytest.fixture(scope="module")
def run(recordings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one\x1b[2J"
    train_here(*TINY, "--data", recordings, "--iterations", 2, "--run-dir", folder, pictures=True)
    return folder


def harmless(capsys, forged="error: all is well"):
    said = capsys.readouterr()
    for text in (part.replace("\r\n", "\n") for part in said):  # CSV's line end
        assert not set(text) & OBEYED, repr(text)
        assert not any(line.startswith(forged) for line in text.splitlines())
    return said


def test_training_says_names_and_obeys_none(recordings, tmp_path, capsys):
    train_here(*TINY, "--data", recordings, "--iterations", 1, "--run-dir", tmp_path / "\x1b[2Ja b")
    said = harmless(capsys).out
    assert r"bad\x1b[2J\n.wav" in said
    assert r"--run '" in said.splitlines()[-1], "quoted for a shell"


@pytest.mark.parametrize("how", [(), ("--csv",), ("--json",)])
def test_tag(run, recordings, tmp_path, monkeypatch, capsys, how):
    files = sorted(recordings.glob("*/*.wav"))
    table = tmp_path / "tags.csv"
    if how == ("--csv",):
        how = ("--csv", table)
    assert glat(monkeypatch, "tag", *files, "--run", run, "--plot", tmp_path / "a.svg", *how) == 1, "two are bad"
    said = harmless(capsys)
    assert r"dog\u202egod" in (table.read_text() if table.exists() else said.out)
    assert r"bad\x1b[2J\n.wav" in said.err
    assert not set((tmp_path / "a.svg").read_text()) & OBEYED
    if how == ("--json",):
        assert {tag["class"] for item in json.loads(said.out) if "tags" in item for tag in item["tags"]} == {
            clean(label.replace("/", "∕")) for label in LABELS
        }
    if table.exists():
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert {row["class"][:5] for row in rows} == {"'=cmd", "doggo"}
        assert len(rows) == 16


def test_evaluate_plot_and_check_data(run, recordings, tmp_path, monkeypatch, capsys):
    table = tmp_path / "classes.csv"
    assert glat(monkeypatch, "evaluate", "--run", run, "--resamples", 0, "--csv", table) == 0
    assert not set(table.read_text()) & (OBEYED - {"\r"})
    with table.open(newline="") as file:
        assert [row["class"][:5] for row in csv.DictReader(file)] == ["'=cmd", "doggo"]
    assert glat(monkeypatch, "plot", run, "--out", tmp_path / "all.svg") == 0
    assert not set((tmp_path / "all.svg").read_text()) & OBEYED
    glat(monkeypatch, "check-data", "--data", recordings)
    assert glat(monkeypatch, "plot", tmp_path / "no\x1b[2J\nerror: all is well") == 2
    harmless(capsys)


def test_pack(recordings, tmp_path, monkeypatch, capsys):
    assert glat(monkeypatch, "pack", tmp_path / "pack\x1b[2J", "--data", recordings, "--workers", 1) == 0
    harmless(capsys)
    for name in ("clips.csv", "skipped.csv"):
        text = (tmp_path / "pack\x1b[2J" / name).read_text()
        assert not set(text) & (OBEYED - {"\r"})
        assert "'=cmd" in text


def test_the_hint_to_convert_a_file_runs_nothing_of_its_name(tmp_path):
    import shlex

    import torch

    from glat.runs.pretrained import load_pretrained

    path = tmp_path / "a'; rm -rf ~; echo $(id) \"x.pth"
    torch.save({"model": {"a": print}}, path)
    with pytest.raises(UserError, match="python -c") as raised:
        load_pretrained(path)
    words = shlex.split(str(raised.value).split("convert it: ")[1].split(", and give")[0])
    assert words[:2] == ["python", "-c"]
    assert len(words) == 3
    assert repr(str(path)) in words[2]
    compile(words[2], "hint", "exec")
