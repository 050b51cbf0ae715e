"""Log-mel against the recorded one, and SpecAugment's promises."""

import numpy as np
import pytest
import torch

from glat.frontend import LogMel, spec_augment


def test_log_mel_is_that_of_panns(golden, rebuild):
    wave = torch.from_numpy(rebuild.bursts(7, 2, 160_000))
    wanted = np.load(golden / "logmel.npz")["logmel"]
    np.testing.assert_allclose(LogMel()(wave).numpy(), wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("samples", "hops"), [(320_000, 1001), (160_000, 501), (96_000, 301), (32_000, 101)])
def test_number_of_hops(samples, hops):
    assert LogMel()(torch.zeros(1, samples)).shape == (1, hops, 64)


def test_silence_is_the_floor():
    assert torch.equal(LogMel()(torch.zeros(1, 3200)), torch.full((1, 11, 64), -100.0))


def test_a_tone_is_loudest_in_its_mel_band():
    rate = 32_000
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(rate) / rate)[None]
    log_mel = LogMel()
    bins_hz = torch.arange(513) * rate / 1024
    centres_hz = (log_mel.filters * bins_hz[:, None]).sum(0) / log_mel.filters.sum(0)
    loudest = log_mel(tone)[0, 50].argmax()
    assert abs(float(centres_hz[loudest]) - 1000) < 40


def test_log_mel_stays_in_float32_under_autocast():
    wave = 0.1 * torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        inside = LogMel()(wave)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, LogMel()(wave))


def test_log_mel_has_no_state():
    assert not LogMel().state_dict()


def test_spec_augment_hides_two_stripes_an_axis_in_every_clip_for_itself():
    torch.manual_seed(0)
    x = torch.ones(64, 1, 1001, 64)
    hidden = spec_augment(x)[:, 0] == 0
    assert torch.equal(x, torch.ones_like(x)), "the input must be left alone"
    hops, bins = hidden.all(2).sum(1), hidden.all(1).sum(1)
    assert hops.max() <= 2 * 63
    assert bins.max() <= 2 * 7
    assert hops.unique().numel() > 20, "every clip draws its own stripes"
    # Two stripes of 0..63 hops, mean 31.5 each, seldom overlapping.
    assert 45 < hops.float().mean() < 75
    # Nothing but whole stripes is hidden.
    rows, columns = hidden.all(2, keepdim=True), hidden.all(1, keepdim=True)
    assert torch.equal(hidden, rows | columns)


def test_spec_augment_takes_crops_shorter_than_a_stripe():
    torch.manual_seed(0)
    out = spec_augment(torch.ones(32, 1, 20, 4))
    assert out.shape == (32, 1, 20, 4)
    assert (out.flatten(1).sum(1) > 0).any()


def test_spec_augment_is_a_function_of_the_seed():
    x = torch.randn(4, 1, 100, 64)
    torch.manual_seed(3)
    first = spec_augment(x)
    torch.manual_seed(3)
    assert torch.equal(first, spec_augment(x))
