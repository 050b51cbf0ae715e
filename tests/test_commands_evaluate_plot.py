"""`glat evaluate` and `glat plot` as a user runs them, on one small real run."""

import csv
import json
import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from flags import TINY
from safetensors.torch import load_file, save_file
from trained import glat, train_here

import glat as public
from glat.commands.trained import TrainedFlags
from glat.data import fingerprint, load
from glat.evaluation.events.timelines import timelines
from glat.evaluation.score import score
from glat.evaluation.thresholds import best_thresholds
from glat.runs.folder import BEST_WEIGHTS, open_run
from glat.runs.thresholds import read_thresholds, write_thresholds
from glat.runs.weights import load_model


def write_sounds(root, names, rng, count=6):
    for label in names:
        (root / label).mkdir(parents=True)
        for i in range(count):
            n = int(16_000 * rng.uniform(0.5, 1.5))
            tone = np.sin(2 * np.pi * rng.uniform(300, 3000) * np.arange(n) / 16_000)
            soundfile.write(root / label / f"{i}.wav", 0.2 * (tone if "tone" in label else rng.normal(size=n)), 16_000)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    root = tmp_path_factory.mktemp("recordings")
    write_sounds(root, ("tone", "noise", "other noise"), np.random.default_rng(0))
    return root


@pytest.fixture(scope="module")
def folder(recordings, tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    train_here("--data", recordings, *TINY, "--iterations", 4, "--log-every", 1, "--run-dir", folder)
    return folder


def test_the_runs_own_clips_score_as_at_its_end_with_intervals_around(folder, tmp_path, monkeypatch, capsys):
    files = ("--csv", tmp_path / "classes.csv", "--json", tmp_path / "all.json")
    assert glat(monkeypatch, "evaluate", "--run", folder, "--resamples", 50, *files) == 0
    said = capsys.readouterr().out
    at_the_end = json.loads((folder / "evaluation.json").read_text())
    found = json.loads((tmp_path / "all.json").read_text())
    assert found["clips"] == at_the_end["clips"] == 3
    assert found["clips_sha256"] in said
    assert "have changed" not in said
    for stream, scores in at_the_end["streams"].items():
        again = found["streams"][stream]
        assert again["mAP"] == pytest.approx(scores["mAP"])
        low, high = again["intervals"]["mAP"]
        assert low <= again["mAP"] <= high
    gain = found["streams"]["fused"]["mAP"] - found["streams"]["global"]["mAP"]
    assert found["fused_minus_global"]["mAP"]["value"] == pytest.approx(gain)
    for word in ("global", "local", "fused - global", "mAUC", "50 resamples"):
        assert word in said
    with (tmp_path / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["noise", "other noise", "tone"]
    assert [row["clips"] for row in rows] == ["1", "1", "1"]
    assert float(rows[0]["AP_fused"]) == pytest.approx(at_the_end["streams"]["fused"]["ap"]["noise"], abs=1e-6)
    assert {"AUC_local", "AP_global_low", "AP_global_high"} <= rows[0].keys()


def test_weights_of_the_best_evaluation_and_another_pooling_are_scored_without_training(
    folder, tmp_path, monkeypatch, capsys
):
    def scores(of_run, *flags):
        out = tmp_path / "all.json"
        assert glat(monkeypatch, "evaluate", "--run", of_run, "--resamples", 0, "--json", out, *flags) == 0
        return json.loads(out.read_text())

    usual, by_max = scores(folder), scores(folder, "--crop-pooling", "max")
    assert "crops pooled by max" in capsys.readouterr().out
    assert (usual["crop_pooling"], by_max["crop_pooling"]) == ("max_mean", "max")
    assert usual["streams"]["global"] == by_max["streams"]["global"]
    pooled = [TrainedFlags(run=folder, crop_pooling=name).open()[1].config.crop_pooling for name in (None, "max")]
    assert pooled == ["max_mean", "max"]
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    weights = load_file(moved / "model.safetensors")
    save_file({name: -tensor if "fc" in name else tensor for name, tensor in weights.items()}, moved / BEST_WEIGHTS)
    best = scores(moved, "--best")
    assert "moved, its best evaluation, " in capsys.readouterr().out
    assert best["best"]
    assert best["streams"]["global"] != usual["streams"]["global"]
    (moved / BEST_WEIGHTS).unlink()
    for command in (("evaluate",), ("tag", "some.wav")):
        assert glat(monkeypatch, *command, "--run", moved, "--best") == 2
        assert f"has no {BEST_WEIGHTS}; the run was stopped before its first evaluation" in capsys.readouterr().err


def test_changed_recordings_are_said(folder, recordings, tmp_path, monkeypatch, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    entries = json.loads((moved / "config.json").read_text())
    del entries["sha256"]
    (moved / "config.json").write_text(json.dumps(entries | {"fingerprint": "of others"}))
    assert glat(monkeypatch, "evaluate", "--run", moved, "--resamples", 0) == 0
    said = capsys.readouterr().out
    assert "the recordings have changed" in said
    assert "in brackets" not in said


def test_other_recordings_are_scored_by_the_names_of_the_runs_classes(folder, tmp_path, monkeypatch, capsys):
    data = tmp_path / "data"
    write_sounds(data, ("tone", "noise", "whistle"), np.random.default_rng(1), count=2)
    table = tmp_path / "data.csv"
    rows = [f"data/{label}/{i}.wav,{label},{i}" for label in ("noise", "tone", "whistle") for i in range(2)]
    rows[0] = rows[0].replace(",noise,", ",noise;whistle,")
    table.write_text("\n".join(["file,label,fold", *rows]) + "\n")
    out = tmp_path / "all.json"
    flags = ("--data", table, "--resamples", 0, "--json", out)
    assert glat(monkeypatch, "evaluate", "--run", folder, *flags) == 0
    said = capsys.readouterr().out
    found = json.loads(out.read_text())
    assert "labels that the run does not know, left out: 1 (whistle)" in said
    assert "clips with no other label, left out: 2 of 6" in said
    assert "1 of 3 classes left out, no positive or no negative clip: other noise" in said
    assert [(row["class"], row["clips"]) for row in found["per_class"]] == [
        ("noise", 2),
        ("other noise", 0),
        ("tone", 2),
    ]
    assert found["clips_sha256"] == fingerprint(f"data/{label}/{i}.wav" for label in ("tone", "noise") for i in (1, 0))
    assert found["left_out"] == ["other noise"]
    assert glat(monkeypatch, "evaluate", "--run", folder, *flags, "--eval-folds", 1) == 0
    assert json.loads(out.read_text())["clips"] == 2
    assert glat(monkeypatch, "evaluate", "--run", folder, *flags, "--mix", "--eval-clips", 3) == 0
    assert json.loads(out.read_text())["clips"] <= 3


def test_where_times_are_known_psds_and_f1_of_frames_crops_and_both_are_printed(
    folder, recordings, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("sed_scores_eval", reason="needs glat[events]")
    files = {name: tmp_path / name for name in ("all.json", "classes.csv", "when.png")}
    flags = ("--json", files["all.json"], "--csv", files["classes.csv"], "--plot", files["when.png"])
    mixes = ("--data", recordings, "--mix", "--eval-clips", 6)
    assert glat(monkeypatch, "evaluate", "--run", folder, *mixes, "--resamples", 20, *flags) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines()[1:])) <= 80  # the first names the folder
    assert "sharpened - frames, on the same resamples:\n  PSDS1       " in said
    for word in (
        "frames",
        "crops",
        "sharpened",
        "PSDS1",
        "PSDS2",
        "event F1",
        "segment F1",
        "classes; F1 at 0.5",
        "its best: at the threshold of each class",
    ):
        assert word in said
    found = json.loads(files["all.json"].read_text())
    for of_evidence in found["events"]["evidence"].values():
        for metric, (low, high) in of_evidence["intervals"].items():
            assert 0 <= low <= of_evidence["scores"][metric] <= high <= 1 or metric.startswith("PSDS")
        assert of_evidence["scores"]["segment_F1_best"] >= of_evidence["scores"]["segment_F1"]
    gain = [found["events"]["evidence"][name]["scores"]["segment_F1"] for name in ("sharpened", "frames")]
    assert found["events"]["sharpened_minus_frames"]["segment_F1"]["value"] == pytest.approx(gain[0] - gain[1])
    with files["classes.csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["events"]) for row in rows) >= 6
    for row in rows:
        for metric in ("PSDS1_frames", "PSDS2_crops", "event_F1_sharpened", "segment_F1_best_frames"):
            cells = [row[f"{metric}{end}"] for end in ("_low", "", "_high")]
            if row["events"] == "0":
                assert cells == ["", "", ""]
            else:
                low, value, high = map(float, cells)
                assert 0 <= low <= high <= 1
                assert low <= value <= high or metric.startswith("PSDS")
    of_class = [float(row["segment_F1_crops"]) for row in rows if row["events"] != "0"]
    assert np.mean(of_class) == pytest.approx(found["events"]["evidence"]["crops"]["scores"]["segment_F1"], abs=1e-6)
    assert files["when.png"].read_bytes().startswith(b"\x89PNG")
    assert glat(monkeypatch, "evaluate", "--run", folder, *mixes, "--resamples", 0, "--no-events") == 0
    assert "PSDS" not in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "sed_scores_eval", None)
    assert glat(monkeypatch, "evaluate", "--run", folder, *mixes, "--resamples", 0) == 0
    assert "pip install 'glat[events]'" in capsys.readouterr().out


def test_each_kind_of_frames_has_thresholds_of_its_own_which_glat_tag_uses(
    folder, recordings, tmp_path, monkeypatch, capsys
):
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    assert glat(monkeypatch, "evaluate", "--run", moved, "--resamples", 0, "--thresholds") == 0
    said = capsys.readouterr().out
    kept = read_thresholds(moved)
    clips, model = (
        load(open_run(moved).config.data, 32_000).evaluation,
        load_model(open_run(moved), "model.safetensors"),
    )
    scored = score(model, clips, 2, torch.device("cpu"), nullcontext, in_time=True, sharpen=True)
    lines = list(timelines(scored, model.crop_samples, "sharpened"))
    assert len({len(line.probs) for line in lines}) > 1, "some recordings are shorter than a clip"
    np.testing.assert_allclose(scored.highest_sharpened, [line.probs.max(0) for line in lines], rtol=1e-5)
    found = best_thresholds(clips.targets.dense().numpy(), scored.highest_sharpened, clips.classes)
    assert {k: t.threshold for k, t in kept.sharpened.items()} == pytest.approx(
        {k: t.threshold for k, t in found.items()}, rel=1e-5
    )
    sharp, plain = (kept.of_events(kind) for kind in ("sharpened", "frames"))
    assert sharp != pytest.approx(plain)
    for title in ("thresholds of frames", "thresholds of sharpened frames"):
        assert said.count(title) == 1

    def tagged(*flags):
        out = tmp_path / "events.csv"
        for path in tmp_path.glob("events.csv*"):
            path.unlink()
        assert glat(monkeypatch, "tag", recordings / "tone", "--run", moved, "--events", out, *flags) == 0
        with out.open(newline="") as file:
            return {row["events_by"] for row in csv.DictReader(file)}, " ".join(capsys.readouterr().err.split())

    assert "by frames at the run's thresholds for frames" in tagged("--events-by", "frames")[1]
    by, said = tagged()  # sharpened is the default
    assert by == {"sharpened"}
    assert "by sharpened frames at the run's thresholds for sharpened frames" in said
    np.testing.assert_allclose(public.load(moved, events_by="sharpened").thresholds, list(sharp.values()), rtol=1e-6)
    write_thresholds(moved, replace(kept, sharpened={}))  # as an older glat kept them
    by, said = tagged("--events-by", "sharpened")
    assert "keeps no thresholds for sharpened frames, which are taken from 0.5 on; find them with glat evaluate" in said
    assert "by sharpened frames at 0.5" in said
    assert "by frames at the run's thresholds for frames" in tagged()[1], "the only thresholds that there are"
    assert "by sharpened frames at --threshold 0.01" in tagged("--events-by", "sharpened", "--threshold", "0.01")[1]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--plot", "{tmp}/when.png"), "the times of these clips' are not known"),
        (("--plot", "{tmp}/when.txt"), "give a name that ends in .png"),
        (("--run", "{tmp}/nowhere"), "there is no run folder"),
        (("--mix",), "--mix says how to take other recordings; add --data"),
        (("--resamples", -1), "--resamples is -1"),
        (("--csv", "{tmp}/nowhere/a.csv"), "--csv {tmp}/nowhere/a.csv"),
        (("--data", "{tmp}/strangers"), "no clip has a class of the run: seen click; wanted some of noise"),
        (("--data", "{tmp}/strangers", "--clip-seconds", "0.2"), "choose a shorter --crop-seconds or a longer"),
    ],
)
def test_bad_input_of_evaluate_is_one_line(flags, said, folder, tmp_path, monkeypatch, capsys):
    write_sounds(tmp_path / "strangers", ("click",), np.random.default_rng(2), count=2)
    if "--clip-seconds" in flags:
        (tmp_path / "strangers" / "click").rename(tmp_path / "strangers" / "tone")
    flags = tuple(str(flag).format(tmp=tmp_path) for flag in flags)
    flags = flags if "--run" in flags else ("--run", folder, *flags)
    assert glat(monkeypatch, "evaluate", *flags) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1, printed
    assert said.format(tmp=tmp_path) in printed


