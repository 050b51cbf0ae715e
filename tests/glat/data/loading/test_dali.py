"""DALI's batches: resampled as soxr does it, and handed over without a copy."""

import numpy as np
import pytest
import soundfile
import torch

from glat.data.loading.batches import batches
from glat.data.recordings.audio import read_audio
from glat.data.recordings.encoded import encoded_from_manifest
from glat.data.recordings.manifest import read_manifest
from glat.data.recordings.recording import Recording
from glat.frontend import LogMel

pytest.importorskip("nvidia.dali")

PANNS = LogMel()
TALNET = LogMel(16_000, 1024, 400, 64, 0.0, 8_000.0)
RATES = [(44_100, PANNS), (48_000, PANNS), (22_050, PANNS), (16_000, PANNS), (44_100, TALNET)]
RATE_IDS = ["44.1 to 32", "48 to 32", "22.05 to 32", "16 to 32", "44.1 to 16"]


def load(paths, sample_rate_hz, clip_seconds):
    recordings = [Recording(path.name, path, ("a",)) for path in paths]
    source, skipped = encoded_from_manifest(
        recordings, ("a",), sample_rate_hz=sample_rate_hz, clip_seconds=clip_seconds
    )
    assert skipped == ()
    rows = [torch.arange(len(source))]
    (batch,) = batches(source, rows, device=torch.device("cpu"), loader="dali", report=pytest.fail)
    return batch


def errors_db(batch, paths, log_mel, sample_rate_hz):
    """(mean, max) of the difference to soxr HQ.

    The maximum is over the bins that lie less than 100 dB below a clip's loudest: below, soxr's own rounding shows.
    """
    worst = []
    for wave, path in zip(batch.wave, paths, strict=True):
        samples = read_audio(path, sample_rate_hz)[: len(wave)]
        expected = log_mel(torch.from_numpy(np.pad(samples, (0, len(wave) - len(samples))))[None])
        difference = (log_mel(wave[None]) - expected).abs()
        worst.append((difference.mean().item(), difference[expected > expected.max() - 100].max().item()))
    return np.max(worst, axis=0)


@pytest.mark.parametrize(("rate", "log_mel"), RATES, ids=RATE_IDS)
def test_log_mel_of_white_noise_is_that_of_soxr(tmp_path, rate, log_mel):
    out_hz = 16_000 if log_mel is TALNET else 32_000
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 4 * rate)).astype(np.float32)
    paths = [tmp_path / "0.wav", tmp_path / "1.wav"]
    for path, samples in zip(paths, noise, strict=True):
        soundfile.write(path, samples, rate, "FLOAT")
    mean, largest = errors_db(load(paths, out_hz, 4.0), paths, log_mel, out_hz)
    assert mean < 0.001
    assert largest < 0.01


@pytest.mark.parametrize(("rate", "log_mel"), RATES, ids=RATE_IDS)
def test_log_mel_of_field_recordings_is_that_of_soxr(tmp_path, esc10, rate, log_mel):
    out_hz = 16_000 if log_mel is TALNET else 32_000
    paths = [recording.path for recording in read_manifest(esc10).recordings[::40]]
    if rate != 44_100:  # their own
        originals, paths = paths, [tmp_path / f"{path.stem}.wav" for path in paths]
        for original, path in zip(originals, paths, strict=True):
            soundfile.write(path, read_audio(original, rate), rate, "FLOAT")
    mean, largest = errors_db(load(paths, out_hz, 5.0), paths, log_mel, out_hz)
    assert mean < 0.02
    assert largest < 0.1


def test_a_tone_above_the_band_does_not_fold_into_it(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 18_000 * np.arange(88_200) / 44_100)
    soundfile.write(tmp_path / "a.wav", tone, 44_100, "FLOAT")
    batch = load([tmp_path / "a.wav"], 32_000, 2.0)
    assert batch.wave[0, 1_000:28_000].abs().max() < 1e-4


def test_the_wave_is_dali_s_own_memory(tmp_path, monkeypatch):
    taken = []
    from_dlpack = torch.from_dlpack
    monkeypatch.setattr(torch, "from_dlpack", lambda array: taken.append(from_dlpack(array)) or taken[-1])
    soundfile.write(tmp_path / "a.wav", np.linspace(-0.5, 0.5, 32_000), 32_000)
    batch = load([tmp_path / "a.wav"], 32_000, 1.0)
    assert batch.wave.data_ptr() == taken[0].data_ptr()
