"""Runs on long recordings whose events are known: trained, killed and gone on with, evaluated and tagged."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from flags import TINY
from processes import metrics
from safetensors.torch import load_file
from sounds import noise
from trained import glat, train_here

from glat.data import load
from glat.runs import checkpoints
from glat.runs.folder import fingerprint_of, open_run
from glat.training import evaluator

RATE = 32_000


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Six recordings of 5 s of faint noise with two tones and a burst of noise each, and one of noise alone."""
    folder = tmp_path_factory.mktemp("long")
    rows = ["file,onset,offset,label,fold"]
    for i in range(6):
        wave = 0.01 * noise(5.2, RATE, seed=i)
        for label, onset in (("tone", 0.5 + 0.1 * i), ("burst", 2.0 + 0.2 * i), ("tone", 4.0)):
            first, count = round(onset * RATE), round(0.6 * RATE)
            event = 0.4 * np.sin(np.arange(count) * 0.2) if label == "tone" else noise(0.6, RATE, seed=90 + i)
            wave[first : first + count] += event
            rows.append(f"{i}.wav,{onset:.2f},{onset + 0.6:.2f},{label},{'eval' if i > 3 else 'train'}")
        soundfile.write(folder / f"{i}.wav", wave, RATE)
    soundfile.write(folder / "quiet.wav", 0.01 * noise(3.0, RATE, seed=77), RATE)
    (folder / "long.csv").write_text("\n".join(rows) + "\nquiet.wav,,,,train\n")
    return folder / "long.csv"


@pytest.fixture(scope="module")
def flags(table):
    return (*TINY, "--data", table, "--eval-folds", "eval", "--iterations", 6, "--save-every", 2, "--log-every", 1,
            "--sampler", "balanced")  # fmt: skip


@pytest.fixture(scope="module")
def run(flags, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, train_here(*flags, "--run-dir", folder)


def test_a_killed_run_goes_on_to_the_same_bits(run, flags, tmp_path, monkeypatch):
    save = checkpoints.save

    def save_and_die(folder, state):
        save(folder, state)
        if state["step"] == 4:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save", save_and_die)
        with pytest.raises(Killed):
            train_here(*flags, "--run-dir", tmp_path / "killed")
    train_here("--run-dir", tmp_path / "killed", "--resume", "auto")
    whole = run[0]
    assert metrics(tmp_path / "killed") == metrics(whole)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (whole, tmp_path / "killed"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_windows_and_recordings_are_counted_and_events_scored(run, table, monkeypatch, capsys):
    folder, result = run
    assert (result.clips, result.recordings) == (10, 2)
    assert train_here("--run-dir", folder, "--resume", "auto").recordings == 2  # it has ended, and says so
    assert json.loads((folder / "evaluation.json").read_text())["recordings"] == 2
    out = folder.parent / "found.json"
    flags = ("--run", folder, "--data", table, "--eval-folds", "eval", "--resamples", 20, "--no-events", "--json", out)
    assert glat(monkeypatch, "evaluate", *flags) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "10 windows of 1 s, of 2 recordings, SHA-256" in said
    assert "95 % over 20 resamples of the recordings, with all of their windows" in said
    assert json.loads(out.read_text())["hits"]["crops"] > 0


def test_a_run_ends_with_the_event_metrics_of_glat_evaluate(run, monkeypatch, capsys):
    pytest.importorskip("sed_scores_eval", reason="needs glat[events]")
    folder, result = run
    kept = json.loads((folder / "evaluation.json").read_text())["events"]
    train_here("--run-dir", folder, "--resume", "auto")  # it has ended, and prints what it has kept
    said = capsys.readouterr().out
    assert f"{kept['events']} events of 2 classes, F1 at 0.5" in said
    assert f"│ PSDS2      │  {result.when.scores['frames']['PSDS2']:.3f} │" in said
    out = folder.parent / "own.json"
    assert glat(monkeypatch, "evaluate", "--run", folder, "--resamples", 0, "--json", out) == 0
    for evidence, found in json.loads(out.read_text())["events"]["evidence"].items():
        assert found["scores"] == pytest.approx(kept["evidence"][evidence]["scores"], abs=1e-6)
        assert found["scores"] == pytest.approx(result.when.scores[evidence], abs=1e-6)
    assert max(kept["evidence"]["frames"]["scores"].values()) > 0
    assert glat(monkeypatch, "plot", folder, "-o", folder.parent / "pictures") == 0
    assert (folder.parent / "pictures" / "when.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_whose_events_are_not_scored_says_how_they_are(run, monkeypatch):
    clips = load(open_run(run[0]).config.data, RATE).evaluation
    assert evaluator.events_scored(replace(clips, events=None)) == (False, [])
    with monkeypatch.context() as patched:
        patched.setattr(evaluator, "MOST_COUNTED", 19)  # of 10 clips and 2 classes
        assert "takes minutes for so many clips" in evaluator.events_scored(clips)[1][0]
    monkeypatch.setitem(sys.modules, "sed_scores_eval", None)
    assert "pip install 'glat[events]'" in evaluator.events_scored(clips)[1][0]


def test_one_recording_has_no_intervals(run, table, monkeypatch, capsys):
    one = table.with_name("one.csv")
    rows = table.read_text().splitlines()
    one.write_text("\n".join([rows[0], *(row for row in rows if row.startswith("4.wav"))]))
    out = run[0].parent / "one.json"
    assert glat(monkeypatch, "evaluate", "--run", run[0], "--data", one, "--no-events", "--json", out) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "of 1 recording," in said
    assert "no intervals: all that is scored is one recording" in said
    assert "in brackets" not in said
    found = json.loads(out.read_text())
    assert found["resamples"] == 0
    assert found["streams"]["fused"]["intervals"] is None


def test_other_times_are_other_recordings(run, table):
    folder, _ = run
    config = open_run(folder).config
    text = table.read_text()
    assert fingerprint_of(load(config.data, RATE)) == open_run(folder).fingerprint
    table.write_text(text.replace("0.wav,0.50,1.10,tone", "0.wav,0.51,1.10,tone"))
    try:
        assert fingerprint_of(load(config.data, RATE)) != open_run(folder).fingerprint
    finally:
        table.write_text(text)


def test_the_opening_lines_say_how_long_recordings_are_heard(flags, tmp_path, capsys):
    at = flags.index("--num-crops")
    train_here(*flags[:at], *flags[at + 2 : -4], "--iterations", 1, "--run-dir", tmp_path / "one")
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "windows of 5 recordings to train on, each begins where the sampler draws it; of 2 recordings to evaluate on, "
        "one behind the other; labelled by what sounds in them for 0.3 s (--min-overlap)"
    ) in said
    assert "2 crops of 0.5 s, not 5, as there are 2 classes (--num-crops, --crop-seconds)" in said
