"""`load`: from a source of data to clips of both sides."""

from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from sounds import opened

from glat.data import Mixer
from glat.data.recordings.audio import to_int16
from glat.data.recordings.manifest import read_manifest, split
from glat.errors import UserError

RATE = 16_000


def tone(frequency_hz, seconds=0.5, rate=RATE):
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """Two classes of five recordings, each a tone of its own."""
    for i, label in enumerate(("cat", "dog")):
        (tmp_path / label).mkdir()
        for k in range(5):
            soundfile.write(tmp_path / label / f"{k}.wav", tone(1000 * (i + 1) + 100 * k), RATE, subtype="FLOAT")
    return tmp_path


@pytest.fixture
def table(folder):
    """A CSV of the same with folds 0 to 4; recording 0 of dog is a cat, too."""
    lines = [f"{label}/{k}.wav,{label},{k}" for label in ("cat", "dog") for k in range(5)]
    lines[5] = "dog/0.wav,dog;cat,0"
    (folder / "set.csv").write_text("\n".join(["file,label,fold", *lines]) + "\n")
    return folder / "set.csv"


def read(source, **options):
    return opened(source, **{"sample_rate_hz": RATE, "clip_seconds": None, **options})


def same(a, b):
    return (
        (a.names, a.classes, a.events, a.sample_rate_hz) == (b.names, b.classes, b.events, b.sample_rate_hz)
        and torch.equal(a.waves, b.waves)
        and np.array_equal(a.lengths, b.lengths)
        and torch.equal(a.targets.dense(), b.targets.dense())
    )


