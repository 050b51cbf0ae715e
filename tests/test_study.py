"""The study in small: its rows compare, it goes on where it was stopped, and its page says what its results say."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.study import __main__ as command
from bench.study import better, collect, crops, page, training, when
from bench.study.plan import ALONE, GLAT, JOBS, SHARED, SMALL, Job, Row
from bench.study.report import PAGE, RESULTS, write
from bench.study.running import note
from bench.study.variants import EventCrops, placements
from glat.config import OptimConfig
from glat.data import Batch, Event
from glat.errors import UserError
from glat.training.step import TrainingStep

ROOT = Path(__file__).resolve().parents[1]
RANDOM, EVENTS = (Row(name, name, crops=name) for name in ("random", "events"))
TINY = replace(SMALL, train_clips=8, eval_clips=12)


def run(rows, folder, seed=0, scale=TINY, say=lambda line: None):
    """Train rows together and return their result and their state."""
    training.train(Job(folder.name, tuple(rows), (seed,)), seed, scale, None, folder, say)
    weights = torch.load(folder / training.WEIGHTS, weights_only=True)
    return json.loads((folder / training.RESULT).read_text(encoding="utf-8")), weights


def of(weights, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_global_stream_learns_the_same_beside_any_local_streams_and_beside_none(tmp_path):
    alone, alone_weights = run([ALONE], tmp_path / "alone")
    one, one_weights = run([GLAT], tmp_path / "one")
    many, many_weights = run([RANDOM, GLAT, EVENTS], tmp_path / "many")
    assert same(of(alone_weights, "global_."), of(one_weights, "global_."))
    assert same(of(alone_weights, "global_."), of(many_weights, "global_."))
    assert same(of(one_weights, "models.glat.local_."), of(many_weights, "models.glat.local_."))
    assert alone["rows"]["alone"]["global"] == many["rows"]["glat"]["global"]
    assert one["rows"]["glat"] == many["rows"]["glat"]
    assert many["rows"]["glat"]["local"] != many["rows"]["random"]["local"]


def test_the_loss_of_one_row_is_that_of_the_librarys_step():
    clips = training.soundscapes(None, TINY).train
    streams = training.Streams(Job("x", (GLAT,), (0,)), len(clips.classes), TINY.width, 0).train()
    batch = Batch(clips.waves[:4], torch.from_numpy(clips.lengths[:4]), clips.targets.dense()[:4].float())
    losses, wanted = streams(batch), TrainingStep(streams.models["glat"], OptimConfig())(batch)
    assert all(torch.equal(one, other) for one, other in zip(losses, wanted, strict=True))


def test_the_global_stream_learns_from_the_crops_where_the_weights_are_shared(tmp_path):
    alone, _ = run([ALONE], tmp_path / "alone")
    shared, weights = run([SHARED], tmp_path / "shared")
    assert not of(weights, "models.shared.local_.")
    assert shared["rows"]["shared"]["global"] != alone["rows"]["alone"]["global"]


def test_a_run_that_was_stopped_ends_with_the_same_numbers(tmp_path):
    class StopError(Exception):
        pass

    def stop(line):
        if "step 4 of 4" in line:
            raise StopError

    whole, whole_weights = run([RANDOM, GLAT], tmp_path / "whole")
    with pytest.raises(StopError):
        run([RANDOM, GLAT], tmp_path / "stopped", say=stop)
    lines = []
    stopped, stopped_weights = run([RANDOM, GLAT], tmp_path / "stopped", say=lines.append)
    assert any("going on from step 2" in line for line in lines)
    assert same(whole_weights, stopped_weights)
    assert stopped["rows"] == whole["rows"]
    assert [point["mAP"] for point in stopped["curve"]] == [point["mAP"] for point in whole["curve"]]
    assert not (tmp_path / "stopped" / training.CHECKPOINT).exists()


def test_crops_on_events_are_on_events_and_random_ones_move(tmp_path):
    result, _ = run([RANDOM, EVENTS], tmp_path / "placed")
    assert result["hits"]["events"]["share"] == 1
    clips = training.soundscapes(None, TINY).evaluation
    W = 3 * clips.sample_rate_hz
    for events, (classes, starts) in zip(clips.events, placements(clips, 5, W).values(), strict=True):
        middles = {(e.label, (e.onset_seconds + e.offset_seconds) / 2) for e in events}
        for label, start in zip(classes, starts, strict=True):
            assert 0 <= start <= clips.clip_samples - W
            inside = [
                start <= middle * clips.sample_rate_hz <= start + W for known, middle in middles if known == label
            ]
            assert any(inside)
    streams = training.Streams(Job("x", (RANDOM,), (0,)), len(clips.classes), TINY.width, 0)
    model = streams.models["random"].eval()
    wave = clips.waves[:3]
    with torch.inference_mode():
        first, second = (model(wave).crops for _ in range(2))
    assert torch.equal(first.classes, second.classes)
    assert not torch.equal(first.starts, second.starts)
    for b, n in ((0, 0), (2, 4)):
        start = int(first.starts[b, n])
        assert torch.equal(first.audio[b, n], wave[b, start : start + W].float() * (1 / 32767))


def test_event_crops_of_a_clip_that_they_do_not_know_are_an_error():
    streams = training.Streams(Job("x", (EVENTS,), (0,)), 12, TINY.width, 0)
    model = streams.models["events"]
    assert isinstance(model, EventCrops)
    model.placements = {}
    with pytest.raises(KeyError):
        model(torch.zeros(1, 160_000, dtype=torch.int16))


def test_differences_are_seed_by_seed_on_the_same_resamples():
    rng = np.random.default_rng(0)
    jobs = {job.name: job for job in JOBS}
    targets = rng.random((60, 3)) < 0.4
    good = [np.clip(targets * 0.5 + rng.random(targets.shape), 0, 2).astype(np.float32) / 2 for _ in range(2)]
    bad = [rng.random(targets.shape).astype(np.float32) for _ in range(2)]
    runs = [
        collect.Run(jobs[name], seed, {}, {(name, "global"): probs[seed].copy()}, targets)
        for name, probs in (("alone", bad), ("shorter", bad), ("longer", good))
        for seed in (0, 1)
    ]
    judged = collect.Judged(runs, 200)
    none = judged.difference(("shorter", "global"), ("alone", "global"))
    assert none["mAP"]["interval"] == [0, 0]
    assert none["mAP"]["by_seed"] == [0, 0]
    found = judged.difference(("longer", "global"), ("alone", "global"))
    assert found["seeds"] == [0, 1]
    assert found["mAP"]["interval"][0] > 0
    single = [judged.row((row, "global"))["mAP"]["by_seed"][0] for row in ("longer", "alone")]
    assert found["mAP"]["by_seed"][0] == pytest.approx(single[0] - single[1])
    both = judged.row(("two-alone", "global"))  # there is but one pair
    assert both["seeds"] == [0]
    assert both["mAP"]["deviation"] is None
    assert judged.difference(("longer", "global"), ("two-alone", "global"))["seeds"] == [0, 1]
    assert np.allclose(judged.probs["two-alone", "global"][0], (bad[0] + bad[1]) / 2)
    assert judged.difference(("longer", "global"), ("glat", "fused")) is None


def test_ensembles_are_of_different_networks():
    alone = {seed: np.full((1, 1), float(seed), np.float32) for seed in (0, 1, 2)}
    assert {seed: p.item() for seed, p in collect.ensembles(alone, 2).items()} == {0: 0.5, 1: 1.5, 2: 1.0}
    three = collect.ensembles(alone, 3)
    assert three[0].item() == 1
    assert three[0] is three[1] is three[2]
    assert collect.ensembles({0: alone[0]}, 2) == {}


def test_a_verdict_needs_all_seeds_and_the_interval():
    def verdict(low, high, *by_seed):
        return page.verdict({"interval": [low, high], "by_seed": by_seed})

    assert verdict(0.01, 0.03, 0.02, 0.01) == "yes"
    assert verdict(-0.03, -0.01, -0.02, -0.01) == "no: the reverse"
    assert verdict(0.01, 0.03, 0.05, -0.01) == "not decided"
    assert verdict(-0.01, 0.03, 0.01, 0.01) == "not decided"
    assert verdict(0.01, 0.03, 0.02) == "one seed"
    assert verdict(0.0, 0.0, 0.0, 0.0) == "no: the same"
    assert verdict(None, None, 0.1, 0.2) == "not decided"


def test_what_is_said_of_crops_is_told_apart_by_their_events():
    events = ((Event(0, 1.0, 2.0), Event(1, 6.0, 7.0)), (Event(1, 0.0, 0.5),))
    clips = replace(training.soundscapes(None, TINY).evaluation.subset(np.arange(2)), events=events)
    starts = torch.tensor([[0.0, 5.0], [0.4, 0.6]])  # of crops of 3 s
    probs = torch.zeros(2, 2, 12)
    probs[0, 0, 0], probs[0, 1, 1], probs[1, 0, 1], probs[1, 1, 1] = 0.9, 0.7, 0.2, 0.4
    said = crops._heard(probs, starts, 3.0, clips)
    assert said["crops_with_event"] == 0.5
    assert said["with_event"] == pytest.approx((0.9 + 0.7 + 0.2) / 3)
    assert said["without"] == pytest.approx((0 + 0 + 0.4) / 3)
    assert said["auc"] == pytest.approx(2 / 3)


def test_the_command_trains_what_is_missing_and_writes_the_page(tmp_path, capfd, esc10):
    out = tmp_path / "runs"
    only = ["--only", "alone", "joint", "longer", "whole-joint"]
    flags = ["run", "--out", str(out), "--small", "--seeds", "0", "--data", str(esc10)]
    assert command.main([*flags, *only]) == 0
    assert command.main([*flags, *only]) == 0
    assert "4 runs in" in (said := capfd.readouterr().out)
    assert "4 of them finished before" in said
    assert (
        command.main(["report", "--out", str(out), "--data", str(esc10), "--to", str(tmp_path), "--resamples", "20"])
        == 0
    )
    text = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert "GL-AT, fused" in text
    assert (tmp_path / "study" / "curves.png").stat().st_size > 10_000
    with pytest.raises(UserError, match="choose another --out"):
        command.main(["run", "--out", str(out), "--small", *only])
    with pytest.raises(UserError, match="no such job"):
        command.main([*flags, "--only", "nonsense"])
    with pytest.raises(UserError, match="--seeds 7: the plan has 0, 1, 2"):
        command.main([*flags[:-4], "--seeds", "7", *flags[-2:]])
    with pytest.raises(UserError, match="give --to"):
        command.main(["report", "--out", str(out), "--data", str(esc10)])
    path = out / "alone-S0" / training.RESULT
    path.write_text(path.read_text(encoding="utf-8").replace('"learning_rate": 0.003', '"learning_rate": 0.1'), "utf-8")
    with pytest.raises(UserError, match="alone-S0 was trained by another plan"):
        command.main([*flags, *only])


def test_the_command_scores_when_by_every_evidence_and_writes_its_part_of_the_page(tmp_path):
    pytest.importorskip("sed_scores_eval", reason="needs glat[events]")
    out = tmp_path / "runs"
    note(out, None, TINY)
    for job in JOBS:
        if job.name in ("fine", "fine-frames-attention"):
            training.train(job, 0, TINY, None, job.folder(out, 0), lambda line: None)
    assert command.main(["when", "--out", str(out), "--to", str(tmp_path), "--resamples", "5"]) == 0
    found = json.loads((tmp_path / "study" / when.RESULTS).read_text(encoding="utf-8"))
    evidence = [f"fine-glat/{each}" for each in when.SCORED]
    evidence += [
        f"{row}/{each}" for row in (f"fine-glat{when.RELEASED}", "fine-pool-max") for each in ("crops", "sharpened")
    ]
    pooled = [f"fine-frames-attention/{each}" for each in when.OF_FRAMES]
    assert set(found["rows"]) == {f"{each}/{metric}" for each in (*evidence, *pooled) for metric in when.METRICS}
    # Fewer resamples are the first of those that were kept; for more, all is scored again.
    again = ["when", "--out", str(out), "--to", str(tmp_path / "again"), "--resamples"]
    assert command.main([*again, "3"]) == 0
    fewer = json.loads((tmp_path / "again" / "study" / when.RESULTS).read_text(encoding="utf-8"))
    assert {name: row["by_seed"] for name, row in fewer["rows"].items()} == {
        name: row["by_seed"] for name, row in found["rows"].items()
    }
    less = found["differences"]["fine-glat/sharpened - fine-glat/frames/segment"]
    sharp, plain = (found["rows"][f"fine-glat/{each}/segment"]["mean"] for each in ("sharpened", "frames"))
    assert less["mean"] == pytest.approx(sharp - plain)
    assert found["grid"]["segment"] > max(found["rows"][f"{each}/segment"]["mean"] for each in evidence)
    text = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert "| backbone alone, frames pooled: attention | frames |" in text
    assert re.search(r"^\| sharpening improves the frames \| .*: one seed \| 1 \|$", text, re.M)


def test_what_was_tried_on_one_seed_is_judged_on_others_and_fresh_clips():
    rng = np.random.default_rng(0)
    jobs = {job.name: job for job in JOBS}

    def made(clips, fresh):
        """Runs of three seeds; fresh clips are heard by the backbone alone of the first, and by all of the others."""
        targets, found = rng.random((clips, 3)) < 0.4, []

        def heard(noise):
            return (1 / (1 + np.exp(noise * rng.standard_normal(targets.shape) - targets))).astype(np.float32)

        for seed in (0, 1, 2):
            result = {"commits": ["abc"], "training_cpu_seconds": 60.0}
            probs = {("fine-alone", "global"): heard(1.0)}
            for row, noise in (("fine-glat", 0.9), ("fine-pool-max", 0.3)) if seed or not fresh else ():
                global_, local = probs["fine-alone", "global"], heard(noise)
                probs |= {(row, "global"): global_, (row, "local"): local, (row, "fused"): (global_ + local) / 2}
            found.append(collect.Run(jobs["fine"], seed, result, probs, targets))
            if seed or not fresh:
                longer = {("fine-longer", "global"): heard(1.1)}
                found.append(collect.Run(jobs["fine-longer"], seed, result, longer, targets))
        return found

    runs, fresh = made(200, fresh=False), made(150, fresh=True)
    found = better.summary(runs, fresh, 100)
    assert len(found["tried"]["fine-pool-max/fused"]["by_seed"]) == 1
    claim = found["confirmed"]["fine-pool-max/fused - fine-longer/global"]
    assert len(claim["by_seed"]) == 2
    assert claim["interval"][0] > 0
    assert "fine-pool-max/fused - fine-pool-max/fused" not in found["confirmed"]
    assert all(found["weights"][f"fine-pool-max/{seed}"] > 0.6 for seed in (1, 2)), "the local stream is the better one"
    gained = found["confirmed"]["fine-pool-max/weighted - fine-pool-max/fused"]
    both = [found["fresh"][f"fine-pool-max/{stream}"]["mean"] for stream in ("weighted", "fused")]
    assert gained["mean"] == pytest.approx(both[0] - both[1])
    blocks = better.blocks(json.loads(json.dumps(found)))
    assert "| crops pooled: max | the backbone with 2.5 × the steps |" in blocks["better-confirmed"]
    assert blocks["better-taught"] == page.NOTHING


def test_whole_recordings_fill_more_of_a_clip_than_cut_ones(esc10):
    def mean_seconds(sounds):
        events = [event for of_clip in training.soundscapes(esc10, TINY, sounds).evaluation.events for event in of_clip]
        return np.mean([event.offset_seconds - event.onset_seconds for event in events])

    assert mean_seconds("cut") < 3 < mean_seconds("whole")


def test_a_plan_of_before_a_field_counts_and_one_with_another_value_does_not():
    job = next(job for job in JOBS if job.name == "pool-max")
    (noted,) = job.plan()
    assert job.is_of([noted])
    older = {name: value for name, value in noted.items() if name != "clip_pooling"}
    assert job.is_of([older])
    assert not job.is_of([noted | {"clip_pooling": "max"}])
    assert not job.is_of([older | {"of_a_newer_study": 1}])
    assert not job.is_of([noted, noted])


def test_every_row_of_the_plan_is_trained_once_a_seed_and_agrees_with_its_neighbours():
    trained = [(row.name, seed) for job in JOBS for row in job.rows for seed in job.seeds]
    assert len(trained) == len(set(trained))
    for job in JOBS:
        assert len({(r.network, r.schedule, r.learning_rate, r.sounds, r.clip_pooling) for r in job.rows}) == 1
        assert len(job.rows) == 1 or not any(row.share_weights for row in job.rows)


def test_the_page_says_what_the_results_say():
    summary = json.loads(RESULTS.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    assert page.with_blocks(text, page.blocks(summary)) == text
    assert page.NOTHING not in "".join(page.blocks(summary).values())
    said = json.loads((RESULTS.parent / when.RESULTS).read_text(encoding="utf-8"))
    assert page.with_blocks(text, when.blocks(said)) == text
    tried = json.loads((RESULTS.parent / better.RESULTS).read_text(encoding="utf-8"))
    assert page.with_blocks(text, better.blocks(tried)) == text
    for name in ("curves.png", "figure2.png"):
        assert f"study/{name}" in text
        assert (PAGE.parent / "study" / name).is_file()


def test_the_report_of_a_folder_without_runs_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"bench\.study run"):
        write(tmp_path, None, tmp_path, resamples=1)
