"""train.py as a user runs it: real processes, real files."""

import csv
import errno
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch
from flags import BUILT_IN, TWO_SECONDS
from safetensors import safe_open
from safetensors.torch import load_file
from sounds import opened
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trained import glat, train_here, without_pictures

from glat.backbones import BACKBONES
from glat.cli import reporting_user_errors
from glat.commands.evaluate import Evaluate
from glat.errors import UserError
from glat.files import TEMPORARY, to_json_text
from glat.runs import checkpoints
from glat.runs import folder as run
from glat.runs.results import of_ended
from glat.settings.training import parse_train_config
from glat.training.settings import choose_crops

ROOT = Path(__file__).resolve().parents[1]


def train(*arguments, cwd=ROOT, **options):
    command = [sys.executable, str(ROOT / "train.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, **options)


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """Not in this process; `run_folder` has them."""
    without_pictures(monkeypatch)


def train_module():
    """train.py as a module, the way a notebook imports it."""
    spec = importlib.util.spec_from_file_location("train", ROOT / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder of two classes, tones and noise, with a few files that cannot be used."""
    root = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for label in ("tone", "noise"):
        (root / label).mkdir()
        for i in range(8):
            n = int(16_000 * rng.uniform(1.0, 2.5))
            sound = np.sin(2 * np.pi * rng.uniform(300, 3000) * np.arange(n) / 16_000) if label == "tone" else None
            soundfile.write(
                root / label / f"{i}.wav", 0.3 * (rng.standard_normal(n) if sound is None else sound), 16_000
            )
    (root / "tone" / "empty.wav").touch()
    (root / "noise" / "text.wav").write_text("not audio")
    return root


@pytest.fixture(scope="module")
def run_folder(recordings, tmp_path_factory):
    """A finished run on the recordings, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    done = train("--data", recordings, *TWO_SECONDS, "--iterations", 12, "--log-every", 4, "--run-dir", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_best_preset_with_shared_convolutions_goes_on_to_the_same_bits(tmp_path):
    flags = (*BUILT_IN, "--preset", "best", "--share", "convolutions", "--schedule", "constant")
    done = train(*flags, "--iterations", 4, "--run-dir", tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    assert "2 x cnn10 with the same convolutions (--share convolutions)" in done.stdout
    assert train(*flags, "--iterations", 2, "--run-dir", tmp_path / "a").returncode == 0
    assert train("--resume", tmp_path / "a", "--iterations", 4).returncode == 0
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "a"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    stream = {name.removeprefix("global_."): tensor for name, tensor in whole.items() if name.startswith("global_.")}
    same = {name for name, tensor in stream.items() if torch.equal(tensor, whole[f"local_.{name}"])}
    assert {name for name in same if re.search(r"conv\d\.weight", name)} == {
        f"conv_block{block}.conv{i}.weight" for block in (1, 2, 3, 4) for i in (1, 2)
    }
    assert same.isdisjoint({"fc1.weight", "conv_block1.bn1.weight", "conv_block1.bn1.running_mean"})
    record = json.loads((tmp_path / "a" / "config.json").read_text(encoding="utf-8"))
    model = record["config"]["model"]
    assert (model["crop_pooling"], model["fusion_weight"], record["config"]["preset"]) == ("max", 0.65, "best")


def test_talnet_is_trained_on_standardised_input(tmp_path):
    folder = tmp_path / "run"
    train_here(*BUILT_IN, "--backbone", "talnet", "--iterations", 2, "--run-dir", folder)
    weights = load_file(folder / "model.safetensors")
    for stream in ("global_", "local_"):
        mean, deviation = (weights[f"{stream}.standardise.{name}"] for name in ("mean", "deviation"))
        assert ((mean > -80) & (mean < 20)).all()
        assert mean.unique().numel() > 60, "one a bin"
        assert ((deviation > 1) & (deviation < 40)).all()


def test_says_first_what_was_chosen_and_last_table_2(run_folder):
    folder, said = run_folder
    lines = said.splitlines()
    first = lines[: next(i for i, line in enumerate(lines) if line.startswith(("note", "step 0")))]
    words = ("device", "network", "data", "clips", "training", "settings", "run folder")
    assert [line[:12].strip() for line in first if line[0] != " "] == list(words)
    assert all(len(line) <= 80 or (line.startswith("run folder") and " " not in line[12:-10]) for line in first)
    assert "12 iterations of 4 clips (--iterations, --batch-size)" in " ".join(said.split())
    assert "settings    from flags: " in said
    for row in ("global", "local", "fused", "mAP", "mAUC", "d'"):
        assert row in said
    assert "2 recordings were left out" in said
    assert "noise/text.wav" in said
    assert f"glat tag FILE --run {folder}" in said


def test_the_runs_folder_holds_everything(run_folder):
    folder, _ = run_folder
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
        "best.safetensors",
        "checkpoints",
        "evaluation.json",
        "curves.png",
    } <= names
    curves = EventAccumulator(str(folder))
    curves.Reload()
    assert {"loss", "loss_global", "loss_local", "learning_rate", "mAP_fused"} <= set(curves.Tags()["scalars"])
    assert curves.Tags()["images"] == ["crops"]
    assert not [name for name in names if name.startswith(".")], "temporary files were left"
    recorded = json.loads((folder / "config.json").read_text())
    assert recorded["config"]["optim"]["iterations"] == 12
    assert recorded["facts"]["torch"] == torch.__version__
    assert len(json.loads((folder / "skipped.json").read_text())) == 2
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert set(evaluation["streams"]) == {"global", "local", "fused"}
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps[0] == 0
    assert steps[-1] == 12
    assert steps == sorted(steps)


def test_a_run_that_has_ended_says_so_at_once_and_is_not_evaluated_again(run_folder, monkeypatch, capsys):
    folder, said = run_folder
    module = train_module()
    left = folder / f"{TEMPORARY}metrics-abcd1234.jsonl"
    left.touch()
    assert of_ended(run.open_run(folder).config, checkpoints.newest(folder)[0]).best[0] > 0
    assert left.exists(), "a question changes nothing"
    with monkeypatch.context() as patched:
        patched.setattr(module.data, "load", lambda *arguments, **options: pytest.fail("it reads its recordings"))
        result = module.main(parse_train_config(["--resume", str(folder)]))
    assert not left.exists(), "what a kill left goes"
    again = capsys.readouterr().out
    assert again.startswith(f"{folder} has ended: 12 of 12 steps; these are its results\n")
    table = said[said.index("cnn10, ") : said.index("2 recordings were left out")]
    assert table in again
    found = json.loads((folder / "evaluation.json").read_text())
    assert json.loads(to_json_text(result.to_json(("noise", "tone")))).items() <= found.items()
    assert said.count("(step 0, the untrained model, does not count)") == 1


def test_loss_falls(run_folder):
    rows = [json.loads(line) for line in (run_folder[0] / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < losses[0]


def test_tags_from_the_folder_alone(run_folder, recordings, tmp_path):
    folder, _ = run_folder
    moved = tmp_path / "moved"
    moved.symlink_to(folder)
    long = tmp_path / "long ünicode.wav"
    soundfile.write(long, 0.1 * np.random.default_rng(0).standard_normal(16_000 * 5), 16_000)
    picture = tmp_path / "tags.png"
    short = recordings / "tone" / "0.wav"
    command = [Path(sys.executable).with_name("glat"), "tag", short, long, "--run", moved, "--json", "--plot", picture]
    done = subprocess.run([*command, "--top", "2"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    items = json.loads(done.stdout)
    assert [Path(item["file"]).name for item in items] == ["0.wav", long.name]
    for item in items:
        assert {tag["class"] for tag in item["tags"]} == {"noise", "tone"}
        assert item["tags"][0]["probability"] >= item["tags"][1]["probability"]
        for crop in item["crops"]:
            assert 0 <= crop["start"] < crop["end"] <= item["seconds"] + 1e-3
            assert crop["start"] - 0.2 <= crop["peak_at"] <= crop["end"]
    # 5 s in clips of 2 s: three chunks of two crops, the last ending with the recording.
    assert len(items[1]["crops"]) == 6
    assert items[1]["seconds"] == 5.0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_odd_names_are_shown_as_they_are(run_folder, recordings, tmp_path, monkeypatch, capsys):
    folder, _ = run_folder
    odd = tmp_path / "odd[" / "b]_[red]a$b_{$c.wav"  # closes a style that nobody opened, opens a formula
    odd.parent.mkdir()
    odd.write_bytes((recordings / "tone" / "0.wav").read_bytes())
    monkeypatch.setenv("COLUMNS", "1000")
    assert glat(monkeypatch, "tag", odd, "--run", folder, "--plot", tmp_path / "odd.png") == 0
    assert str(odd) in capsys.readouterr().out
    assert glat(monkeypatch, "tag", odd, "--run", folder, "--plot", tmp_path / "plot.xyz") == 2
    refused = capsys.readouterr().err
    assert refused.count("\n") == 1
    assert "--plot" in refused
    assert {path.name for path in tmp_path.iterdir()} == {odd.parent.name, "odd.png"}


def test_tag_writes_csv_and_prints_tables(run_folder, recordings, tmp_path, monkeypatch, capsys):
    folder, _ = run_folder
    glat(monkeypatch, "tag", recordings / "tone" / "1.wav", "--run", folder, "--csv", tmp_path / "tags.csv")
    assert not capsys.readouterr().out
    with (tmp_path / "tags.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows if 0 <= float(row["probability"]) <= 1]
    glat(monkeypatch, "tag", recordings / "tone" / "1.wav", "--run", folder)
    said = capsys.readouterr().out
    assert "probability" in said
    assert "decided by" in said


def test_tag_goes_on_after_a_bad_file_and_says_so(run_folder, recordings, monkeypatch, capsys):
    folder, _ = run_folder
    files = (recordings / "tone" / "empty.wav", recordings / "tone" / "1.wav")
    assert glat(monkeypatch, "tag", *files, "--run", folder, "--json") == 1
    said = capsys.readouterr()
    assert said.err.count("error:") == 1
    items = json.loads(said.out)
    assert len(items) == 2
    assert "tags" in items[0]
    assert "error" in items[1]


def test_doctor(monkeypatch, capsys):
    assert glat(monkeypatch, "doctor") == 0
    said = capsys.readouterr().out
    for word in ("torch", "device", "select_crops on cpu", "select_crops on cuda"):
        assert word in said


def test_a_run_out_of_time_ends_well(tmp_path, capsys):
    train_here(*BUILT_IN, "--iterations", 100_000, "--max-minutes", 0.02, "--run-dir", tmp_path / "run")
    said = capsys.readouterr().out
    assert "stopped after 0.02 minutes (--max-minutes) at step" in said
    assert "fused" in said
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("on_nan", ["stop", "skip"])
def test_clips_that_make_the_loss_nan_are_named_and_kept(on_nan, tmp_path, monkeypatch, capsys):
    module = train_module()
    read = module.data.load

    def with_a_bad_clip(*args, **arguments):
        sets = read(*args, **arguments)
        waves = sets.train.waves / 32767.0
        waves[5] = torch.nan
        return replace(sets, train=replace(sets.train, waves=waves))

    monkeypatch.setattr(module.data, "load", with_a_bad_clip)
    folder = tmp_path / "run"
    # Three steps hear the 12 clips once; the report behind them is the first look.
    arguments = (*BUILT_IN, "--iterations", "3", "--log-every", "3", "--on-nan", on_nan, "--run-dir", str(folder))
    config = parse_train_config(arguments)
    if on_nan == "stop":
        with pytest.raises(UserError, match="go on with --resume auto --on-nan skip") as raised:
            module.main(config)
        said = str(raised.value)
        assert "\n" not in said
    else:
        module.main(config)
        said = capsys.readouterr().out
        assert "skipped (1 steps so far)" in said
        weights = load_file(folder / "model.safetensors")
        assert all(tensor.isfinite().all() for tensor in weights.values())
    assert "clips that have no finite score soundscape-train-000005;" in said
    (kept,) = folder.glob("nan-*.safetensors")
    batch = load_file(kept)
    assert batch["wave"].shape == (4, 64_000)
    assert batch["wave"].isnan().any(1).sum() == 1


def test_a_recording_that_vanishes_is_left_out_and_counted_once(recordings, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(recordings, tmp_path / "data")
    for path in ("tone/empty.wav", "noise/text.wav", "notes.txt"):
        (data / path).unlink(missing_ok=True)
    module = train_module()
    read, gone = module.data.load, []

    def and_one_vanishes(*args, **arguments):
        sets = read(*args, **arguments)
        gone.append(sets.evaluation.names[0])
        (data / gone[0]).unlink()
        return sets

    monkeypatch.setattr(module.data, "load", and_one_vanishes)
    options = ("--iterations", "2", "--eval-every", "1", "--loader", "soundfile", "--run-dir", str(tmp_path / "run"))
    module.main(parse_train_config([*TWO_SECONDS, "--data", str(data), *options]))
    said = capsys.readouterr()
    assert said.err.count(f"left out from here on: {gone[0]}: no such file") == 1
    assert f"1 recording was left out (skipped.json lists them):\n  {gone[0]}: no such file\n" in said.out
    listed = json.loads((tmp_path / "run" / "skipped.json").read_text())
    assert listed == [{"file": gone[0], "reason": "no such file"}]


@pytest.mark.parametrize("loader", ["memory", "soundfile"])
def test_odd_recordings_are_named_once_in_the_folder_and_at_the_end(tmp_path, capsys, loader):
    for label in ("tone", "noise"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(6):
            sound = np.random.default_rng(i).uniform(-0.5, 0.5, 32_000)
            sound = np.clip(9 * sound, -1, 1) if i < 5 else sound
            soundfile.write(tmp_path / "data" / label / f"{i}.wav", sound, 32_000, subtype="PCM_16")
    module, folder = train_module(), tmp_path / "run"
    options = ("--data", str(tmp_path / "data"), "--iterations", "3", "--loader", loader, "--run-dir", str(folder))
    module.main(parse_train_config([*TWO_SECONDS, *options, "--dry-run"]))
    dry = capsys.readouterr().out
    assert "it is clipped" in dry
    module.main(parse_train_config([*TWO_SECONDS, *options]))
    said = capsys.readouterr().out
    listed = json.loads((folder / "remarks.json").read_text())
    assert [one["file"] for one in listed] == [f"{label}/{i}.wav" for label in ("noise", "tone") for i in range(5)]
    assert all(re.fullmatch(r"7\d\.\d% of its samples are at full scale: it is clipped", o["remark"]) for o in listed)
    assert "10 recordings are odd, and are heard (remarks.json lists them):\n  noise/0.wav: 7" in said


def test_an_evaluation_lists_a_file_that_proves_bad_only_when_it_is_heard(tmp_path, capsys):
    for label in ("tone", "noise"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(6):
            sound = np.random.default_rng(i).uniform(-0.5, 0.5, 32_000).astype(np.float32)
            soundfile.write(tmp_path / "data" / label / f"{i}.wav", sound, 16_000, subtype="FLOAT")
    module, folder, found = train_module(), tmp_path / "run", tmp_path / "found.json"
    options = ("--iterations", "1", "--loader", "soundfile", "--run-dir", str(folder))
    module.main(parse_train_config([*TWO_SECONDS, "--data", str(tmp_path / "data"), *options]))
    bad = opened(tmp_path / "data", sample_rate_hz=32_000, loader="soundfile", seed=0).evaluation.names[0]
    soundfile.write(tmp_path / "data" / bad, np.full(32_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    capsys.readouterr()
    assert Evaluate(run=folder, resamples=0, json=found)() == 0
    said = capsys.readouterr()
    assert f"1 recording was left out (--json lists them):\n  {bad}: holds NaN or infinite samples\n" in said.out
    assert said.err == ""
    assert json.loads(found.read_text())["skipped"] == [{"file": bad, "reason": "holds NaN or infinite samples"}]


def test_packs_that_name_no_classes_take_them_from_a_table_in_training_and_evaluation(tmp_path, capsys):
    pack, labels, folder = tmp_path / "panns.h5", tmp_path / "labels.csv", tmp_path / "run"
    with h5py.File(pack, "w") as file:
        file["audio_name"] = np.array([f"Y{i}.wav".encode() for i in range(12)])
        file["waveform"] = np.random.default_rng(0).integers(-9000, 9000, (12, 64_000)).astype(np.int16)
        file["target"] = np.arange(12)[:, None] % 2 == np.arange(2)
        file.attrs["sample_rate"] = 32_000
    labels.write_text('index,mid,display_name\n0,/m/1,"Zebra, plains"\n1,/m/2,Ant\n')
    source = ("--data", str(pack), "--labels", str(labels))
    train_module().main(parse_train_config([*TWO_SECONDS, *source, "--iterations", "1", "--run-dir", str(folder)]))
    table = tmp_path / "table.csv"
    assert Evaluate(run=folder, data=pack, labels=labels, resamples=0, csv=table)() == 0
    assert "12 clips of 2 s" in capsys.readouterr().out
    with table.open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["Zebra, plains", "Ant"]


def test_a_dry_run_says_what_a_run_takes_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train_module().main(parse_train_config([*BUILT_IN, "--iterations", "9", "--dry-run"])) is None
    said = capsys.readouterr().out
    resolved, rest = said.split("parameters  ")
    assert json.loads(resolved)["optim"]["learning_rate"] == 3e-3
    for word in ("FLOPs ", "memory ", "time ", "3 steps an epoch", "all 9 steps"):
        assert word in rest
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_better_evaluation_stops(tmp_path, capsys):
    options = ("--iterations", "50", "--eval-every", "1", "--patience", "2", "--learning-rate", "1e-9")
    module = train_module()
    module.main(parse_train_config([*BUILT_IN, *options, "--run-dir", str(tmp_path / "run")]))
    said = capsys.readouterr().out
    assert "stopped after 2 evaluations without a better fused mAP (--patience) at step " in said
    best = int(said.split("best fused mAP ")[1].split("at step ")[1].split(":")[0])
    assert (tmp_path / "run" / "checkpoints" / f"{best:012d}.pt").exists()
    with safe_open(tmp_path / "run" / "best.safetensors", "pt") as file:
        assert file.metadata()["step"] == str(best)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--backbone", "cnn12"), f"unknown backbone 'cnn12'; choose one of {', '.join(BACKBONES)}"),
        (("--share-weights",), "--share-weights is no flag any more: one network for both streams is now share: all"),
        (("--preset", "draft"), "unknown preset 'draft'; choose one of paper, best, released"),
        (("--data", "{tmp}/nowhere"), "nowhere: no such file or folder"),
        (("--data", "{tmp}"), "{tmp}"),
        (("--data", "{tmp}/columns.csv"), "name, tag"),
        (("--data", "{tmp}/folds.csv", "--eval-folds", "2"), "zebra"),
        ((*BUILT_IN, "--num-crops", "13"), "num_crops is 13, and there are 12 classes"),
        ((*BUILT_IN, "--crop-seconds", "3"), "crop_seconds is 3.0, and a clip has 2.00 s"),
        ((*BUILT_IN, "--crop-seconds", "0.1"), "needs at least 0.15 s"),
        ((*BUILT_IN, "--batch-size", "13"), "--batch-size is 13, and there are 12 training clips"),
        ((*BUILT_IN, "--iterations", "0"), "--iterations is 0"),
        ((*BUILT_IN, "--accumulate", "3"), "choose a multiple of 3"),
        ((*BUILT_IN, "--amp-dtype", "bf16"), "add --amp"),
        ((*BUILT_IN, "--amp", "--amp-dtype", "fp16"), "--amp-dtype fp16 on a CPU"),
        ((*BUILT_IN, "--compile", "reduce-overhead", "--accumulate", "2"), "records CUDA graphs"),
        ((*BUILT_IN, "--sync-batch-norm"), "--sync-batch-norm needs GPUs"),
        ((*BUILT_IN, "--learning-rate", "nan"), "--learning-rate is nan"),
        ((*BUILT_IN, "--run-dir", "{tmp}/columns.csv"), "columns.csv exists and holds no run"),
        ((*BUILT_IN, "--resume", "{tmp}/norun"), "there is no run folder"),
    ],
)
def test_bad_input_is_one_line_and_status_2_and_leaves_nothing_behind(
    arguments, said, tmp_path, recordings, monkeypatch, capsys
):
    (tmp_path / "columns.csv").write_text("name,tag\na.wav,b\n")
    rows = [f"{recordings}/{name}" for name in ("tone/0.wav,tone,1", "noise/0.wav,noise,1", "tone/1.wav,zebra,2")]
    (tmp_path / "folds.csv").write_text("\n".join(["file,label,fold", *rows]) + "\n")
    before = sorted(p.name for p in tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left, reporting_user_errors():
        train_module().main(parse_train_config([a.format(tmp=tmp_path) for a in arguments]))
    assert left.value.code == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1, printed
    assert printed.startswith("error: ")
    assert said.format(tmp=tmp_path) in printed
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_full_disk_is_one_line_wherever_it_is_met(capsys):
    with pytest.raises(SystemExit) as left, reporting_user_errors():
        raise OSError(errno.ENOSPC, "No space left on device", "curves.png")
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: curves.png cannot be written (No space left on device); make room\n"


def test_the_process_leaves_with_status_2_and_no_traceback(tmp_path):
    done = train("--backbone", "cnn12", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: unknown backbone 'cnn12'; choose one of {', '.join(BACKBONES)}")
    assert done.stderr.count("\n") == 1


def test_flags_over_the_presets():
    released = parse_train_config(["--preset", "released", "--num-crops", "3"])
    assert released.model.freeze_global
    assert released.model.suppress == "released"
    assert released.model.num_crops == 3
    paper = parse_train_config(["--backbone", "resnet38", "--amp", "--eval-folds", "4", "5"])
    assert (paper.model.backbone, paper.optim.amp, paper.data.eval_folds) == ("resnet38", True, ("4", "5"))
    assert not paper.model.freeze_global


def test_the_default_number_of_crops_is_at_most_that_of_the_classes():
    for flags, classes, wanted in (((), 3, 3), ((), 12, 5), (("--num-crops", "5"), 3, 5), (("--num-crops", "2"), 3, 2)):
        config = parse_train_config(flags)
        assert choose_crops(config, classes, config.origins).model.num_crops == wanted


def test_epochs_are_turned_into_steps_and_may_be_more_when_a_run_goes_on(tmp_path, capsys):
    def run(*flags):
        module = train_module()
        module.main(parse_train_config([*BUILT_IN, *flags, "--schedule", "constant", "--run-dir", str(tmp_path / "r")]))
        record = json.loads((tmp_path / "r" / "config.json").read_text())
        return record["config"]["optim"], record["from"], " ".join(capsys.readouterr().out.split())

    optim, where, said = run("--epochs", "0.5")
    assert (optim["epochs"], optim["iterations"]) == (0.5, 2), "12 clips, 4 a step"
    assert (where["epochs"], where["iterations"], where["learning_rate"]) == ("flag", "epochs", "chosen")
    assert "2 iterations of 4 clips, 0.5 epochs (--epochs)" in said
    optim, where, said = run("--epochs", "1", "--resume", "auto")
    assert (optim["epochs"], optim["iterations"]) == (1.0, 3)
    assert "going on after step 2" in said
    with pytest.raises(UserError, match="--epochs 0.3 is 1 iterations, and the run in .* has made 3 steps; give more"):
        run("--epochs", "0.3", "--resume", "auto")
    optim, where, said = run("--iterations", "3", "--resume", "auto")
    assert "has ended: 3 of 3 steps" in said
    with pytest.raises(UserError, match="--epochs and --iterations both say how long a run is; give one of the two"):
        run("--epochs", "1", "--iterations", "3")


def test_amp_without_native_bfloat16_says_so_and_stays_in_float32(monkeypatch):
    from glat import machine

    monkeypatch.setattr(machine, "cpu_has_bf16", lambda: False)
    precision = machine.pick_precision(True, torch.device("cpu"))
    assert precision.dtype is None
    assert "no native bfloat16" in precision.reason
    monkeypatch.setattr(machine, "cpu_has_bf16", lambda: True)
    assert machine.pick_precision(True, torch.device("cpu")).dtype == torch.bfloat16
    assert machine.pick_precision(False, torch.device("cpu")).dtype is None
    assert machine.pick_precision(False, torch.device("cpu")).reason == "float32"
    assert "convolutions in TF32" in machine.pick_precision(False, torch.device("cuda")).reason
    monkeypatch.setattr(machine, "cpu_has_bf16", lambda: False)
    by_hand = machine.pick_precision(True, torch.device("cpu"), "bf16")
    assert by_hand.dtype == torch.bfloat16
    assert "emulates it" in by_hand.warning
