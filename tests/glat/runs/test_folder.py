"""A run's folder: written whole, read back, and every kind of damage named."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from glat.config import TrainConfig, from_json, paper, released, to_json
from glat.data import Clips, Data, Skipped, Targets
from glat.errors import UserError
from glat.files import replaced
from glat.model import build_model
from glat.runs import checkpoints, digests
from glat.runs import folder as run
from glat.runs.weights import load_model, save_weights
from glat.settings.training import parse_train_config


def config(folder, **model):
    defaults = {"width": 0.1, "num_crops": 2, "crop_seconds": 1.0}
    values = to_json(paper())
    values["model"] |= defaults | model
    values["run"]["run_dir"] = str(folder)
    return from_json(values)


def data(lengths=(60_000, 64_000)):
    """Two clips of three classes, and one that was left out."""
    clips = Clips(
        waves=torch.zeros(2, 64_000, dtype=torch.int16),
        lengths=np.array(lengths),
        clip_samples=64_000,
        targets=Targets.from_labels([[0], [1]], 3),
        names=("1.wav", "2.wav"),
        classes=("a", "b", "c"),
        sample_rate_hz=32_000,
    )
    return Data(clips, clips, (Skipped("x.wav", "empty"),))


@pytest.fixture
def finished(tmp_path):
    """The folder of a run with weights."""
    asked = config(tmp_path / "run")
    folder = run.record(asked, data(), {"torch": "0"})
    torch.manual_seed(0)
    save_weights(folder, build_model(asked.model, 3))
    return folder


@pytest.mark.parametrize("preset", [paper, released])
def test_config_survives_json(preset):
    assert from_json(json.loads(json.dumps(to_json(preset())))) == preset()


def test_the_folder_suffices_to_use_the_model(finished):
    opened = run.open_run(finished)
    assert opened.classes == ("a", "b", "c")
    assert opened.clip_samples == 64_000
    model = load_model(opened)
    assert not model.training
    torch.manual_seed(0)
    wanted = build_model(opened.config.model, 3).eval()
    wave = 0.1 * torch.randn(1, 64_000)
    assert torch.equal(model(wave).fused_probs, wanted(wave).fused_probs)
    assert json.loads((finished / "skipped.json").read_text()) == [{"file": "x.wav", "reason": "empty"}]


def damage(folder, kind):
    if kind == "no folder":
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    elif kind == "no config":
        (folder / "config.json").unlink()
    elif kind == "cut config":
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text[: len(text) // 2])
    elif kind == "config of another kind":
        (folder / "config.json").write_text("[]")
    elif kind == "no weights":
        (folder / "model.safetensors").unlink()
    elif kind == "cut weights":
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    elif kind in ("setting that is none", "other width"):
        recorded = json.loads((folder / "config.json").read_text())
        recorded["config"]["model"] |= {"rank_by": "foo"} if kind == "setting that is none" else {"width": 0.2}
        del recorded["sha256"]
        digests.write_record(folder / "config.json", recorded)
        save_weights(folder, build_model(config(folder).model, 3))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("no folder", "there is no run folder"),
        ("no config", "is no run folder: it has no config.json"),
        ("cut config", "config.json is damaged"),
        ("config of another kind", "config.json is damaged"),
        ("setting that is none", "--rank-by is 'foo'; choose one of clip, frame_max, frame_mean"),
        ("no weights", "has no model.safetensors"),
        ("cut weights", "model.safetensors is damaged"),
        ("other width", r"\d+ entries differ: global_.fc1.weight: .* instead of .*;.*;"),
    ],
)
def test_damage_is_named_in_one_line(finished, kind, said):
    damage(finished, kind)
    with pytest.raises(UserError, match=said) as raised:
        load_model(run.open_run(finished))
    assert "\n" not in str(raised.value)


def test_a_folder_that_holds_a_run_is_not_overwritten(finished):
    with pytest.raises(UserError, match="holds a run already; add --resume auto"):
        run.resumed(config(finished))


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="exists and holds no run"):
        run.resumed(config(tmp_path))
    with pytest.raises(UserError, match="exists and holds no run"):
        run.resumed(config(tmp_path / "thesis.tex"))


def test_of_two_runs_that_start_at_once_one_gets_the_folder(tmp_path):
    run.record(config(tmp_path / "run"), data(), {})
    with pytest.raises(UserError, match="was taken by another run meanwhile"):
        run.record(config(tmp_path / "run", width=0.2), data(), {})
    assert run.open_run(tmp_path / "run").config.model.width == 0.1


def resume(folder, **model):
    asked = config(folder, **model)
    values = to_json(asked)
    values["run"]["resume"] = "auto"
    return run.resumed(from_json(values))


def test_resuming_takes_the_recorded_config(finished):
    (finished / "model.safetensors").unlink()
    left = [finished / ".glat-tmp-model-abcd0123.json", finished / "checkpoints" / ".glat-tmp-000000000001-abcd0123.pt"]
    left[1].parent.mkdir()
    for path in left:
        path.write_bytes(b"cut short")
    resumed, checkpoint, notes = resume(finished)
    assert all(path.exists() for path in left), "something may yet be refused"
    run.record(resumed, data(), {})
    assert not any(path.exists() for path in left)
    assert resumed.model == run.open_run(finished).config.model
    assert not notes
    assert checkpoint is None, "killed before its first checkpoint: it starts anew"


def test_resuming_with_another_flag_is_refused(finished):
    with pytest.raises(UserError, match="--num-crops is 3, and the run in .* has 2; leave it out"):
        resume(finished, num_crops=3)


def test_how_a_process_runs_may_change_on_resuming(finished):
    (finished / "model.safetensors").unlink()
    values = to_json(config(finished))
    values["run"] |= {"resume": "auto", "keep": 5}
    values["optim"] |= {"on_nan": "skip", "max_minutes": 3.0}
    resumed = run.resumed(from_json(values)).config
    assert (resumed.run.keep, resumed.optim.on_nan, resumed.optim.max_minutes) == (5, "skip", 3.0)


def typed(folder, *arguments):
    (folder / "model.safetensors").unlink(missing_ok=True)
    return run.resumed(parse_train_config([*arguments, "--run-dir", str(folder), "--resume", "auto"])).config


def test_what_was_typed_counts_also_where_it_is_the_default(finished):
    with pytest.raises(UserError, match="--num-crops is 5, and the run in .* has 2; leave it out"):
        typed(finished, "--num-crops", "5")
    with pytest.raises(UserError, match="--amp is True, and the run in .* has False"):
        typed(finished, "--amp")
    assert typed(finished, "--num-crops", "2", "--no-amp").model.num_crops == 2
    values = json.loads((finished / "config.json").read_text())
    values["config"]["run"]["keep"] = 7
    values["config"]["preset"] = "released"
    del values["sha256"]
    digests.write_record(finished / "config.json", values)
    assert typed(finished).run.keep == 7
    assert typed(finished, "--keep=2").run.keep == 2
    with pytest.raises(UserError, match="--preset is paper, and the run in .* has released"):
        typed(finished, "--preset", "paper")


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_only_a_run_of_one_learning_rate_can_be_made_longer(finished, schedule):
    values = json.loads((finished / "config.json").read_text())
    values["config"]["optim"] |= {"schedule": schedule, "iterations": 40}
    del values["sha256"]
    digests.write_record(finished / "config.json", values)
    assert typed(finished, "--iterations", "40").optim.iterations == 40
    if schedule == "cosine":
        with pytest.raises(UserError, match="falls to zero at step 40 .*--init-from .*, or one with --schedule const"):
            typed(finished, "--iterations", "60")
        return
    longer = typed(finished, "--iterations", "60")
    run.record(longer, data(), {})
    assert run.open_run(finished).config.optim.iterations == 60
    (finished / "checkpoints").mkdir()
    torch.save(dict.fromkeys(checkpoints.ENTRIES) | {"step": 50}, finished / "checkpoints" / "000000000050.pt")
    with pytest.raises(UserError, match="--iterations is 45, and the run in .* has made 50 steps; give more"):
        typed(finished, "--iterations", "45")


def test_resuming_with_another_preset_is_refused(finished):
    values = to_json(config(finished)) | {"preset": "released"}
    values["run"]["resume"] = "auto"
    with pytest.raises(UserError, match="--preset is released, and the run in .* has paper"):
        run.resumed(from_json(values))


def test_resuming_without_the_checkpoint_does_not_lose_the_weights(finished):
    with pytest.raises(UserError, match="has weights and no checkpoint"):
        resume(finished)


def test_resuming_with_other_recordings_is_refused(finished):
    (finished / "model.safetensors").unlink()
    resumed = resume(finished).config
    assert run.record(resumed, data(), {}) == finished
    others = data(lengths=(1, 64_000))
    with pytest.raises(UserError, match="the recordings are not those .* started with; restore them to go on, or"):
        run.record(resumed, others, {})
    lost = replace(others, skipped=(*others.skipped, Skipped("y.wav", "no such file")))
    with pytest.raises(UserError, match=r"started with \(1 cannot be read any more: y.wav: no such file\); restore"):
        run.record(resumed, lost, {})


def test_resuming_what_is_not_there_starts_it(tmp_path):
    started, checkpoint, _ = resume(tmp_path / "new")
    assert checkpoint is None
    assert started.run.run_dir == tmp_path / "new"


def test_metrics_of_a_cut_line_and_of_later_steps_are_dropped(tmp_path):
    for step in (1, 2, 3):
        run.append_metrics(tmp_path, step=step, loss=0.5)
        run.append_metrics(tmp_path, step=step, mAP_fused=0.5)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # killed while writing
    run.forget_metrics_after(tmp_path, step=2, evaluated=1)
    rows = run.read_metrics(tmp_path).rows
    assert [(row["step"], "loss" in row) for row in rows] == [
        (1, True),
        (1, False),
        (2, True),
    ]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail():
        with replaced(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_default_config_names_its_own_folder():
    first = run.resumed(TrainConfig())
    assert str(first.config.run.run_dir).startswith("runs/")


def test_json_has_no_nan(tmp_path):
    run.append_metrics(tmp_path, step=1, loss=float("nan"), rate=float("inf"))
    row = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail)
    assert row.items() >= {"step": 1, "loss": None, "rate": None}.items()


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("optim", "learning_rate", float("nan")),
        ("optim", "learning_rate", 0.0),
        ("optim", "batch_size", 0),
        ("optim", "seed", 10**14),
        ("optim", "global_weight", -1.0),
        ("model", "width", float("inf")),
        ("model", "crop_seconds", float("nan")),
        ("model", "dropout_scale", 10.0),
        ("data", "clip_seconds", 1e12),
        ("data", "train_clips", 10**12),
        ("data", "mix", True),
        ("run", "log_every", 0),
        ("run", "eval_every", -1),
    ],
)
def test_a_value_that_cannot_be_meant_is_named(part, name, value):
    values = to_json(paper())
    values[part][name] = value
    with pytest.raises(UserError, match="--" + name.replace("_", "-")):
        from_json(values)