def test_plots_a_run_into_its_folder_or_one_file(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "pictures"
    assert glat(monkeypatch, "plot", folder, "-o", out) == 0
    assert {path.name for path in out.iterdir()} == {"curves.png", "classes.png", "crop_starts.png"}
    for path in out.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().err == ""
    assert glat(monkeypatch, "plot", folder, folder, folder, folder, "-o", tmp_path / "all.pdf") == 0
    assert (tmp_path / "all.pdf").read_bytes().startswith(b"%PDF")


def test_a_run_that_has_not_ended_is_drawn_as_far_as_it_is(folder, tmp_path, monkeypatch, capsys):
    killed = tmp_path / "killed"
    killed.mkdir()
    shutil.copy(folder / "config.json", killed)
    (killed / "metrics.jsonl").write_text('{"step": 0, "mAP_global": null, "mAP_local": 0.1, "mAP_fused": 0.1}\n{"st')
    assert glat(monkeypatch, "plot", killed) == 0
    assert (killed / "curves.png").exists()
    assert "killed has no evaluation.json: it has not ended" in capsys.readouterr().err
    assert glat(monkeypatch, "plot", killed, folder) == 2
    assert "give --out" in capsys.readouterr().err


def test_the_time_spent_training_is_of_the_steps_alone(folder):
    from glat.plots.runs import Recorded

    rates = [{"step": 10, "clips_per_second": 4.0}, {"step": 30, "clips_per_second": 8.0}]
    run = Recorded("a", [{"step": 0, "mAP_fused": 0.1}, *rates], batch_size=6, evaluation=None)
    # 10 steps of 6 clips at 4 a second: 15 s; 20 more at 8 a second: 15 s.
    np.testing.assert_allclose(run.minutes(np.array([0.0, 5.0, 10.0, 30.0])) * 60, [0, 7.5, 15, 30])
