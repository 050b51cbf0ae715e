"""Resampling by matrices: it is soxr's."""

import numpy as np
import pytest
import soxr
import torch

from glat.data.recordings.resample import can_resample, resample, resampled_length

RATES = [(44_100, 32_000), (48_000, 32_000), (22_050, 32_000), (16_000, 32_000), (44_100, 16_000), (8_000, 32_000)]


@pytest.mark.parametrize(("in_hz", "out_hz"), RATES)
def test_every_sample_is_that_of_soxr(in_hz, out_hz):
    for samples in (1, 2, 7, 1_000, in_hz // 2, 2 * in_hz + 1):
        x = np.random.default_rng(samples).uniform(-1, 1, (3, samples)).astype(np.float32)
        expected = np.stack([soxr.resample(row, in_hz, out_hz, quality="HQ") for row in x])
        y = resample(torch.from_numpy(x), in_hz, out_hz).numpy()
        assert y.shape == expected.shape == (3, resampled_length(samples, in_hz, out_hz))
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_a_user_s_autocast_changes_nothing():
    x = torch.rand(1, 44_100)
    with torch.autocast("cpu", torch.bfloat16):
        inside = resample(x, 44_100, 32_000)
    assert torch.equal(inside, resample(x, 44_100, 32_000))


def test_rates_that_meet_seldom_are_refused():
    assert all(can_resample(*rates) for rates in RATES)
    assert can_resample(11_025, 32_000)
    assert not can_resample(37_123, 32_000)
