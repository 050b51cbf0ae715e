"""The log-mel by matrix products."""

import math

import pytest
import torch

from glat.backbones import build
from glat.export.log_mel import PlainLogMel, with_plain_log_mel
from glat.frontend import LogMel

TALNET = {"fft_samples": 4096, "hop_samples": 400, "window_samples": 1024, "pad_mode": "constant"}
SETTINGS = {
    "PANNs": {},
    "TALNet": {"sample_rate_hz": 16_000, "f_max_hz": 8_000.0, "magnitude": True, "top_db": 80.0, "drop_last_hop": True}
    | TALNET,
    "odd": {"fft_samples": 501, "hop_samples": 100, "window_samples": 333},
    "prime": {"fft_samples": 251, "hop_samples": 97, "mel_bins": 8},
    "to Nyquist": {"f_max_hz": 16_000.0, "mel_bins": 32},
}


def exact(log_mel, wave):
    """In float64."""
    window, N = log_mel.window.double(), log_mel.fft_samples
    spectrum = torch.stft(
        wave.double(),
        N,
        log_mel.hop_samples,
        log_mel.window_samples,
        window=window,
        pad_mode=log_mel.pad_mode,
        return_complex=True,
    )
    energy = spectrum.abs() if log_mel.magnitude else spectrum.abs().square()
    db = 10 * (energy.mT @ log_mel.filters.double()).clamp(min=1e-10).log10()
    if log_mel.top_db is not None:
        db = torch.maximum(db, db.flatten(1).amax(1)[:, None, None] - log_mel.top_db)
    return db[:, :-1] if log_mel.drop_last_hop else db


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("samples", [8_000, 8_317])
def test_it_is_the_log_mel(settings, samples):
    log_mel = LogMel(**settings)
    wave = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(0))
    wanted, found = log_mel(wave), PlainLogMel(log_mel)(wave)
    assert found.shape == wanted.shape
    truth = exact(log_mel, wave)
    error, usual = (found - truth).abs().max(), (wanted - truth).abs().max()
    assert error <= 4 * usual + 1e-5  # dB
    silence = torch.zeros(1, samples)
    torch.testing.assert_close(PlainLogMel(log_mel)(silence), log_mel(silence), rtol=0, atol=0)


def test_the_quiet_bands_of_a_loud_tone_are_as_near_as_an_fft_s():
    tone = (2 * math.pi * 1000.3 / 32_000 * torch.arange(32_000)).sin()
    wave = ((tone * 32767).round() / 32767)[None]  # as 16 bits hold it
    log_mel = LogMel()
    truth = exact(log_mel, wave)
    error, usual = ((found - truth).abs() for found in (PlainLogMel(log_mel)(wave), log_mel(wave)))
    assert error.mean() < 2 * usual.mean()
    assert error.max() < 1  # dB, near the floor of 1e-10


def test_streams_that_hear_alike_share_one():
    both = torch.nn.ModuleList([build("cnn10", 3, 0.05), build("cnn14", 3, 0.05), build("talnet", 3, 0.05)])
    with_plain_log_mel(both)
    assert both[0].log_mel is both[1].log_mel
    assert isinstance(both[2].log_mel, PlainLogMel)
    assert both[2].log_mel is not both[0].log_mel
