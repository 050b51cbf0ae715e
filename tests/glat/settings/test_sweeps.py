"""The runs of a sweep from a file, and what is said of a wrong one."""

import pytest

from glat.errors import UserError
from glat.settings.sweeps import read_plan


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("setting: {}", ":1: 'setting' is no part of a sweep; wanted settings, grid, runs, seeds"),
        (
            "settings: {iterations: 1}",
            "names no runs; give a grid, as in grid: {num_crops: [1, 3, 5]}, or runs by name",
        ),
        ("grid: {num_crops: [1, 3]}", "the run num_crops=1: runs that are compared need equally many steps; give"),
        ("grid: {num_crops: 3}", ":1: num_crops: wanted a list of the values to try, as in [1, 3, 5]"),
        ("grid: {num_crops: []}", ":1: num_crops: wanted a list of the values to try"),
        ("grid:\n  num_crops: [1,\n   0]", ":3: num_crops is 0; wanted 1 to 4 096 crops"),
        ("grid: {num_crops: [1, 1]}", ":1: num_crops has 1 twice"),
        ("grid: {num_crops: [1], num-crops: [2]}", ":1: num-crops is given twice, first on line 1"),
        ("grid: {n_crops: [1]}", ":1: 'n_crops' is no setting; did you mean num_crops?"),
        ("grid: {seed: [1, 2]}", ":1: seed is the sweep's to give; use seeds instead"),
        ("settings:\n  run_dir: x", ":2: run_dir is the sweep's to give; use --out instead"),
        ("seeds: [-1]", "names no runs"),
        ("seeds: []\ngrid: {num_crops: [1]}", ":1: seeds is an empty list"),
        ("seeds: [0, x]\ngrid: {num_crops: [1]}", ":1: seed is 'x'; wanted a whole number"),
        ("runs: {../up: {}}", ":1: '../up' is to be a folder; wanted letters, digits and . _ + - only"),
        ("runs: {a: {preset: released}}", ":1: the run a has a preset of its own; give one for all, below settings"),
        ("runs: {a: {width: 99}}", ":1: width is 99.0; wanted a factor"),
        ("runs: [a, b]", ":1: runs: wanted names and values"),
        ("runs: {a: {epochs: 1, mix: yes}}", "the run a: --mix needs recordings to mix"),
        ("runs: {a: {num_crops: 3, epochs: 1}}\ngrid: {num_crops: [1]}", "num_crops is in the grid and in the run a;"),
        ("settings: {epochs: 1}\ngrid: {data: [a/b, a_b]}", "_a_b-S0; give them names, below runs:"),
        (
            f"settings: {{epochs: 1}}\nseeds: {list(range(200))}\ngrid: {{num_crops: {list(range(1, 101))}}}",
            "20,000 runs",
        ),
    ],
)
def test_a_wrong_file_is_one_line(text, said, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as raised:
        read_plan(path)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_values_of_runs_are_those_that_hold_there(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("settings: {epochs: 1, preset: released}\nruns: {a: {}, b: {learning_rate: 1e-3, width: 0.5}}\n")
    plan = read_plan(path, seeds=(3, 4))
    assert [run.name for run in plan.runs] == ["a-S3", "a-S4", "b-S3", "b-S4"]
    assert plan.runs[0].varied == {"name": "a", "learning_rate": 2e-4, "width": None}
    path.write_text("settings: {epochs: 1}\nruns: {a: {iterations: 5}}\n")
    assert read_plan(path).runs[0].settings == {"iterations": 5}
    assert plan.runs[2].settings == {"epochs": 1.0, "learning_rate": 1e-3, "width": 0.5}
