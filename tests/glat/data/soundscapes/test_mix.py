"""Built-in soundscapes: the same bytes everywhere, and labels and times that are true."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from sounds import opened

from glat.data import Mixer
from glat.data.soundscapes.events import CLASSES, synthesise
from glat.data.soundscapes.mix import RECORDINGS_PER_CLASS, mix, synthesised
from glat.data.soundscapes.portable_math import CYCLE, Draw, gain, phase, rms, sine, smooth
from glat.errors import UserError

RATE = 16_000

# Change these with a change of the sounds, never to please one machine.
GOLDEN = {
    16_000: "96e72037331518ee253b852efff5d5edc3a279cceda7e54c51372d402f120d9d",
    32_000: "24672f693dcf230425703621c479d3aa42b861cb56378a518796e24b866e9f97",
}


def digest(rate):
    """SHA-256 of one event of every class and of a few clips of both sides with labels and times."""
    hashed = hashlib.sha256()
    for label in range(len(CLASSES)):
        hashed.update(synthesise(label, Draw(label), rate).astype("<i2").tobytes())
    mixer = Mixer(events=(1, 4), level_db=(-5, 15), bed_dbfs=(-44, -34))  # whatever the defaults are tuned to
    data = opened(None, sample_rate_hz=rate, clip_seconds=None, train_clips=6, eval_clips=3, seed=7, mixer=mixer)
    for clips in (data.train, data.evaluation):
        hashed.update(clips.waves.numpy().astype("<i2").tobytes())
        hashed.update(clips.targets.dense().numpy().tobytes())
        hashed.update(repr(clips.events).encode())
    return hashed.hexdigest()


@pytest.mark.parametrize("rate", GOLDEN)
def test_the_same_seed_gives_the_same_bytes_on_every_machine(rate):
    assert digest(rate) == GOLDEN[rate]


def test_the_bytes_do_not_depend_on_vector_instructions():
    features = np._core._multiarray_umath.__cpu_dispatch__ if hasattr(np, "_core") else []
    found = [name for name in features if np._core._multiarray_umath.__cpu_features__.get(name)]
    if not found:
        pytest.skip("NumPy uses no vector instructions here that can be switched off")
    program = f"import runpy; print(runpy.run_path({__file__!r})['digest'](16_000))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NPY_DISABLE_CPU_FEATURES": " ".join(found)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == GOLDEN[16_000]


def test_neither_workers_nor_the_number_of_clips_change_a_clip():
    few = mix(synthesised("train", 0, RATE), Mixer(), 3, split="train", sample_rate_hz=RATE, workers=1)
    many = mix(synthesised("train", 0, RATE), Mixer(), 8, split="train", sample_rate_hz=RATE, workers=3)
    assert torch.equal(few.waves, many.waves[:3])
    assert torch.equal(few.targets.dense(), many.targets.dense()[:3])
    assert few.events == many.events[:3]
    assert few.names == many.names[:3]
    assert many.names[7] == "soundscape-train-000007"


def test_seeds_and_sides_differ():
    a, b = (opened(None, sample_rate_hz=RATE, clip_seconds=1.0, train_clips=4, eval_clips=4, seed=s) for s in (0, 1))
    waves = torch.cat([a.train.waves, a.evaluation.waves, b.train.waves, b.evaluation.waves])
    assert len(waves.unique(dim=0)) == 16


def test_training_and_evaluation_share_no_event():
    sides = []
    for side in ("train", "eval"):
        pool = synthesised(side, 0, RATE)
        assert pool.sizes == (RECORDINGS_PER_CLASS[side],) * len(CLASSES)
        sides.append(
            [pool.take(label, i)[0].tobytes() for label in range(len(CLASSES)) for i in range(pool.sizes[label])]
        )
    assert len({*sides[0], *sides[1]}) == len(sides[0]) + len(sides[1]) == 60 * len(CLASSES)


@pytest.fixture(scope="module")
def data():
    return opened(None, sample_rate_hz=RATE, clip_seconds=None, train_clips=150, eval_clips=5)


def test_a_clip_holds_one_to_four_events_inside_it(data):
    counts = [len(events) for events in data.train.events]
    assert set(counts) == {1, 2, 3, 4}
    assert data.train.waves.shape == (150, 10 * RATE)
    for events in data.train.events:
        for event in events:
            assert 0 <= event.onset_seconds < event.offset_seconds <= 10
    lengths = np.array([e.offset_seconds - e.onset_seconds for events in data.train.events for e in events])
    assert lengths.min() < 0.1
    assert lengths.max() > 6


def test_the_labels_are_those_of_the_events(data):
    for clips in (data.train, data.evaluation):
        assert clips.classes == CLASSES
        for target, events in zip(clips.targets.dense(), clips.events, strict=True):
            assert set(target.nonzero()[:, 0].tolist()) == {event.label for event in events}
    share = data.train.targets.dense().float().mean(0)
    assert 0.1 < share.min() <= share.max() < 0.3  # 0.195 on average


def test_events_sound_where_they_claim():
    clips = mix(
        synthesised("eval", 0, RATE),
        Mixer(events=(1, 1), level_db=(15, 15)),
        60,
        split="eval",
        sample_rate_hz=RATE,
    )
    for wave, (event,) in zip(clips.waves.numpy(), clips.events, strict=True):
        start, stop = round(event.onset_seconds * RATE), round(event.offset_seconds * RATE)
        inside, outside = wave[start:stop], np.concatenate([wave[:start], wave[stop:]])
        bed_db, event_db = 20 * np.log10(rms(outside)), 20 * np.log10(rms(inside))
        assert event_db - bed_db == pytest.approx(15.1, abs=1.5), CLASSES[event.label]
        edge = outside[max(0, start - 800) : start + 800]  # just before and after, the bed is alone
        assert abs(20 * np.log10(rms(edge)) - bed_db) < 2


def test_levels_are_over_the_bed_and_in_their_range():
    # The draws are the same for every level: the difference of two mixtures is the event alone.
    def waves(level_db):
        mixer = Mixer(events=(1, 1), level_db=(level_db, level_db), bed_dbfs=(-40, -40))
        clips = mix(synthesised("train", 0, RATE), mixer, 12, split="train", sample_rate_hz=RATE)
        return clips.waves.numpy().astype(np.int64), clips.events

    quiet, events = waves(-5)
    loud, _ = waves(10)
    bed_rms = 32767 * 0.01
    for difference, (event,) in zip(loud - quiet, events, strict=True):
        start, stop = round(event.onset_seconds * RATE), round(event.offset_seconds * RATE)
        assert not difference[:start].any()
        assert not difference[stop:].any()
        expected = bed_rms * (10 ** (10 / 20) - 10 ** (-5 / 20))
        assert rms(difference[start:stop]) == pytest.approx(expected, rel=0.01)


def test_loud_clips_are_scaled_and_not_clipped():
    mixer = Mixer(events=(4, 4), level_db=(30, 30), bed_dbfs=(-20, -20))
    clips = mix(synthesised("train", 0, RATE), mixer, 6, split="train", sample_rate_hz=RATE)
    peaks = clips.waves.abs().amax(1)
    assert set(peaks.tolist()) <= {32766, 32767}
    at_peak = (clips.waves.abs() == peaks[:, None]).sum(1)
    assert at_peak.max() <= 2


def test_events_longer_than_their_range_or_the_clip_are_cut():
    pool = synthesised("train", 0, RATE)
    for mixer, clip_seconds, longest in ((Mixer(event_seconds=(0.3, 0.5)), 10.0, 0.5), (Mixer(), 1.0, 1.0)):
        clips = mix(pool, mixer, 30, split="train", sample_rate_hz=RATE, clip_seconds=clip_seconds)
        lengths = [e.offset_seconds - e.onset_seconds for events in clips.events for e in events]
        assert max(lengths) <= longest
        assert all(event.offset_seconds <= clip_seconds for events in clips.events for event in events)
        assert clips.waves.abs().amax(1).min() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"events": (0, 4)}, "at least 1"),
        ({"events": (3, 2)}, "smaller number first"),
        ({"level_db": (5.0, -5.0)}, "smaller number first"),
        ({"event_seconds": (0.0, 1.0)}, "above 0"),
    ],
)
def test_bad_mixers_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Mixer(**options)


def test_rates_too_low_for_the_sounds_are_refused():
    with pytest.raises(UserError, match="built-in soundscapes at 8000 Hz; their sounds need 16000 Hz"):
        opened(None, sample_rate_hz=8_000, clip_seconds=None)


@pytest.mark.parametrize("label", range(len(CLASSES)), ids=CLASSES)
@pytest.mark.parametrize("rate", [16_000, 32_000])
def test_recordings_of_a_class_vary(label, rate):
    waves = [synthesise(label, Draw(i), rate) for i in range(6)]
    lengths = [len(wave) / rate for wave in waves]
    assert 0.05 <= min(lengths) < max(lengths) <= 8
    assert {int(np.abs(wave).max()) for wave in waves} <= {28_999, 29_000}
    assert all(rms(wave) > 500 for wave in waves)
    spectra = [np.abs(np.fft.rfft(wave / rms(wave), n=8 * rate)).reshape(-1)[: 4 * rate] for wave in waves]
    assert len({int(spectrum.argmax()) for spectrum in spectra}) >= 5


# The arithmetic


def test_sine_and_phase():
    turn = np.arange(0, CYCLE, 12_345_678, dtype=np.int64)
    assert np.abs(sine(turn) - np.sin(2 * np.pi * turn / CYCLE)).max() < 1e-3
    tone = sine(phase(440.0, RATE, RATE))
    assert np.abs(np.fft.rfft(tone)).argmax() == 440


def test_gain_and_rms():
    assert [gain(x) for x in (0, 20, -20)] == [1.0, 10.0, 0.1]
    assert gain(-3.7) == pytest.approx(10 ** (-3.7 / 20), rel=1e-15)
    x = np.array([3, -4, 32767, -32768], np.int16)
    assert rms(x) == pytest.approx(np.sqrt(np.mean(x.astype(float) ** 2)), rel=1e-15)


def test_smooth_sums_neighbours():
    x = np.array([1, 2, 4, 8, 16])
    assert smooth(x, 2).tolist() == [3, 6, 12, 24]
    assert smooth(x, 5).tolist() == [31]


def test_draws_are_uniform_and_reach_both_ends():
    draw = Draw(0, 1)
    integers = [draw.integer(-2, 3) for _ in range(3_000)]
    assert set(integers) == {-2, -1, 0, 1, 2, 3}
    assert abs(np.mean(integers) - 0.5) < 0.1
    floats = [draw.uniform(2, 4) for _ in range(3_000)]
    assert 2 <= min(floats) < 2.01
    assert 3.99 < max(floats) < 4
    noise = draw.noise(10_001)
    assert len(noise) == 10_001
    assert abs(rms(noise) / (32_768 / np.sqrt(3)) - 1) < 0.02
    assert Draw(0, 1).integer(0, 1 << 40) != Draw(1, 0).integer(0, 1 << 40)
