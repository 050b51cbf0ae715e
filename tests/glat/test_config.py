"""The config: what its fields may be, its JSON, and its flags."""

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import pytest

from glat.config import (
    PRESETS,
    ClipPooling,
    CropPooling,
    DataConfig,
    TrainConfig,
    check,
    from_json,
    to_json,
)
from glat.data.loading.batches import LOADERS
from glat.data.loading.samplers import SAMPLERS
from glat.errors import UserError
from glat.fields import kinds_of
from glat.pooling import POOLINGS
from glat.settings.training import parse_train_config

PARTS = ("model", "data", "feed", "optim", "run")


def test_the_choices_are_those_that_the_library_has():
    assert set(get_args(ClipPooling)) == {"own", *POOLINGS}
    assert set(get_args(CropPooling)) == {*POOLINGS} - {"attention"}  # that has weights of its own
    kinds = kinds_of(type(TrainConfig().feed))
    assert set(kinds["loader"].base) == set(LOADERS)
    assert set(kinds["sampler"].base) == set(SAMPLERS)


def test_every_number_has_limits():
    for part in PARTS:
        for name, kind in kinds_of(type(getattr(TrainConfig(), part))).items():
            assert (kind.limits is not None) == (kind.base in (int, float)), name


@pytest.mark.parametrize("preset", PRESETS)
def test_json_gives_the_config_back(preset):
    config = PRESETS[preset]()
    config = replace(config, data=replace(config.data, data=Path("a b/ü"), eval_folds=("4", "5")))
    assert from_json(to_json(config)) == config


def test_runs_of_before_windows_go_on_to_hear_beginnings():
    recorded = to_json(TrainConfig())
    assert from_json(recorded).data.windows == "auto"
    del recorded["data"]["windows"], recorded["data"]["min_overlap"]
    assert from_json(recorded).data.windows == "off"


@pytest.mark.parametrize(("before", "now"), [(False, "nothing"), (True, "all")])
def test_runs_of_before_shared_all_weights_or_none(before, now):
    recorded = to_json(TrainConfig())
    del recorded["model"]["share"]
    recorded["model"]["share_weights"] = before
    assert from_json(recorded).model.share == now
    recorded["model"]["share_weights"] = "some"
    with pytest.raises(UserError, match="--share is 'some'"):
        from_json(recorded)


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("model", "num_crops", 2.0, "--num-crops is 2.0; wanted 1 to 4 096 crops"),
        ("model", "num_crops", True, "--num-crops is True; wanted 1 to 4 096 crops"),
        ("model", "num_crops", None, "--num-crops is None; give a value"),
        ("model", "crop_seconds", float("nan"), "--crop-seconds is nan; wanted seconds"),
        ("model", "backbone", 5, "--backbone is 5; wanted a text"),
        ("model", "share", "yes", "--share is 'yes'; choose one of nothing, convolutions, all"),
        ("model", "freeze_global", "yes", "--freeze-global is 'yes'; wanted True or False"),
        ("model", "suppress", "all", "--suppress is 'all'; choose one of none, released, crop"),
        ("data", "data", 3, "--data is 3; wanted a path"),
        ("data", "eval_folds", (1, 2), "--eval-folds is (1, 2); wanted a list"),
        ("optim", "seed", 2**31, "--seed is 2147483648; wanted a whole number"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_wanted(part, name, value, message):
    config = TrainConfig()
    wrong = replace(config, **{part: replace(getattr(config, part), **{name: value})})
    with pytest.raises(UserError, match=re.escape(message)):
        check(wrong)
    recorded = to_json(config)
    recorded[part][name] = list(value) if isinstance(value, tuple) else value
    with pytest.raises(UserError, match=re.escape(message)):
        from_json(recorded)


def test_an_entry_of_a_newer_version_is_called_that():
    recorded = to_json(TrainConfig())
    recorded["optim"]["warm_up"] = 100
    with pytest.raises(UserError, match="'warm_up', which this version of glat does not know"):
        from_json(recorded)


def test_flags_are_values_over_the_preset():
    config = parse_train_config(["--preset", "released", "--num-crops", "7", "--eval-folds", "4", "5"])
    assert (config.model.suppress, config.model.num_crops, config.data) == (
        "released",
        7,
        DataConfig(eval_folds=("4", "5")),
    )


def test_help_describes_every_flag_and_wraps_at_words(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        parse_train_config(["--help"])
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines()) <= 80
    words = " ".join(shown.replace("│", " ").split())
    for part in PARTS:
        for field in fields(getattr(TrainConfig(), part)):
            assert f"--{field.name.replace('_', '-')}" in shown
    assert "crop (no overlap with an earlier peak's crop); see select_crops." in words
    assert "released program (global\n" not in re.sub(r" *│\n", "\n", shown)  # the source's own line break
