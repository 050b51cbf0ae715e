"""A damaged or hostile run's folder: every reader says so in one line, and none answers otherwise than it should."""

import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import torch
from flags import TINY
from flips import silent_flips
from safetensors.torch import load_file, save_file
from trained import glat, train_here

from glat.errors import GlatWarning, UserError
from glat.runs import digests
from glat.runs import folder as run
from glat.runs.results import read_evaluation
from glat.runs.weights import NETWORK, load_model

SOME = ("--train-clips", 8, "--eval-clips", 8)
FLIPS = 40 if "GLAT_STRESS" in os.environ else 5


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of built-in soundscapes that has ended."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    train_here(*TINY, *SOME, "--iterations", 4, "--save-every", 2, "--log-every", 1, "--run-dir", folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """A copy of it to damage."""
    return shutil.copytree(whole, tmp_path / "run")


def rewritten(folder, change, seal=True):
    """Change the recorded entries; `seal`: with the digests of what they are then."""
    entries = json.loads((folder / "config.json").read_text())
    del entries["sha256"]
    change(entries)
    if not seal:
        (folder / "config.json").write_text(json.dumps(entries))
        return
    digests.write_record(folder / "config.json", entries)
    for path in folder.glob("*.safetensors"):
        weights, facts, _ = digests.read_weights(path)
        digests.write_weights(path, weights, {name: text for name, text in facts.items() if name != NETWORK})


def test_no_flipped_bit_changes_an_answer_without_a_word(whole, tmp_path):
    made, silent = silent_flips(whole, tmp_path / "run", FLIPS, int(os.environ.get("GLAT_STRESS", "0")))
    print(f"{made} flips of {made // FLIPS} files, {len(silent)} silent")
    assert made >= 7 * FLIPS
    assert not silent


def test_a_whole_run_is_read_without_a_word(whole, recwarn, capsys, monkeypatch):
    load_model(run.open_run(whole))
    assert glat(monkeypatch, "plot", whole) == 0
    assert not [warning for warning in recwarn if issubclass(warning.category, GlatWarning)]
    assert capsys.readouterr().err == ""


def test_a_run_of_an_older_glat_is_read_and_that_is_said(folder, monkeypatch, capsys):
    rewritten(folder, lambda entries: None, seal=False)
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors")
    evaluation = json.loads((folder / run.EVALUATION).read_text())
    del evaluation["sha256"]
    (folder / run.EVALUATION).write_text(json.dumps(evaluation))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("".join(line.split(', "crc"')[0] + "}\n" for line in lines))
    assert len(run.read_metrics(folder).rows) == len(lines)
    assert glat(monkeypatch, "evaluate", "--run", folder, "--resamples", 0) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all(line.startswith("warning: ") and "holds no digest" in line for line in said)
    assert glat(monkeypatch, "plot", folder) == 0
    assert run.EVALUATION in capsys.readouterr().err


def test_weights_of_another_run_are_refused(whole, folder, tmp_path):
    rewritten(folder, lambda entries: entries["classes"].reverse())
    shutil.copy(whole / "model.safetensors", folder)
    with pytest.raises(
        UserError, match="model.safetensors is of another network or other classes than config.json beside it"
    ):
        load_model(run.open_run(folder))


@pytest.mark.parametrize("kind", ["nan", "inf", "int32", "float16", "missing"])
def test_weights_that_are_no_weights_are_refused(folder, kind, monkeypatch, capsys):
    weights = load_file(folder / "model.safetensors")
    name = next(name for name, tensor in weights.items() if tensor.dim() > 1)
    if kind in ("nan", "inf"):
        weights[name].view(-1)[3] = float(kind)
    elif kind == "missing":
        del weights[name]
    else:
        weights = {name: tensor.to(getattr(torch, kind)) for name, tensor in weights.items()}
    digests.write_weights(folder / "model.safetensors", weights, {})
    soundfile.write(folder / "a.wav", np.zeros(16_000), 16_000)
    for command in (("evaluate", "--resamples", 0), ("tag", folder / "a.wav")):
        assert glat(monkeypatch, *command, "--run", folder) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert ("not finite" if kind in ("nan", "inf") else "entries differ") in said


def test_a_damaged_line_of_the_metrics_is_dropped_and_said_and_the_run_goes_on(folder, capsys, monkeypatch):
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:1], lines[1].replace("loss", "lass"), "\x1b[2J", *lines[2:]]) + "\n")
    assert glat(monkeypatch, "plot", folder) == 0
    assert "metrics.jsonl: lines 2, 3 left out, damaged" in capsys.readouterr().err
    train_here("--run-dir", folder, "--resume", "auto")
    assert "metrics.jsonl: lines 2, 3 left out, damaged" in capsys.readouterr().out
    assert run.read_metrics(folder).damage == ()


# By name: what to do to the recorded entries.
HOSTILE = {
    "a number for a network": lambda e: e["config"]["model"].update(backbone=5),
    "a list for a network": lambda e: e["config"]["model"].update(backbone=["cnn10"]),
    "no such network": lambda e: e["config"]["model"].update(backbone="cnn99"),
    "a float for crops": lambda e: e["config"]["model"].update(num_crops=2.0),
    "text for crops": lambda e: e["config"]["model"].update(num_crops="2"),
    "true for crops": lambda e: e["config"]["model"].update(num_crops=True),
    "too many crops": lambda e: e["config"]["model"].update(num_crops=10**9),
    "an endless width": lambda e: e["config"]["model"].update(width=1e300),
    "a wide network": lambda e: e["config"]["model"].update(width=16),
    "no width": lambda e: e["config"]["model"].update(width=None),
    "a width of text": lambda e: e["config"]["model"].update(width="wide"),
    "a long crop": lambda e: e["config"]["model"].update(crop_seconds=3600),
    "a nested seed": lambda e: e["config"]["optim"].update(seed=[[1]]),
    "folds of numbers": lambda e: e["config"]["data"].update(eval_folds=[1, 2]),
    "a path of numbers": lambda e: e["config"]["data"].update(data=[1]),
    "a part of another kind": lambda e: e["config"].update(model=3),
    "no part": lambda e: e["config"].pop("feed"),
    "no config": lambda e: e.pop("config"),
    "a config of another kind": lambda e: e.update(config=[]),
    "no preset": lambda e: e["config"].pop("preset"),
    "a preset of another kind": lambda e: e["config"].update(preset={"a": 1}),
    "endless clips": lambda e: e.update(clip_samples=10**12),
    "clips of a float": lambda e: e.update(clip_samples=1e12),
    "clips of true": lambda e: e.update(clip_samples=True),
    "no clips": lambda e: e.update(clip_samples=0),
    "nested classes": lambda e: e.update(classes=[["a"], ["b"]]),
    "classes of numbers": lambda e: e.update(classes=list(range(12))),
    "classes of text": lambda e: e.update(classes="abcdefghijkl"),
    "a class twice": lambda e: e.update(classes=["a"] * 12),
    "no classes": lambda e: e.update(classes=[]),
    "fewer classes": lambda e: e.update(classes=["a", "b"]),
    "a fingerprint of another kind": lambda e: e.update(fingerprint=[1]),
    "no fingerprint": lambda e: e.pop("fingerprint"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_record_of_the_wrong_kind_is_one_line(folder, kind, monkeypatch, capsys):
    rewritten(folder, HOSTILE[kind])
    with pytest.raises(UserError) as raised:
        load_model(run.open_run(folder))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600
    if kind == "a number for a network":
        assert glat(monkeypatch, "evaluate", "--run", folder, "--resamples", 0) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_entries_of_a_newer_glat_say_so(folder):
    for change in (
        lambda e: e["config"]["model"].update(heads=4),
        lambda e: e["config"].update(search={}),
    ):
        copy = shutil.copytree(folder, folder.with_name("copy"), dirs_exist_ok=True)
        rewritten(copy, lambda e, change=change: (change(e), e["facts"].update(glat="9.1")))
        with pytest.raises(UserError, match=r"glat .* does not know: a newer version \(9.1\) wrote it; update glat"):
            run.open_run(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"a"', "[" * 100_000, '{"sha256": 3}', '{"config": null}'])
def test_text_that_is_no_record_is_one_line(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config.json is damaged") as raised:
        run.open_run(folder)
    assert "\n" not in str(raised.value)


WRONG = {
    "no streams": lambda e: e.pop("streams"),
    "a stream too few": lambda e: e["streams"].pop("fused"),
    "mAP of text": lambda e: e["streams"]["fused"].update(mAP="high"),
    "AP of text": lambda e: e["streams"]["fused"]["ap"].update(dict.fromkeys(e["streams"]["fused"]["ap"], "high")),
    "AP of other classes": lambda e: e["streams"]["global"].update(ap={"x": 0.5}),
    "AP of another kind": lambda e: e["streams"]["global"].update(ap=3),
    "starts of another kind": lambda e: e.update(crop_starts=[1]),
    "starts of text": lambda e: e["crop_starts"].update(present=["a"]),
    "starts of other lengths": lambda e: e["crop_starts"].update(present=[1] * 99),
    "no width of a bin": lambda e: e["crop_starts"].update(bin_seconds=0),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_evaluation_of_the_wrong_kind_is_one_line(folder, kind, monkeypatch, capsys):
    found = read_evaluation(folder)
    WRONG[kind](found)
    digests.write_record(folder / run.EVALUATION, found)
    assert glat(monkeypatch, "plot", folder) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "evaluation.json is damaged" in said
    assert "go on with --resume auto, which evaluates again" in said


def test_a_run_whose_clips_have_all_the_same_classes_is_plotted_as_far_as_it_goes(folder, monkeypatch, capsys):
    found = read_evaluation(folder)
    for stream in found["streams"].values():
        stream |= {"ap": {}, "mAP": None}
    digests.write_record(folder / run.EVALUATION, found)
    assert glat(monkeypatch, "plot", folder) == 0
    assert "no class with both a clip of it and one without" in capsys.readouterr().err
