"""Decoding: what is returned, and what is said of every kind of bad file."""

import os
import struct

import numpy as np
import pytest
import soundfile
import soxr

from glat.data.recordings.audio import read_audio, read_clips, to_int16
from glat.data.recordings.decoding import UnreadableAudio
from glat.errors import UserError
from glat.tagging.reading import FileSource

RATE = 32_000


def noise(seconds=0.5, rate=RATE, channels=None, seed=0):
    shape = (round(seconds * rate),) if channels is None else (round(seconds * rate), channels)
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def write(path, samples, rate=RATE, subtype="FLOAT", **options):
    soundfile.write(path, samples, rate, subtype=subtype, **options)
    return path


def damaged(path, keep):
    """The file at `path` cut to its first `keep` bytes, or by -`keep` at its end."""
    path.write_bytes(path.read_bytes()[:keep])
    return path


# Decoded right


def test_what_is_heard_stays_when_more_is_decoded(tmp_path):
    """A thread decodes into the same memory again, here within a recording, too."""
    sounds = [noise(33, seed=seed) for seed in range(2)]
    paths = [write(tmp_path / f"{seed}.wav", x) for seed, x in enumerate(sounds)]
    heard = [read_audio(path, RATE) for path in paths]
    windows = [[], []]
    for path, blocks in zip(paths, windows, strict=True):
        FileSource(path).read(RATE, lambda blocks=blocks: blocks.append)
    for x, y, blocks in zip(sounds, heard, windows, strict=True):
        assert np.array_equal(x, y)
        assert np.array_equal(x, np.concatenate(blocks))


def test_samples_at_the_right_rate_are_returned_bit_for_bit(tmp_path):
    x = noise()
    y = read_audio(write(tmp_path / "a.wav", x), RATE)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled_by_soxr_hq(tmp_path, rate):
    x = noise(rate=rate)
    y = read_audio(write(tmp_path / "a.wav", x, rate), RATE)
    np.testing.assert_array_equal(y, soxr.resample(x, rate, RATE, quality="HQ"))
    assert abs(len(y) - RATE / 2) <= 1


def test_a_tone_above_the_band_does_not_fold_into_it(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 18_000 * np.arange(48_000) / 48_000)
    y = read_audio(write(tmp_path / "a.wav", tone, 48_000), RATE)
    assert np.abs(y[2_000:-2_000]).max() < 1e-4


def test_channels_are_averaged(tmp_path):
    x = noise(channels=2)
    np.testing.assert_array_equal(read_audio(write(tmp_path / "a.wav", x), RATE), x.mean(axis=1))


def test_eight_channels_of_float_at_96_khz(tmp_path):
    x = noise(rate=96_000, channels=8)
    y = read_audio(write(tmp_path / "a.wav", x, 96_000), RATE)
    np.testing.assert_array_equal(y, soxr.resample(x.mean(axis=1), 96_000, RATE, quality="HQ"))


