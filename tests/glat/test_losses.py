"""The losses of equations 4 to 6: right, finite and differentiable where probabilities fail."""

import pytest
import torch
from torch.nn import functional as F

from glat.losses import global_bce, local_bce, two_stream_loss
from glat.pooling import max_mean, max_mean_log_probs


def logits(*shape, scale=3.0, dtype=torch.float64):
    return (scale * torch.randn(shape, generator=torch.Generator().manual_seed(0))).to(dtype)


def labels(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.3


def test_log_probs_are_those_of_the_pooled_probability():
    z = logits(4, 5, 7)
    log_p, log_not_p = max_mean_log_probs(z, dim=1)
    p = max_mean(z.sigmoid(), dim=1)
    torch.testing.assert_close(log_p.exp(), p)
    torch.testing.assert_close(log_not_p.exp(), 1 - p)


def test_one_crop_is_the_plain_cross_entropy():
    z, y = logits(4, 1, 7), labels(4, 7)
    torch.testing.assert_close(local_bce(z, y), F.binary_cross_entropy_with_logits(z[:, 0], y.double()))


def test_local_bce_is_the_cross_entropy_of_the_pooled_probability():
    z, y = logits(4, 5, 7), labels(4, 7)
    wanted = F.binary_cross_entropy(max_mean(z.sigmoid(), dim=1), y.double())
    torch.testing.assert_close(local_bce(z, y), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [1000.0, -1000.0, 60.0])
def test_finite_with_a_gradient_where_probabilities_saturate(dtype, value):
    z = torch.full((2, 5, 3), value, dtype=dtype, requires_grad=True)
    y = torch.tensor([[True, False, True], [False, True, False]])
    with torch.autocast("cpu", torch.bfloat16 if dtype == torch.bfloat16 else torch.float16):
        loss = local_bce(z, y)
        assert global_bce(z[:, 0], y).isfinite()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    loss.backward()
    assert z.grad.isfinite().all()
    # The largest crop of a wrong class is pushed with full force; a clamp would leave it alone.
    wrong = y if value < 0 else ~y
    assert (z.grad.sum(1)[wrong].abs() > 0).all()


def test_gradient():
    z = logits(2, 3, 4).requires_grad_()
    y = labels(2, 4).double()
    assert torch.autograd.gradcheck(lambda z: local_bce(z, y), z)
    assert torch.autograd.gradcheck(lambda z: global_bce(z, y), z.detach()[:, 0].clone().requires_grad_())


def test_total_is_the_weighted_sum():
    clip, crop, y = logits(4, 7), logits(4, 5, 7), labels(4, 7)
    losses = two_stream_loss(clip, crop, y, global_weight=0.5, local_weight=2.0)
    torch.testing.assert_close(losses.total, 0.5 * global_bce(clip, y) + 2.0 * local_bce(crop, y))


def test_soft_targets_are_taken():
    z, y = logits(4, 5, 7), torch.rand(4, 7, dtype=torch.float64)
    wanted = F.binary_cross_entropy(max_mean(z.sigmoid(), dim=1), y)
    torch.testing.assert_close(local_bce(z, y), wanted)
