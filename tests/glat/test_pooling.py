"""Pooling of frames: the recorded formulas, finite with a gradient where probabilities fail."""

import pytest
import torch

from glat.backbones import build
from glat.errors import UserError
from glat.pooling import POOLINGS, ClipPooling, max_mean, pool_logits


def draw(*shape, scale=3.0, seed=0, dtype=torch.float64):
    return (scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(dtype)


def pooled(z, pooling, dim=1, a=None):
    attention = (torch.zeros_like(z) if a is None else a) if pooling == "attention" else None
    return pool_logits(z, pooling, dim, attention)


def plain(z, pooling, a):
    """The clip's probability by the textbook's formulas."""
    y = z.sigmoid()
    return {
        "max": lambda: y.amax(1),
        "average": lambda: y.mean(1),
        "max_mean": lambda: max_mean(y, 1),
        "linear": lambda: y.square().sum(1) / y.sum(1),
        "exponential": lambda: (y * y.exp()).sum(1) / y.exp().sum(1),
        "attention": lambda: (y * a.softmax(1)).sum(1),
    }[pooling]()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_logit_is_that_of_the_pooled_probability(pooling):
    z, a = draw(4, 6, 5), draw(4, 6, 5, seed=1)
    torch.testing.assert_close(pooled(z, pooling, a=a).sigmoid(), plain(z, pooling, a))
    turned = pooled(z.movedim(1, -1), pooling, dim=-1, a=a.movedim(1, -1))
    torch.testing.assert_close(turned, pooled(z, pooling, a=a))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_one_frame_is_its_own_clip(pooling):
    z = draw(4, 1, 5)
    torch.testing.assert_close(pooled(z, pooling, a=draw(4, 1, 5, seed=1)), z[:, 0])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradient(pooling):
    z, a = draw(2, 4, 3).requires_grad_(), draw(2, 4, 3, seed=1).requires_grad_()
    inputs = (z, a) if pooling == "attention" else (z,)
    assert torch.autograd.gradcheck(lambda *x: pooled(x[0], pooling, a=x[-1]), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [1000.0, -1000.0, 60.0])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_where_probabilities_saturate_the_whole_gradient_arrives(pooling, value, dtype):
    z = torch.full((2, 5, 3), value, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        logits = pooled(z, pooling)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, z[:, 0].float(), rtol=1e-3, atol=0)
    logits.sum().backward()
    torch.testing.assert_close(z.grad.float().sum(1), torch.ones(2, 3), rtol=1e-2, atol=0)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("frames", [(3e38, -3e38, 0.0), (-3e38, -1e4, -3e38), (3e38, 1e30, 3e38)])
def test_any_finite_frames_give_a_finite_logit(pooling, frames):
    z = torch.tensor(frames)[None, :, None].repeat(2, 1, 3).requires_grad_()
    logits = pooled(z, pooling, a=torch.tensor([1e30, 0.0, -3e38])[None, :, None].expand(2, 3, 3))
    assert logits.isfinite().all()
    logits.sum().backward()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("strength", [1e2, 1e6, 1e30])
def test_all_the_attention_on_one_frame_is_that_frame(strength):
    z = draw(2, 5, 3, dtype=torch.float32)
    a = torch.zeros_like(z)
    a[:, 2] = strength
    torch.testing.assert_close(pooled(z, "attention", a=a), z[:, 2])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_compiles_as_one_graph(pooling):
    z = draw(2, 4, 3, dtype=torch.float32)
    compiled = torch.compile(pooled, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(z, pooling), pooled(z, pooling))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pools_the_frames_of_any_stream(pooling):
    torch.manual_seed(0)
    stream = build("cnn10", 4, width=0.1)
    features = stream.frame_features(0.1 * torch.randn(2, 32_000))
    layer = ClipPooling(pooling, features.shape[2], 4)
    assert bool(layer.state_dict()) == (pooling == "attention"), "only attention has weights"
    logits = layer(features, stream.frame_logits(features))
    assert logits.shape == (2, 4)
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in (*layer.parameters(), *stream.fc_audioset.parameters()))


def test_bad_input_is_named():
    z = draw(2, 4, 3)
    with pytest.raises(UserError, match="unknown pooling 'median'; choose one of max, average"):
        pool_logits(z, "median")
    with pytest.raises(UserError, match="unknown pooling 'median'"):
        ClipPooling("median", 8, 3)
    with pytest.raises(UserError, match="'attention' needs attention logits"):
        pool_logits(z, "attention")
    with pytest.raises(UserError, match="'linear' takes no attention logits"):
        pool_logits(z, "linear", attention=z)


def test_at_a_tie_the_first_maximum_takes_the_gradient():
    z = torch.tensor([[1.0, 3.0, 3.0, 2.0]])[..., None].requires_grad_()
    (grad,) = torch.autograd.grad(pool_logits(z, "max").sum(), z)
    assert grad.flatten().tolist() == [0, 1, 0, 0]
    (grad,) = torch.autograd.grad(max_mean(z, 1).sum(), z)
    assert grad.flatten().tolist() == [0.125, 0.625, 0.125, 0.125]
