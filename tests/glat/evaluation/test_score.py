"""Evaluation: every clip once, and crops compared with events worked out by hand."""

import contextlib

import numpy as np
import pytest
import soundfile
import torch

from glat.config import ModelConfig
from glat.data import Clips, Event, Targets, fingerprint
from glat.data.loading.batches import Loading
from glat.data.recordings.encoded import encoded_from_manifest
from glat.data.recordings.recording import Recording
from glat.errors import UserError
from glat.evaluation.score import Scored, crop_hits, evaluation_of, remarks, score, table
from glat.model import build_model
from glat.ranks import ALONE


def evaluate(model, *arguments):
    return evaluation_of(score(model, *arguments), model.crop_samples)


def clips(events=None, count=5):
    generator = torch.Generator().manual_seed(0)
    targets = torch.zeros(count, 3, dtype=torch.bool)
    targets[torch.arange(count), torch.arange(count) % 2] = True
    return Clips(
        waves=(3000 * torch.randn(count, 20_000, generator=generator)).to(torch.int16),
        lengths=np.full(count, 20_000),
        clip_samples=20_000,
        targets=Targets.from_dense(np.asarray(targets, bool)),
        names=tuple(map(str, range(count))),
        classes=("a", "b", "never"),
        sample_rate_hz=1_000,
        events=events,
    )


def model():
    torch.manual_seed(0)
    return build_model(ModelConfig(width=0.1, num_crops=2, crop_seconds=0.2), 3)


def test_every_clip_is_scored_once_whatever_the_batch():
    network, data = model(), clips()
    whole, parts = (evaluate(network, data, size, torch.device("cpu"), contextlib.nullcontext) for size in (5, 2))
    assert whole.clips == parts.clips == 5
    for name in ("global", "local", "fused"):
        np.testing.assert_allclose(whole.metrics[name].ap, parts.metrics[name].ap)
    assert whole.metrics["fused"].left_out == (2,)
    assert "never" in "".join(remarks(whole, data.classes))
    assert table(whole).row_count == 3


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_clips_that_vanish_are_left_out_whatever_the_batch(batch_size, tmp_path):
    recordings = []
    for i in range(5):
        soundfile.write(tmp_path / f"{i}.wav", np.random.default_rng(i).uniform(-0.5, 0.5, 16_000), 32_000)
        recordings.append(Recording(f"{i}.wav", tmp_path / f"{i}.wav", ("ab"[i % 2],)))
    source, _ = encoded_from_manifest(recordings, ("a", "b", "never"), sample_rate_hz=32_000, clip_seconds=0.5)
    for i in (2, 3):
        (tmp_path / f"{i}.wav").unlink()
    reports = []
    evaluated = (model(), source, batch_size, torch.device("cpu"), contextlib.nullcontext, ALONE)
    evaluation = evaluate(*evaluated, Loading("soundfile", 2, reports.append))
    assert evaluation.clips == 3
    assert evaluation.clips_sha256 == fingerprint(("0.wav", "1.wav", "4.wav"))
    assert [skipped.file for skipped in reports] == ["2.wav", "3.wav"]
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="no clip for the evaluation can be read .*: no such file"):
        evaluate(*evaluated, Loading("soundfile", 2, reports.append))


def test_the_mode_of_the_model_is_restored():
    network = model().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    evaluate(network, clips(), 5, torch.device("cpu"), contextlib.nullcontext)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_crops_are_compared_with_the_events_of_their_class():
    events = ((Event(0, 2.0, 3.0), Event(1, 10.0, 20.0)), (Event(0, 19.0, 20.0),))
    # Clip 0: class 0 at 0..4 s (on it), class 1 at 5..9 s (beside it).
    # Clip 1: class 1 is absent, class 0 at 15.5..19.5 s (on it).
    hits = crop_hits(clips(events, 2), np.array([[0, 1], [1, 0]]), np.array([[0, 5_000], [0, 15_500]]), 4_000)
    assert hits is not None
    assert (hits.crops, hits.overlapping) == (3, 2)
    assert hits.share == pytest.approx(2 / 3)
    # A random start in 0..16 s: below 3 of 16, above 6 of 16 and above 15 of 16, to the spacing of the starts.
    assert hits.by_chance == pytest.approx((3 / 16 + 10 / 16 + 1 / 16) / 3, abs=0.01)


def test_touching_is_not_overlapping():
    events = ((Event(0, 4.0, 5.0),),)
    for start, overlapping in ((0, 0), (1, 1), (5_000, 0), (4_999, 1)):
        hits = crop_hits(clips(events, 1), np.array([[0]]), np.array([[start]]), 4_000)
        assert hits is not None
        assert hits.overlapping == overlapping, start


def test_unknown_times_are_not_guessed():
    assert crop_hits(clips(), np.zeros((5, 1), int), np.zeros((5, 1), int), 4_000) is None


# 20 000 samples in 7 frames of 2 857.14, rounded down. Half a crop is .7 frames, or .3 samples less than 2 frames.
@pytest.mark.parametrize(("crop_samples", "frames_before", "bins"), [(4_000, 1, 6), (11_428, 2, 4)])
def test_crop_starts_are_counted_a_frame_a_bin_for_present_and_absent_classes(crop_samples, frames_before, bins):
    starts = np.clip(np.arange(7) * 20_000 // 7 - crop_samples // 2, 0, 20_000 - crop_samples)
    probs = np.random.default_rng(0).random((5, 3), np.float32)
    classes = np.tile([0, 1], (5, 1))
    for t, start in enumerate(starts):
        streams = dict.fromkeys(("global", "local", "fused"), probs)
        scored = Scored(clips(), streams, classes, np.full((5, 2), start), 7, probs)
        found = evaluation_of(scored, crop_samples).starts
        assert (found.clip_seconds, found.crop_seconds) == (20, crop_samples / 1_000)
        assert found.bin_seconds == pytest.approx(20 / 7)
        # Clip i has the class i % 2: one of its two crops is of a class that is present.
        assert (sum(found.present), sum(found.absent)) == (5, 5)
        assert len(found.present) == bins
        expected = min(max(0, t - frames_before), bins - 1)
        assert found.present.index(5) == found.absent.index(5) == expected, t
