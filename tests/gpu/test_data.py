"""Recordings on a GPU: DALI decodes and the device resamples what soundfile and soxr make of them."""

import importlib.util

import numpy as np
import pytest
import soundfile
import torch
from sounds import noise

from glat.data.loading.batches import batches, dali_missing
from glat.data.recordings.encoded import encoded_from_manifest
from glat.data.recordings.recording import Recording

from . import needed  # noqa: F401

RATE = 32_000
FORMATS = [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")]
RATES = [8_000, 16_000, 22_050, 32_000, 44_100, 48_000]
# Both decoders of a lossy format round, and so does resampling by matrices; an H200 was 4.8e-7 off.
ROUNDING = 1e-5


def wanted(source, rows, device, loader):
    """The waves of some rows, on the CPU, by one loader."""
    skipped = []
    made = batches(source, [torch.tensor(rows)], device=device, loader=loader, workers=2, report=skipped.append)
    (batch,) = list(made)
    assert not skipped
    return batch.wave.float().cpu(), batch.lengths.cpu()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("kind", "subtype"), FORMATS, ids=[f"{kind}-{subtype}" for kind, subtype in FORMATS])
def test_dali_on_the_device_decodes_as_soundfile(kind, subtype, rate, size, tmp_path):
    if importlib.util.find_spec("nvidia") is None or dali_missing():
        pytest.skip("DALI is not installed or does not load")
    recordings = []
    for i in range(4):
        path = tmp_path / f"{i}.{kind.lower()}"
        soundfile.write(path, noise(0.7 + 0.2 * i, rate, i), rate, format=kind, subtype=subtype)
        recordings.append(Recording(path.name, path, ("a",)))
    source, skipped = encoded_from_manifest(recordings, ("a",), sample_rate_hz=RATE, clip_seconds=1.0, workers=2)
    assert not skipped
    found, lengths = wanted(source, [0, 1, 2, 3], size.device, "dali")
    expected, expected_lengths = wanted(source, [0, 1, 2, 3], torch.device("cpu"), "soundfile")
    assert torch.equal(lengths, expected_lengths)
    assert float((found - expected).abs().max()) <= ROUNDING


@pytest.mark.parametrize("loader", ["dali", "soundfile"])
def test_a_run_fed_by_a_loader_trains(loader, size, flags, train, tmp_path):
    if loader == "dali" and dali_missing():
        pytest.skip("DALI is not installed or does not load")
    for name in ("high", "low"):
        (tmp_path / name).mkdir()
        for i in range(12):
            tone = np.sin(2 * np.pi * (2_000 if name == "high" else 200) * np.arange(2 * 44_100) / 44_100)
            soundfile.write(tmp_path / name / f"{i}.wav", 0.3 * tone + 0.1 * noise(2, 44_100, i), 44_100)
    own = list(flags)
    for clips in ("--train-clips", "--eval-clips"):  # of the built-in soundscapes
        at = own.index(clips)
        del own[at : at + 2]
    fed = ("--data", tmp_path, "--loader", loader, "--clip-seconds", 2, "--crop-seconds", 1, "--compile", "off")
    said = train(*own, *fed, "--iterations", 10, "--run-dir", tmp_path / "run")
    assert f"clips       from {loader}" in said
    assert (tmp_path / "run" / "evaluation.json").is_file()
