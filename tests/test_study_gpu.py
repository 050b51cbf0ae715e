"""The study on a GPU, in small and without one: its data, runs that stop and go on, its section of the page."""

import csv
import math
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from pages import CLASSES, sound

from bench.study import __main__ as command
from bench.study import gpu, gpu_page, page, training
from bench.study.carried import carry, table_in
from bench.study.collect import costs_of
from bench.study.plan import Job
from bench.study.report import PAGE
from glat.config import OptimConfig
from glat.errors import UserError
from glat.training.compiling import CompiledStep

RATE = 32_000
(JOINT, LONGER) = gpu.MAIN
TINY = replace(gpu.GPU_SMALL, train_clips=8, eval_clips=8)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A table of recordings of six classes in folds 1 to 4, padded with silence, and at another rate."""
    folder = tmp_path_factory.mktemp("recordings")
    with (folder / "sounds.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "fold", "label", "license"))
        for label in CLASSES[:6]:
            for fold in range(1, 5):
                (folder / label).mkdir(exist_ok=True)
                soundfile.write(folder / label / f"{fold}.wav", np.pad(sound(label, fold, 0.6, 44_100), 22_050), 44_100)
                writer.writerow((f"{label}/{fold}.wav", fold, label, "CC0" if fold < 4 else "CC-BY"))
    return folder / "sounds.csv"


@pytest.fixture(scope="module")
def carried(recordings):
    to = recordings.parent / "carried"
    lines = list(carry(recordings, to, 30, RATE))
    assert lines[-1] == "lost by it: nothing"
    return to


def test_the_folder_holds_the_recordings_cut_to_their_sound_and_what_their_table_says(recordings, carried):
    with table_in(carried).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["license"] for row in rows[:4]] == ["CC0", "CC0", "CC0", "CC-BY"]
    for row in rows:
        wave, rate = soundfile.read(carried / row["file"], dtype="int16")
        assert rate == RATE
        assert wave[0] != 0 != wave[-1]
        assert len(wave) == pytest.approx(0.6 * RATE, abs=RATE // 20)
    assert "FLAC" in (carried / "NOTICE.txt").read_text(encoding="utf-8")
    kinds = [training.soundscapes(table, TINY, sample_rate_hz=RATE).train for table in (recordings, table_in(carried))]
    assert torch.equal(kinds[0].waves, kinds[1].waves), "other soundscapes come of the folder"


def test_a_folder_that_would_be_too_large_is_encoded_with_loss_and_then_refused(recordings, tmp_path, capsys):
    flags = ["data", "--data", str(recordings), "--to", str(tmp_path / "small"), "--megabytes"]
    assert command.main([*flags, "0.2"]) == 0
    said = capsys.readouterr().out
    assert "FLAC, 16 bits: 0.3 MB: too large" in said
    assert "Vorbis" in said
    assert sum(path.stat().st_size for path in (tmp_path / "small").rglob("*") if path.is_file()) <= 0.2e6
    with pytest.raises(UserError, match="is there and not empty"):
        command.main([*flags, "30"])
    flags[4] = str(tmp_path / "tiny")
    with pytest.raises(UserError, match="give --megabytes 1, or fewer of them"):
        command.main([*flags, "0.01"])
    assert not (tmp_path / "tiny").exists()


def test_the_command_trains_in_minutes_goes_on_and_writes_its_section(carried, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "SEEDS", (0,))
    monkeypatch.setattr(gpu, "GPU_SMALL", TINY)
    out = tmp_path / "runs"
    flags = ["gpu", "--out", str(out), "--data", str(carried), "--small", "--resamples", "20"]
    assert command.main([*flags, "--minutes", "0"]) == 0
    said = capsys.readouterr().out
    assert "not trained yet: joint-S0, longer-S0, rate-0.0003-S0, rate-0.003-S0; the same command goes on" in said
    assert page.NOTHING in (out / "study.md").read_text(encoding="utf-8")
    assert command.main(flags) == 0
    (out / "joint-S0" / "checkpoint.pt").touch()  # as a kill leaves it
    assert "4 of 4 runs" in capsys.readouterr().out
    assert not list(out.rglob(training.WEIGHTS))
    assert command.main(flags) == 0
    said = capsys.readouterr().out
    assert "4 runs in" in said
    assert "4 of them finished before" in said
    assert "mAP" not in said
    text = (out / "study.md").read_text(encoding="utf-8")
    found = gpu_page.read(out)
    assert page.with_blocks(text, gpu_page.blocks(found)) == text
    assert found["differences"]["glat/global - alone/global"]["mAP"]["by_seed"] == [0]
    assert {"alone/global", "longer/global", "glat/local", "glat/fused", "pool-max/fused"} <= set(found["rows"])
    assert "| **GL-AT, fused** |" in text
    with tarfile.open(out / "runs.tar.gz") as file:
        names = set(file.getnames())
    assert {"runs/study.json", "runs/study/gpu.json", "runs/study.md", "runs/joint-S0/scores.npz"} <= names
    assert {name.rpartition(".")[2] for name in names} == {"json", "npz", "md"}
    with pytest.raises(UserError, match="give another --to"):
        command.main([*flags, "--to", str(PAGE.parent)])


def test_a_run_that_is_stopped_after_every_step_ends_with_the_same_numbers(carried, tmp_path):
    def train(name, **more):
        return training.train(JOINT, 0, TINY, table_in(carried), tmp_path / name, lambda line: None, **more)

    assert train("whole")
    stops = 0
    while not train("stopped", deadline=-math.inf):
        stops += 1
    assert stops == TINY.steps - 1
    whole, stopped = (np.load(tmp_path / name / training.SCORES) for name in ("whole", "stopped"))
    assert len(whole.files) == 8
    assert all(np.array_equal(whole[name], stopped[name]) for name in whole.files)


def test_what_is_reckoned_with_is_what_it_costs_and_fits_in_eight_minutes():
    rows = [row for job in gpu.MAIN for row in job.rows]
    gflop = {name: cost["gflop"] for name, cost in costs_of(rows, gpu.GPU_FULL.width, 10).items()}
    for job in gpu.MAIN:
        streams = gflop["alone"] + sum(gflop[row.name] - gflop["alone"] for row in job.rows if row.two_streams)
        assert gpu.units(job) == pytest.approx(streams / gflop["alone"], rel=0.02)
    assert sum(seconds for _, seconds in gpu.predicted().values()) <= 60 * gpu.MINUTES


def test_no_compilation_begins_that_should_end_too_late():
    joint, longer = map(gpu.local_streams, gpu.MAIN)
    assert gpu._to_compile(JOINT, {}) == 0
    assert gpu._to_compile(LONGER, {joint: 60.0}) == 20
    assert gpu._to_compile(JOINT, {longer: 30.0}) == 90
    assert gpu._to_compile(JOINT, {joint: 60.0, longer: 30.0}) == 0
    assert gpu._to_compile(gpu.TUNING[0], {longer: 30.0}) == 0, "the same step as the longer one's"


def test_the_section_says_what_came_out_or_that_nothing_did():
    text = PAGE.read_text(encoding="utf-8")
    assert page.with_blocks(text, gpu_page.blocks(gpu_page.read(PAGE.parent))) == text


@pytest.mark.compiled
def test_a_job_is_compiled_once_for_all_seeds_and_has_each_ones_loss(tmp_path, monkeypatch):
    """Its loss: gradients of whole networks are compared by ``test-compiled``'s other tests, against float64."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    clips = training.soundscapes(None, TINY, sample_rate_hz=RATE).train
    batch = training.Held(clips, torch.device("cpu")).batch(torch.arange(2))
    job = Job("joint", JOINT.rows, (0, 1))
    optim = OptimConfig(compile="default")
    torch._dynamo.utils.counters.clear()
    for seed in job.seeds:
        streams = training.Streams(job, len(clips.classes), TINY.width, seed).train()
        compiled = CompiledStep(streams, "default", optim, lambda lines: None)
        torch.testing.assert_close(compiled(batch).total, streams(batch).total, rtol=1e-3, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
