"""A run's settings from a file: what it may say, what wins over what, and what is said of a wrong one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from glat.config import PRESETS, TrainConfig, to_json
from glat.errors import UserError
from glat.runs.digests import write_record
from glat.settings.training import parse_train_config, part_of, with_values

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def parsed(tmp_path):
    """Write a file and parse ``--config`` with it."""

    def parse(text, *flags, name="a.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return parse_train_config(["--config", str(path), *map(str, flags)])

    return parse


def test_flags_win_over_the_file_the_file_over_the_preset_and_the_preset_over_the_default(parsed, tmp_path):
    config = parsed("preset: released\nlearning_rate: 1e-3\nnum-crops: 4\n", "--num-crops", 3)
    released = PRESETS["released"]()
    assert config.preset == "released"
    assert config.model == replace(released.model, num_crops=3)
    assert config.optim == replace(released.optim, learning_rate=1e-3)
    where = {name: config.origins[name] for name in ("preset", "learning_rate", "num_crops", "schedule")}
    file = tmp_path / "a.yaml"
    assert where == {"preset": f"{file}:1", "learning_rate": f"{file}:2", "num_crops": "flag", "schedule": "preset"}
    assert "width" not in config.origins
    longer = parsed("iterations: 5\nwidth: 0.5\n", "--epochs", 2)
    assert (longer.optim.epochs, longer.optim.iterations, "iterations" in longer.origins) == (2.0, None, False)
    assert parsed("preset: released\nwidth: 0.5\n", "--preset", "paper").optim == TrainConfig().optim


def test_names_lie_flat_or_below_their_part(parsed):
    flat = "data: sounds\nnum_crops: 4\nlearning-rate: 0.01\neval_folds: 4\n"
    nested = "data:\n  data: sounds\n  eval_folds: [4]\nmodel: {num-crops: 4}\noptim: {learning_rate: 0.01}\n"
    in_json = '{"model": {"num_crops": 4}, "data": "sounds",\n\t"eval_folds": ["4"], "learning_rate": 1e-2}'
    found = [parsed(flat), parsed(nested), parsed(in_json, name="a.json"), parsed(nested.encode("utf-8-sig"))]
    assert found[0].data.eval_folds == ("4",)
    assert all(config == found[0] for config in found)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("compile: off", "compile", "off"),  # false to YAML 1.1
        ("label_column: no", "label_column", "no"),
        ("amp: yes", "amp", True),
        ("amp: False", "amp", False),
        ("spec_augment: null", "spec_augment", None),
        ("learning_rate: 1e-3", "learning_rate", 1e-3),  # a text to YAML 1.1
        ("learning_rate: 1", "learning_rate", 1.0),
        ("iterations: 800_000", "iterations", 800_000),
        ("eval_folds: [1, 1.0, no, 'x;y']", "eval_folds", ("1", "1.0", "no", "x;y")),
        ("label_separator: '#'", "label_separator", "#"),
        ("logger: [wandb, mlflow]", "logger", ("wandb", "mlflow")),
        ("logger: none", "logger", ("none",)),
        ("init_from: hf://me/net", "init_from", Path("hf://me/net")),
        ('{"label_column": "\\ud83d\\udd14\\/"}', "label_column", "🔔/"),
        ("data: s3://sounds/packs", "data", Path("s3://sounds/packs")),
        ("epochs: 2.5", "epochs", 2.5),
    ],
)
def test_a_text_means_what_its_setting_can_take(text, name, value, parsed):
    config = parsed(text, name="a.json" if text.startswith("{") else "a.yml")
    found = getattr(getattr(config, part_of()[name]), name)
    assert (found, type(found)) == (value, type(value))


def test_paths_are_relative_to_the_files_folder_and_others_stay(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    lines = ("data: ../sounds", "eval_data: hf-dataset:../saved", "run_dir: /runs/a", "init_from: ~/net.pth")
    (tmp_path / "configs" / "a.yaml").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    config = parse_train_config(["--config=configs/a.yaml", "--labels", "here.csv"])
    assert config.data.data == Path("sounds")
    assert config.data.labels == Path("here.csv")
    assert config.run.run_dir == Path("/runs/a")
    assert config.data.eval_data == Path("hf-dataset:saved")
    assert config.model.init_from == Path("/home/me/net.pth")


BOMB = "a: &a [1,1,1]\nb: &b [*a,*a,*a]\nc: [*b,*b,*b]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("width: 0.5\nnum_crop: 3", ":2: 'num_crop' is no setting; did you mean num_crops?"),
        ("model.width: 0.5", ":1: 'model.width' is no setting; did you mean width?"),
        (
            "share_weights: true",
            ":1: 'share_weights' is no setting any more: one network for both streams is now share: all",
        ),
        ("qqq: 1", ":1: 'qqq' is no setting; python train.py --help lists all"),
        ("optim:\n  width: 1", ":2: width belongs to model, not to optim; move it there"),
        ("width: 1\nwidth: 1", ":2: width is given twice, first on line 1"),
        ("num_crops: 1\nmodel:\n  num-crops: 1", ":3: num-crops is given twice, first on line 1"),
        ("width: 99", ":1: width is 99.0; wanted a factor on the channels from 0.001 to 16"),
        ("width: wide", ":1: width is 'wide'; wanted a factor"),
        ("width: .nan", ":1: width is '.nan'; wanted a factor"),
        ("width: nan", ":1: width is nan; wanted a factor"),
        ("width:\nseed: 1", ":1: width has no value; give one, or null to leave it open"),
        ("data: ''", ":1: data has no value; leave it out"),
        ("seed: null", ":1: seed is null; give a value"),
        ("iterations: 1e3", ":1: iterations is '1e3'; wanted 1 step or more, written out in decimal digits"),
        ("seed: 010", ":1: seed is '010'; wanted a whole number from 0 to 2147483647, written out in decimal digits"),
        ("num_crops: '5'", ":1: num_crops is '5'; wanted 1 to 4 096 crops, without quotation marks"),
        ("num_crops: 1:30", ":1: num_crops is '1:30'; wanted 1 to 4 096 crops"),
        ("num_crops: [1, 2]", ":1: num_crops is a list; wanted one value"),
        ("num_crops: {a: 1}", ":1: num_crops is names and values; wanted one value"),
        ("amp: maybe", ":1: amp is 'maybe'; wanted True or False"),
        ("amp: 1", ":1: amp is '1'; wanted True or False"),
        ("compile: on", ":1: compile is 'on'; choose one of auto, off, regions, default"),
        (
            "logger: [tensorboard, wand]",
            ":1: logger is tensorboard, wand; choose one of tensorboard, wandb, mlflow, none",
        ),
        ("logger: null", ":1: logger is null; give a value"),
        ("logger: []", ":1: logger is an empty list; wanted a list"),
        ("logger: [none, wandb]", "--logger none wandb: none goes with no other; leave it out (--logger is line 1 of"),
        ("preset: draft", ":1: unknown preset 'draft'; choose one of paper, best, released"),
        ("seed: 1\nmix: true", "--mix needs recordings to mix; give --data, or leave it out for the built-in"),
        ("seed: 1\nmix: true", "(--mix is line 2 of "),
        ("epochs: 1\niterations: 5", "give one of the two (--epochs is line 1, --iterations is line 2 of "),
        ("model:\n\twidth: 1", ":2: this cannot be read: a tab begins a value or a line; indent with spaces"),
        ("width: [1", "this cannot be read: "),
        ("- width", ":1: wanted names and values"),
        ("5", ":1: wanted names and values"),
        ("", "a.yaml is empty"),
        ("# width: 5", "a.yaml is empty"),
        ("seed: 1\n---\nseed: 2", ":2: a second document begins here"),
        (BOMB, ":1: anchors, aliases and tags are not taken; write the value out"),
        ("<<: *base", "anchors, aliases and tags are not taken"),
        ("data: !!python/object/apply:os.system [true]", ":1: anchors, aliases and tags are not taken"),
        ("[" * 5000, "a.yaml"),
        ("? [a]\n: 1", ":1: wanted a name before the colon"),
        (b"data: \xe4", "a.yaml is not UTF-8"),
        ("seed: \x00", "a.yaml cannot be read"),
        ("#" * 1_000_001, "is larger than 1,000,000 bytes"),
        ("backbone: mine:net", "a.yaml asks for the network mine:net, whose code would run; if you trust it, add"),
    ],
)
def test_a_wrong_file_is_one_line_with_the_place_and_the_way_out(text, said, parsed, tmp_path):
    with pytest.raises(UserError) as raised:
        parsed(text)
    message = str(raised.value)
    assert said in message
    assert str(tmp_path / "a.yaml") in message
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"seed": 1,}', ":1: this is no JSON: "),
        ('{"seed": 1, "seed": 2}', ":1: seed is given twice"),
        ('{\n"seed": "1"}', ":2: seed is '1'; wanted a whole number from 0 to 2147483647, without quotation marks"),
        ('{"width": NaN}', "width is nan; wanted"),
        ("[" * 100_000, "this is no JSON"),
        ("seed: 1", ":1: this is no JSON"),
    ],
)
def test_wrong_json_is_said_likewise(text, said, parsed):
    with pytest.raises(UserError) as raised:
        parsed(text, name="a.json")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_that_are_none_are_named(tmp_path):
    (tmp_path / "a.toml").touch()
    for name, said in (
        ("a.toml", "a.toml is no file of settings by its name; wanted .yaml, .yml or .json"),
        ("gone.yaml", "gone.yaml cannot be read (No such file or directory)"),
        ("", "config.json cannot be read (No such file or directory)"),
    ):
        with pytest.raises(UserError) as raised:
            parse_train_config(["--config", str(tmp_path / name)])
        assert said in str(raised.value)


def test_a_runs_record_is_that_run_again_elsewhere(tmp_path):
    config = with_values(
        PRESETS["released"](),
        {"width": 0.5, "iterations": 7, "epochs": 2.0, "run_dir": tmp_path, "data": Path("/sounds"), "keep": 5},
    )
    entries = {"config": to_json(config), "fingerprint": "x", "classes": ["a"]}
    write_record(tmp_path / "config.json", entries)
    for given in (tmp_path, tmp_path / "config.json"):
        again = parse_train_config(["--config", str(given), "--seed", "3"])
        assert again == with_values(config, {"run_dir": None, "epochs": None, "seed": 3})
        longer = parse_train_config(["--config", str(given), "--epochs", "9"])
        assert (longer.optim.epochs, longer.optim.iterations) == (9.0, None)
    damaged = (tmp_path / "config.json").read_text().replace("0.5", "0.6")
    (tmp_path / "config.json").write_text(damaged)
    with pytest.raises(UserError, match="sha256 does not match"):
        parse_train_config(["--config", str(tmp_path)])


def test_code_that_a_file_names_runs_only_where_a_flag_names_it(parsed):
    assert parsed("backbone: mine:net", "--backbone", "mine:net").model.backbone == "mine:net"


def test_the_example_of_the_docs_is_complete_and_loads():
    path = ROOT / "docs" / "settings.yaml"
    config = parse_train_config(["--config", str(path)])
    default = TrainConfig()
    optional = {name for name, part in part_of().items() if getattr(getattr(default, part), name) is None}
    named = {name for name in part_of() if f" {name}:" in path.read_text(encoding="utf-8")}
    assert named >= part_of().keys() - optional - {"dry_run"}, "docs/settings.yaml lacks a setting"
    assert set(config.origins.values()) == {origin for origin in config.origins.values() if str(path) in origin}
    assert json.dumps(to_json(config))