def test_u_law_at_8_khz(tmp_path):
    x = noise(rate=8_000)
    y = read_audio(write(tmp_path / "a.wav", x, 8_000, "ULAW"), 8_000)
    assert len(y) == len(x)
    assert np.abs(y - x).max() < 0.02


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3", "aiff", "au", "caf", "w64"])
def test_formats_of_soundfile(tmp_path, suffix):
    t = np.arange(RATE // 2) / RATE
    x = (0.4 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    soundfile.write(tmp_path / f"a.{suffix}", x, RATE)
    y = read_audio(tmp_path / f"a.{suffix}", RATE)
    assert len(y) == len(x)
    assert np.abs(y - x).max() < 0.1


def test_long_files_are_decoded_in_blocks_without_a_seam(tmp_path):
    x = noise(20, channels=2)
    np.testing.assert_array_equal(read_audio(write(tmp_path / "a.wav", x), RATE), x.mean(axis=1))


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_max_seconds_gives_the_start_of_the_whole(tmp_path, rate):
    path = write(tmp_path / "a.wav", noise(5, rate), rate)
    start = read_audio(path, RATE, max_seconds=1.25)
    assert len(start) == 40_000
    np.testing.assert_allclose(start, read_audio(path, RATE)[:40_000], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("rate", "subtype", "seconds"),
    [(RATE, "VORBIS", 0.01), (RATE, "VORBIS", 0.5), (RATE, "VORBIS", 5), (48_000, "OPUS", 5)],
)
def test_whole_ogg_streams_are_not_called_cut_off(tmp_path, rate, subtype, seconds):
    path = write(tmp_path / "a.ogg", noise(seconds, rate), rate, subtype)
    assert len(read_audio(path, rate)) == round(seconds * rate)
    with path.open("ab") as stream:
        stream.write(b"a tag behind the end")
    assert len(read_audio(path, rate)) == round(seconds * rate)


def test_sizes_that_say_unknown_are_no_damage(tmp_path):
    path = write(tmp_path / "a.wav", noise(), subtype="PCM_16")
    data = bytearray(path.read_bytes())
    for size in (0xFFFFFFFF, 0x7FFFF000):  # what ffmpeg and sox write into a pipe
        data[40:44] = struct.pack("<I", size)
        path.write_bytes(data)
        assert len(read_audio(path, RATE)) == RATE // 2


@pytest.mark.parametrize("name", ["ärger 音声 🎧.wav", "x" * 250 + ".wav", "a;b,c'd\"e\n.wav", "no-suffix"])
def test_odd_names_are_read(tmp_path, name):
    write(tmp_path / name, noise(), format="WAV")
    assert len(read_audio(tmp_path / name, RATE)) == RATE // 2


def test_int16_is_clipped_and_truncated_toward_zero():
    x = np.array([0, 1, -1, 1.7, -3, 0.5, -0.5, 1.9 / 32767, -1.9 / 32767], np.float32)
    assert to_int16(x).tolist() == [0, 32767, -32767, 32767, -32767, 16383, -16383, 1, -1]


# Refused, with the reason


BAD = {
    "random bytes": lambda path: path.write_bytes(np.random.default_rng(0).bytes(50_000)),
    "text": lambda path: path.write_text("not audio\n" * 500),
    "nothing": lambda path: path.write_bytes(b""),
    "half a header": lambda path: damaged(write(path, noise()), 22),
    "no samples": lambda path: write(path, np.zeros(0)),
    "zeros": lambda path: write(path, np.zeros(8_000)),
    "constant": lambda path: write(path, np.full(8_000, 0.25)),
    "another scale": lambda path: write(path, noise() * 32_767),
    "nan": lambda path: write(path, np.where(np.arange(16_000) == 9_000, np.nan, noise())),
    "infinity": lambda path: write(path, np.where(np.arange(16_000) == 9_000, np.inf, noise())),
    "both infinities": lambda path: write(path, np.array([[np.inf, -np.inf]] * 100)),
    "cut wav": lambda path: damaged(write(path, noise()), 20_000),
    "wav without its last byte": lambda path: damaged(write(path, noise(), subtype="PCM_16"), -1),
    "cut flac": lambda path: damaged(write(path, noise(), subtype="PCM_16", format="FLAC"), 10_000),
    "cut ogg": lambda path: damaged(write(path, noise(0.5), subtype="VORBIS", format="OGG"), 3_989),
    "ogg without its last byte": lambda path: damaged(write(path, noise(2), subtype="VORBIS", format="OGG"), -1),
    "half an ogg": lambda path: damaged(write(path, noise(5), subtype="VORBIS", format="OGG"), 22_904),
    "cut opus": lambda path: damaged(write(path, noise(2, 48_000), 48_000, "OPUS", format="OGG"), -100),
    "cut mp3": lambda path: damaged(write(path, noise(2), subtype="MPEG_LAYER_III", format="MP3"), 8_000),
    "cut aiff": lambda path: damaged(write(path, noise(), subtype="PCM_16", format="AIFF"), 10_000),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "missing": lambda path: None,
    "rate of 1 Hz": lambda path: write(path, noise(), 1),
    "one sample in a hundred": lambda path: write(path, noise()[:2], 900_000),
}
REASONS = {
    "random bytes": "cannot be decoded",
    "text": "cannot be decoded",
    "nothing": "is empty",
    "no samples": "holds no samples",
    "zeros": "is silent",
    "constant": "is constant: an offset of 0.25 times full scale",
    "another scale": "times full scale: its samples are on another scale",
    "nan": "NaN or infinite",
    "infinity": "NaN or infinite",
    "both infinities": "NaN or infinite",
    "folder": "is a folder",
    "pipe": "is no regular file",
    "missing": "no such file",
    "rate of 1 Hz": "sample rate of 1 Hz",
    "one sample in a hundred": "holds no samples at 32000 Hz",
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_with_their_reason(tmp_path, kind):
    path = tmp_path / "x.wav"
    BAD[kind](path)
    with pytest.raises(UnreadableAudio) as caught:
        read_audio(path, RATE)
    assert REASONS.get(kind, "is cut off") in caught.value.reason
    assert isinstance(caught.value, UserError)
    assert str(caught.value).startswith(f"{path}: {caught.value.reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 300 + ".wav", "nul\0.wav", "headerless.raw"])
def test_names_that_cannot_be_opened_are_refused(tmp_path, name):
    if name.endswith(".raw"):
        (tmp_path / name).write_bytes(bytes(1000))
    with pytest.raises(UnreadableAudio):
        read_audio(tmp_path / name, RATE)


# Clips


def test_clips_are_padded_with_zeros_and_cut(tmp_path):
    short, long = noise(0.25), noise(3)
    paths = [write(tmp_path / "short.wav", short), write(tmp_path / "long.wav", long)]
    waves, lengths, reasons, _ = read_clips(paths, RATE, 1.0)
    assert waves.shape == (2, RATE)
    assert waves.dtype == np.int16
    assert lengths.tolist() == [RATE // 4, RATE]
    assert reasons == {}
    np.testing.assert_array_equal(waves[0, : RATE // 4], to_int16(short))
    assert not waves[0, RATE // 4 :].any()
    np.testing.assert_array_equal(waves[1], to_int16(long)[:RATE])


@pytest.mark.parametrize(("seconds", "clip_seconds"), [((0.5, 1.23), 1.3), ((0.4, 0.3), 0.4), ((11.0, 2.0), 10.0)])
def test_clips_are_as_long_as_the_longest_file_up_to_ten_seconds(tmp_path, seconds, clip_seconds):
    samples = [noise(s, seed=i) for i, s in enumerate(seconds)]
    paths = [write(tmp_path / f"{i}.wav", x) for i, x in enumerate(samples)]
    waves, lengths, _, _ = read_clips(paths, RATE, None)
    assert waves.shape == (2, round(clip_seconds * RATE))
    for wave, length, x in zip(waves, lengths, samples, strict=True):
        assert length == min(len(x), 10 * RATE)
        np.testing.assert_array_equal(wave[:length], to_int16(x[:length]))
        assert not wave[length:].any()


def test_bad_files_leave_no_gap_and_good_ones_keep_their_order(tmp_path):
    paths, good = [], []
    for i, kind in enumerate(BAD):
        paths += [tmp_path / f"{i}-bad.wav", write(tmp_path / f"{i}-good.wav", noise(0.1 + 0.01 * i, seed=i))]
        good.append(noise(0.1 + 0.01 * i, seed=i))
        BAD[kind](paths[-2])
    waves, lengths, reasons, _ = read_clips(paths, RATE, None)
    assert sorted(reasons) == list(range(0, len(paths), 2))
    assert lengths.tolist() == [len(x) for x in good]
    for wave, x in zip(waves, good, strict=True):
        np.testing.assert_array_equal(wave[: len(x)], to_int16(x))
        assert not wave[len(x) :].any()


def test_the_number_of_workers_changes_nothing(tmp_path):
    paths = [write(tmp_path / f"{i}.wav", noise(0.2, 44_100, seed=i), 44_100) for i in range(12)]
    paths.insert(5, tmp_path / "missing.wav")
    first = read_clips(paths, RATE, None, workers=1)
    for workers in (2, 7, None):
        other = read_clips(paths, RATE, None, workers=workers)
        np.testing.assert_array_equal(first[0], other[0])
        np.testing.assert_array_equal(first[1], other[1])
        assert first[2] == other[2]


def test_one_sample_is_a_clip(tmp_path):
    waves, lengths, reasons, _ = read_clips([write(tmp_path / "a.wav", noise()[:1])], RATE, 0.5)
    assert (lengths.tolist(), reasons) == ([1], {})
    assert np.count_nonzero(waves) == 1


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.full(8_000, 1e-6), "in 16 bits"),
        (np.concatenate([np.zeros(48_000), np.full(99, 0.5)]), "is silent"),  # sounds after the clip's end
        (noise() * 20_000, "times full scale"),
        (np.full(8_000, 3e38), "times full scale"),
    ],
)
def test_recordings_that_make_no_clip_are_left_out(tmp_path, samples, reason):
    for rate in (RATE, 44_100):
        waves, _, reasons, _ = read_clips([write(tmp_path / "a.wav", samples, rate)], RATE, 1.0)
        assert len(waves) == 0
        assert reason in reasons[0]


def test_overshoot_is_clipped(tmp_path):
    waves, _, reasons, _ = read_clips([write(tmp_path / "a.wav", noise() * 3)], RATE, 0.5)
    assert reasons == {}
    assert waves.max() == 32767
    assert waves.min() == -32767
