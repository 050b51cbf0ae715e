"""What `glat check-data` and `glat pack` say of real files, and with which status they leave."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import soundfile
import sounds

from glat.commands.check_data import CheckData
from glat.commands.pack import Pack
from glat.config import DataConfig
from glat.data.packs.read import open_packs
from glat.data.sources.asked import Asked
from glat.errors import UserError

RATE = 32_000


def noise(seed, seconds=0.2, rate=RATE, peak=0.5):
    return sounds.noise(seconds, rate, seed, peak)


@pytest.fixture
def table(tmp_path):
    """Ten good recordings of two classes in two folds, and a call that adds one."""
    source = tmp_path / "set" / "set.csv"
    add = partial(sounds.add_recording, source)
    for i in range(10):
        add(f"{i}.wav", noise(i), "ab"[i % 2], i // 5)
    return source, add


def check(table, tmp_path, **options):
    """The exit status and the findings by kind."""
    status = CheckData(data=table, json=tmp_path / "report.json", **{"eval_folds": ("1",), **options})()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["hurts"] == bool(status) == any(finding["hurts"] for finding in report["findings"])
    return status, report


def problems(report):
    return [finding["what"] for finding in report["findings"] if finding["hurts"]]


def notes(report):
    return [finding["what"] for finding in report["findings"] if not finding["hurts"]]


def test_good_recordings_pass(table, tmp_path, capsys):
    status, report = check(table[0], tmp_path)
    assert status == 0
    assert report["findings"] == []
    assert report["clips"]["train"]["count"] == report["clips"]["eval"]["count"] == 5
    assert report["rates_hz"] == {"32000": 10}
    assert report["channels"] == {"1": 10}
    assert report["seconds"]["total"] == pytest.approx(2.0)
    assert report["classes"] == {"a": {"train": 3, "eval": 2}, "b": {"train": 2, "eval": 3}}
    assert "nothing would hurt training" in capsys.readouterr().out


def test_every_kind_of_bad_file_is_named(table, tmp_path, capsys):
    source, add = table
    add("text.wav", noise(0), "a", 0).write_text("text")
    add("empty.wav", noise(0), "a", 0).write_bytes(b"")
    add("nan.wav", np.full(100, np.nan), "a", 0)
    add("silent.wav", np.zeros(100), "a", 0)
    add("faint.wav", np.full(100, 1e-6), "a", 0)
    add("scale.wav", noise(50, peak=20_000), "a", 0)
    whole = add("cut.flac", noise(51), "a", 0, subtype="PCM_16")
    whole.write_bytes(whole.read_bytes()[:-2_000])
    add("gone.wav", noise(0), "a", 0).unlink()
    status, report = check(source, tmp_path)
    assert status == 1
    assert problems(report) == ["8 recordings give no clip"]
    reasons = dict(where.split(": ", 1) for where in report["findings"][0]["where"])
    assert reasons.keys() == {
        *("text.wav", "empty.wav", "nan.wav", "silent.wav", "faint.wav", "scale.wav", "cut.flac", "gone.wav")
    }
    assert reasons["nan.wav"] == "holds NaN or infinite samples"
    assert reasons["scale.wav"].endswith("times full scale: its samples are on another scale")
    assert reasons["gone.wav"] == "no such file"
    out = capsys.readouterr().out
    assert "PROBLEM: 8 recordings give no clip; mend them" in out
    assert "and 3 more" in out


def test_where_files_were_looked_for_is_said_where_another_folder_was_given(table, tmp_path):
    (tmp_path / "other").mkdir()
    soundfile.write(tmp_path / "other" / "0.wav", noise(0), RATE)
    _, report = check(table[0], tmp_path, audio=tmp_path / "other")
    assert problems(report)[0] == "9 recordings give no clip"
    assert report["findings"][0]["where"][0] == f"1.wav: no such file in {tmp_path / 'other'}"


def test_the_same_sound_on_both_sides_hurts_also_in_another_format(table, tmp_path):
    source, add = table
    add(
        "copy.flac", soundfile.read(add("original.wav", noise(60), "a", 0, subtype="PCM_16"))[0], "a", 1, RATE, "PCM_16"
    )
    status, report = check(source, tmp_path)
    assert status == 1
    assert problems(report) == ["1 sound is both in training and evaluation"]
    assert report["findings"][0]["where"] == ["original.wav = copy.flac"]


def test_the_same_sound_on_one_side_is_noted_and_hurts_with_other_labels(table, tmp_path):
    source, add = table
    add("0b.wav", noise(0), "a", 0)
    status, report = check(source, tmp_path)
    assert (status, notes(report)) == (0, ["1 sound is there more than once"])
    add("1b.wav", noise(1), "a", 0)
    status, report = check(source, tmp_path)
    assert (status, problems(report)) == (1, ["1 sound is listed twice with different labels"])


def test_clipping_rates_lengths_and_balance_are_noted(table, tmp_path):
    source, add = table
    add("clipped.wav", np.clip(noise(70, peak=1.5), -1, 1), "a", 0, subtype="PCM_16")
    add("low.wav", noise(71, rate=8_000), "a", 0, 8_000)
    add("long.wav", noise(72, 10.5), "a", 0)
    add("rare.wav", noise(73), "rare", 0)
    for i in range(30):
        add(f"more{i}.wav", noise(100 + i), "b", 0)
    status, report = check(source, tmp_path)
    assert status == 0
    found = {finding["what"]: finding["where"] for finding in report["findings"]}
    assert found["1 recording has more than 0.1% of the samples at full scale"] == ["clipped.wav"]
    assert found["1 recording has a rate below 32000 Hz"] == ["low.wav"]
    assert found["1 recording is longer than 10 s"] == ["long.wav"]
    assert found["1 class is trained and never evaluated"] == ["rare"]
    assert found["b has 32 recordings for training, rare has 1"] == ["rare", "b"]
    assert "2 sample rates: 8000 Hz, 32000 Hz" in found
    clipped = next(s for s in report["recordings"]["train"] if s["name"] == "clipped.wav")
    assert clipped["clipped"] == pytest.approx(1 / 3, abs=0.03)


def test_a_class_that_only_the_evaluation_has_hurts(table, tmp_path):
    source, add = table
    add("x.wav", noise(80), "x", 1)
    status, report = check(source, tmp_path)
    assert (status, problems(report)[0]) == (
        1,
        "no training and evaluation: training lacks 'x', which the evaluation has",
    )
    add("bad.wav", noise(81), "x", 0).write_bytes(b"")
    status, report = check(source, tmp_path)
    assert status == 1
    assert "1 class is evaluated and never trained" in problems(report)


def test_two_sources_are_compared(table, tmp_path):
    source = table[0]
    other = tmp_path / "other"
    (other / "a").mkdir(parents=True)
    soundfile.write(other / "a/new.wav", noise(90), RATE, subtype="FLOAT")
    assert check(source, tmp_path, eval_folds=(), eval_data=other)[0] == 0
    soundfile.write(other / "a/old.wav", noise(4), RATE, subtype="FLOAT")
    status, report = check(source, tmp_path, eval_folds=(), eval_data=other)
    assert (status, problems(report)) == (1, ["1 sound is both in training and evaluation"])
    with pytest.raises(UserError, match="--eval-data and --eval-folds exclude each other"):
        check(source, tmp_path, eval_data=other)


def test_packs_are_checked_against_what_was_packed(table, tmp_path):
    source, _ = table
    out = tmp_path / "packs"
    assert Pack(out=out, data=source, clip_seconds=0.5, workers=1, clips_per_shard=10)() == 0
    status, report = check(out, tmp_path)
    assert (status, report["clips"]["train"]["count"], report["rates_hz"]) == (0, 5, {"32000": 10})
    packed = open_packs(out)
    with packed.shards[0].open("r+b") as file:
        file.seek(packed.offsets[3] + 1_000)
        file.write(b"\1\2\3\4")
    status, report = check(out, tmp_path)
    assert status == 1
    assert report["findings"][0]["where"] == ["3.wav: is not what was packed: the file is damaged"]


def test_audioset_packs_and_is_checked(tmp_path, capsys):
    (tmp_path / "labels.csv").write_text('index,mid,display_name\n0,/m/1,Speech\n1,/m/2,"Music, loud"\n')
    lines = "".join(f'{i:011d}, 0.000, 10.000, "/m/1,/m/2"\n' for i in range(4))
    (tmp_path / "segments.csv").write_text("#\n#\n#\n" + lines)
    (tmp_path / "audio").mkdir()
    for i in range(3):
        soundfile.write(tmp_path / f"audio/Y{i:011d}.wav", noise(i), RATE)
    (tmp_path / "black.csv").write_text(f"{2:011d}_0.000_10.000.wav\t0.000\t10.000\tTrain horn\n")
    tables = {name: tmp_path / f"{file}" for name, file in (("labels", "labels.csv"), ("audio", "audio"))}
    tables |= {"audioset": tmp_path / "segments.csv", "black_list": (tmp_path / "black.csv",)}
    assert Pack(out=tmp_path / "packs", clip_seconds=0.5, workers=1, **tables)() == 0
    out = capsys.readouterr().out
    assert "2 clips in" in out
    assert "left out: Y00000000002.wav: on the black list" in out
    packed = open_packs(tmp_path / "packs")
    assert packed.names == ("Y00000000000.wav", "Y00000000001.wav")
    assert packed.classes == ("Speech", "Music, loud")
    assert packed.targets.dense().all()
    assert CheckData(**tables)() == 0
    for wrong in ({"data": tmp_path, **tables}, {"audioset": tables["audioset"]}, {}):
        with pytest.raises(UserError, match="give"):
            Pack(out=tmp_path / "x", **wrong)()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 0}, "--sample-rate 0"),
        ({"clip_seconds": 0.0}, "--clip-seconds 0.0"),
        ({"clip_seconds": float("nan")}, "--clip-seconds nan"),
        ({"clips_per_shard": 0}, "--clips-per-shard 0"),
        ({"workers": 0}, "--workers 0"),
    ],
)
def test_bad_flags_of_pack_are_refused(table, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        Pack(out=tmp_path / "out", data=table[0], **options)()


def test_the_status_of_the_command_says_what_was_found(table):
    table[1]("bad.wav", noise(0), "a", 0).write_bytes(b"")
    program = [sys.executable, "-c", "from glat.cli import main; main()"]
    found = subprocess.run([*program, "check-data", "--data", table[0], "--eval-folds", "1"], capture_output=True)
    assert found.returncode == 1, found.stderr
    assert b"PROBLEM: 1 recording gives no clip" in found.stdout


def test_esc10_passes_as_it_is(esc10, tmp_path):
    status, report = check(esc10, tmp_path, eval_folds=("4",))
    assert status == 0
    assert report["clips"]["eval"]["count"] == 80


def test_a_threshold_of_soft_labels_is_refused_where_there_are_none(tmp_path):
    (tmp_path / "set.csv").write_text("file,label\na.wav,a\n")
    given = {"data": tmp_path / "set.csv", "eval_data": tmp_path / "set.csv"}
    asked = Asked(DataConfig(data=given["data"], label_threshold=0.5), RATE, "auto", 0, None)
    for refuses in (CheckData(**given, label_threshold=0.5), asked.kind):
        with pytest.raises(UserError, match=r"--label-threshold 0\.5 is for soft labels of packs, .*holds recordings;"):
            refuses()
    tables = {"audioset": given["data"], "labels": given["data"], "audio": tmp_path}
    with pytest.raises(UserError, match=r"0\.5 is for soft labels of packs, and AudioSet's tables name recordings;"):
        CheckData(**tables, label_threshold=0.5)()
    with pytest.raises(UserError, match=r"--label-threshold 2; give a probability above 0 and at most 1"):
        CheckData(**given, label_threshold=2.0)()
