"""What `glat costs` counts, and the page that it writes."""

import json
import sys
from pathlib import Path

import pytest

from glat import cli
from glat.backbones import BACKBONES, CNN10, TALNet
from glat.commands.costs import CountCosts
from glat.costs import count_costs
from glat.errors import UserError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "costs.md"
# Of the original programs for 10 s, in 1e9: facts of their DFT, which is a convolution there, taken off.
PANNS_GFLOP = {"cnn10": 28.2 - 2.10, "resnet38": 48.95 - 2.10}


@pytest.fixture(scope="module")
def costs():
    return {name: count_costs(name) for name in BACKBONES}


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_two_streams_cost_at_most_a_twentieth_more_than_their_audio(costs, name):
    c = costs[name]
    assert c.two_stream_flops <= 1.05 * (c.clip_flops + 5 * 0.3 * c.clip_flops)
    assert c.two_stream_flops >= c.clip_flops + 5 * c.crop_flops
    assert c.times_expected == pytest.approx(c.two_stream_flops / (2.5 * c.clip_flops))
    assert c.parameters_two_streams == 2 * c.parameters


@pytest.mark.parametrize("name", sorted(PANNS_GFLOP))
def test_flops_are_those_of_the_original_program_without_its_dft(costs, name):
    assert costs[name].clip_flops / 1e9 == pytest.approx(PANNS_GFLOP[name], abs=0.05)


def test_cnn10_by_hand():
    hops, maps = 1001, [(1, 64, 1001 * 64), (64, 128, 500 * 32), (128, 256, 250 * 16), (256, 512, 125 * 8)]
    trunk = sum(2 * 9 * (before + after) * after * positions for before, after, positions in maps)
    front_end = hops * (2.5 * 1024 * 10 + 2 * 513 * 64)
    head = 2 * (512 * 512 + 512 * 527)
    assert count_costs("cnn10").clip_flops == trunk + front_end + head
    assert CNN10.sample_rate_hz == 32_000


def test_the_gru_is_counted():
    maps = [(1, 32, 64), (32, 32, 64), (32, 64, 32), (64, 64, 32)]
    trunk = sum(2 * 9 * a * b * f * f * 400 // 64 for a, b, f in maps)
    maps = [(64, 128, 16), (128, 128, 16), (128, 256, 8), (256, 256, 8), (256, 512, 4), (512, 512, 4)]
    trunk += sum(2 * 9 * a * b * f * 100 for a, b, f in maps)
    front_end = 401 * (2.5 * 4096 * 12 + 2 * 2049 * 64)
    gru = 2 * 100 * 2 * (1024 + 512) * 3 * 512
    assert count_costs("talnet").clip_flops == trunk + front_end + gru + 2 * 100 * 1024 * 527
    assert TALNet.sample_rate_hz == 16_000


def test_width_and_crops_change_the_count():
    c = count_costs("cnn10", width=0.25, num_classes=10, num_crops=2, crop_seconds=1.0, clip_seconds=4.0)
    assert c.parameters == 311_642
    assert c.crop_share == 0.25
    assert c.times_alone == pytest.approx(1.5, abs=0.03)


def test_the_page_is_what_the_command_writes(tmp_path, capsys):
    assert CountCosts(markdown=tmp_path / "costs.md")() == 0
    assert (tmp_path / "costs.md").read_text() == PAGE.read_text()
    assert capsys.readouterr().out == ""


def test_the_page_names_the_flags_it_was_made_with(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("glat.commands.costs.BACKBONES", {"cnn10": CNN10})
    flags = ["--width", "0.25", "--num-crops", "2", "--clip-seconds", "5"]
    page = tmp_path / "page.md"
    monkeypatch.setattr(sys, "argv", ["glat", "costs", *flags, "--markdown", str(page)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    out = page.read_text()
    assert left.value.code == 0
    assert f"`glat costs {' '.join(flags)}`" in " ".join(out.split())
    assert "| cnn10 |" in out
    assert CountCosts(width=0.25)() == 0
    printed = capsys.readouterr().out
    assert "cnn10" in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert CountCosts(width=0.25, json=True)() == 0
    assert [c["backbone"] for c in json.loads(capsys.readouterr().out)] == ["cnn10"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": float("inf")}, "--width is inf"),
        ({"crop_seconds": 11.0}, "crop_seconds is 11.0, and a clip has 10.00 s"),
        ({"crop_seconds": 0.0}, "crops of 0.0 s"),
        ({"num_crops": 528}, "num_crops is 528"),
        (
            {"markdown": Path("missing/folder/costs.md")},
            "--markdown missing/folder/costs.md: give a file in a folder that exists",
        ),
    ],
)
def test_bad_flags_are_named(changes, said):
    with pytest.raises(UserError, match=said):
        CountCosts(**changes)()