def test_a_folder_gives_clips_of_both_sides(folder):
    data = read(folder)
    assert (len(data.train), len(data.evaluation), data.skipped) == (8, 2, ())
    for clips in (data.train, data.evaluation):
        assert clips.classes == ("cat", "dog")
        assert (clips.waves.dtype, clips.lengths.dtype, clips.targets.dense().dtype) == (
            torch.int16,
            np.int64,
            torch.bool,
        )
        assert clips.waves.shape == (len(clips), RATE // 2)
        assert clips.waves.is_contiguous()
        assert clips.lengths.tolist() == [RATE // 2] * len(clips)
        assert clips.sample_rate_hz == RATE
        assert clips.events is None
        for name, wave, target in zip(clips.names, clips.waves, clips.targets.dense(), strict=True):
            samples, _ = soundfile.read(folder / name, dtype="float32")
            np.testing.assert_array_equal(wave.numpy(), to_int16(samples))
            assert target.tolist() == [name.startswith("cat"), name.startswith("dog")]
    assert data.evaluation.targets.dense().sum(0).tolist() == [1, 1]
    assert not set(data.train.names) & set(data.evaluation.names)


def test_a_csv_gives_folds_and_several_labels(table):
    data = read(table, eval_folds=("3", "4"))
    assert data.evaluation.names == ("cat/3.wav", "cat/4.wav", "dog/3.wav", "dog/4.wav")
    assert data.train.names == ("cat/0.wav", "cat/1.wav", "cat/2.wav", "dog/0.wav", "dog/1.wav", "dog/2.wav")
    assert data.train.targets.dense().tolist() == [[True, False]] * 3 + [[True, True]] + [[False, True]] * 2


def test_loading_is_repeatable_whatever_the_workers(folder):
    first = read(folder, workers=1)
    for workers in (2, None):
        other = read(folder, workers=workers)
        assert same(first.train, other.train)
        assert same(first.evaluation, other.evaluation)
    assert read(folder, seed=1).evaluation.names != first.evaluation.names


def test_bad_files_are_skipped_and_move_no_other(folder):
    before = read(folder)
    spoilt = before.train.names[1]
    (folder / spoilt).write_bytes(b"spoilt")
    (folder / "cat/x.wav").mkdir()
    data = read(folder)
    assert len(data.skipped) == 2
    assert {s.file: s.reason.split(" (")[0] for s in data.skipped} == {
        spoilt: "cannot be decoded",
        "cat/x.wav": "is a folder",
    }
    assert set(data.train.names) == set(before.train.names) - {spoilt}
    assert data.train.waves.shape == (7, RATE // 2)


def test_files_that_a_csv_lists_and_that_are_missing_are_skipped(table):
    (table.parent / "cat/1.wav").unlink()
    data = read(table, eval_folds=("4",))
    assert [(s.file, s.reason) for s in data.skipped] == [("cat/1.wav", "no such file")]


def test_clip_seconds_pads_and_cuts(folder):
    long, short = (read(folder, clip_seconds=seconds, windows="off").train for seconds in (0.8, 0.2))
    assert long.waves.shape[1] == 12_800
    assert long.lengths.tolist() == [8_000] * 8
    assert not long.waves[:, 8_000:].any()
    assert short.lengths.tolist() == [3_200] * 8
    assert torch.equal(short.waves, long.waves[:, :3_200])


def test_no_readable_file_is_an_error(folder):
    for path in folder.rglob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of 10 recordings can be read \(one of them: .*\.wav: is empty"):
        read(folder)


def test_a_class_whose_training_files_are_all_bad_is_named(table):
    for k in range(4):
        (table.parent / f"dog/{k}.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"training lacks 'dog', .* \(4 recordings were skipped\)"):
        read(table, eval_folds=("4",))
    (table.parent / "cat/0.wav").write_bytes(b"")
    with pytest.raises(UserError, match="no recording is left for evaluation"):
        read(table, eval_folds=("0",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate_hz": 0}, "sample rate of 0 Hz"),
        ({"clip_seconds": 0.0}, "--clip-seconds 0.0"),
        ({"clip_seconds": -1.0}, "--clip-seconds -1.0"),
        ({"clip_seconds": float("nan")}, "--clip-seconds nan"),
        ({"clip_seconds": float("inf")}, "--clip-seconds inf"),
        ({"train_clips": 0}, "--train-clips 0"),
        ({"eval_clips": -3}, "--eval-clips -3"),
        ({"seed": -1}, "--seed -1"),
        ({"workers": 0}, "--workers 0"),
        ({"eval_folds": ("4",)}, "built-in soundscapes have no folds"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        read(None, **options)


def test_mixing_takes_both_sides_from_recordings_of_their_own(table):
    loud = Mixer(events=(1, 2), level_db=(60, 60), bed_dbfs=(-80, -80), event_seconds=(0.1, 0.3))
    data = read(table, mix=True, eval_folds=("3", "4"), train_clips=30, eval_clips=40, clip_seconds=2.0, mixer=loud)
    heard = {}
    for side, clips in (("train", data.train), ("eval", data.evaluation)):
        heard[side] = set()
        assert clips.waves.shape[1] == 2 * RATE
        for wave, events, target in zip(clips.waves.double(), clips.events, clips.targets.dense(), strict=True):
            assert set(target.nonzero()[:, 0].tolist()) == {event.label for event in events}
            for event in events:
                assert 0 <= event.onset_seconds < event.offset_seconds <= 2
                assert event.offset_seconds - event.onset_seconds <= 0.3
            if len(events) == 1:
                event = wave[round(events[0].onset_seconds * RATE) : round(events[0].offset_seconds * RATE)]
                spectrum = torch.fft.rfft(event, n=RATE).abs()
                heard[side].add(round(int(spectrum.argmax()) / 100) * 100)
    assert heard["train"] <= {1000, 1100, 1200, 2000, 2100, 2200}
    assert heard["eval"] == {1300, 1400, 2300, 2400}
    assert len(heard["train"]) >= 4


def test_digital_silence_around_a_recording_is_no_part_of_the_event(table):
    for path in table.parent.rglob("*.wav"):
        padded = np.concatenate([np.zeros(RATE), tone(440, 0.25) + 0.01, np.zeros(2 * RATE)])
        soundfile.write(path, padded, RATE, subtype="FLOAT")
    for event_seconds in (None, (1.0, 2.0), (0.1, 0.2)):
        data = read(
            table, mix=True, eval_folds=("4",), train_clips=10, eval_clips=1, mixer=Mixer(event_seconds=event_seconds)
        )
        lengths = [e.offset_seconds - e.onset_seconds for events in data.train.events for e in events]
        if event_seconds == (0.1, 0.2):
            assert 0.09 < min(lengths) < max(lengths) <= 0.2
        else:
            assert max(lengths) - min(lengths) < 1e-9
            assert lengths[0] == pytest.approx(0.25, abs=0.01)


def test_mixed_recordings_bring_all_their_labels(table):
    data = read(table, mix=True, eval_folds=("0",), train_clips=4, eval_clips=40)
    pairs = Counter((e.onset_seconds, e.offset_seconds) for events in data.evaluation.events for e in events)
    assert 2 in pairs.values()  # dog/0.wav is a cat, too


def test_esc10_loads_whole(esc10):
    data = opened(esc10, sample_rate_hz=32_000, clip_seconds=5.0, eval_folds=("4",))
    assert (len(data.train), len(data.evaluation), data.skipped) == (240, 80, ())
    assert len(data.train.classes) == 10
    assert data.train.targets.dense().sum(0).tolist() == [24] * 10
    assert data.evaluation.targets.dense().sum(0).tolist() == [8] * 10
    assert data.train.waves.shape == (240, 160_000)
    assert all("/4-" in name for name in data.evaluation.names)


def test_esc10_splits_without_folds(esc10):
    recordings = read_manifest(esc10).recordings
    chosen = Counter(r.labels[0] for r, is_eval in zip(recordings, split(recordings, (), 0), strict=True) if is_eval)
    assert len(chosen) == 10
    assert set(chosen.values()) == {6}  # of 32


def test_esc10_mixes_into_soundscapes(esc10):
    data = opened(
        esc10, sample_rate_hz=32_000, clip_seconds=None, eval_folds=("4",), mix=True, train_clips=40, eval_clips=10
    )
    assert data.train.waves.shape == (40, 320_000)
    assert data.skipped == ()
    lengths = [e.offset_seconds - e.onset_seconds for events in data.train.events for e in events]
    assert 0 < min(lengths) < 1
    assert 2 < max(lengths) <= 3
