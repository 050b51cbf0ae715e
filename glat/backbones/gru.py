"""A bidirectional GRU that torch.compile takes as one operator, where it would write out every step."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Dynamo refuses a graph that touches an nn.GRU unless this is set, and offers no switch for one module.
torch._dynamo.config.allow_rnn = True


class BiGRU(nn.GRU):
    """One layer of GRU in both directions: [B, T, I] to [B, T, 2 H], forward before backward.

    Eager and exported it is PyTorch's own. AOTAutograd, though, unrolls that: 5 200 nodes forward and 8 800 backward
    for T = 100, half a minute before a compiler has begun. Compiled it is therefore the operator ``glat::bigru``, in
    float32 also under autocast.
    """

    def __init__(self, in_channels: int, hidden: int) -> None:
        super().__init__(in_channels, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # no state comes in or goes out
        if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
            return super().forward(x)[0]
        names = "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"
        both = (torch.stack([getattr(self, name), getattr(self, name + "_reverse")]) for name in names)
        return _bigru(x.float(), *(weight.float() for weight in both))


@torch.library.custom_op("glat::bigru", mutates_args=())
def _bigru(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """x [B, T, I]; of the directions, stacked: w_ih [2, 3H, I], w_hh [2, 3H, H], biases [2, 3H]; to [B, T, 2H]."""
    h0 = x.new_zeros(2, x.shape[0], w_hh.shape[2])
    weights = [w[d] for d in range(2) for w in (w_ih, w_hh, b_ih, b_hh)]
    with torch.autocast(x.device.type, enabled=False):
        return torch.gru(x, h0, weights, True, 1, 0.0, False, True, True)[0].contiguous()


@_bigru.register_fake
def _(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], 2 * w_hh.shape[2])


@torch.library.custom_op("glat::bigru_backward", mutates_args=())
def _bigru_backward(
    grad: Tensor, out: Tensor, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x and the weights.

    With gates r, z and n, and h' the state before, a step is ``n = tanh(i_n + r g_n)``, ``h = (1 - z) n + z h'``. The
    outputs hold every h', so that all gates come from one product; only dh runs back through time.
    """
    with torch.autocast(x.device.type, enabled=False):
        H, T = w_hh.shape[2], x.shape[1]
        x2 = _both(x, x)  # [2, B, T, I], the second direction turned round in time; so are all below
        h, dout = _both(out[..., :H], out[..., H:]), _both(grad[..., :H], grad[..., H:])
        before = F.pad(h, (0, 0, 1, 0))[:, :, :T]
        of_x = x2 @ w_ih.mT[:, None] + b_ih[:, None, None]
        of_h = before @ w_hh.mT[:, None] + b_hh[:, None, None]
        r, z = (of_x + of_h)[..., : 2 * H].sigmoid().chunk(2, dim=-1)
        g_n = of_h[..., 2 * H :]
        n = (of_x[..., 2 * H :] + r * g_n).tanh()
        # The derivatives of h by the arguments of n, z and r.
        by_n = (1 - z) * (1 - n * n)
        by_z = (before - n) * z * (1 - z)
        by_r = by_n * g_n * r * (1 - r)
        through_h = torch.cat([by_r, by_z, by_n * r], dim=-1)
        dh = dout.clone()  # [2, B, T, H]
        for t in range(T - 1, 0, -1):
            now = dh[:, :, t]
            dh[:, :, t - 1] += now * z[:, :, t] + (now.repeat(1, 1, 3) * through_h[:, :, t]) @ w_hh
        d_of_h = dh.repeat(1, 1, 1, 3) * through_h
        d_of_x = dh.repeat(1, 1, 1, 3) * torch.cat([by_r, by_z, by_n], dim=-1)
        dx = d_of_x @ w_ih[:, None]
        return (
            dx[0] + dx[1].flip(1),
            d_of_x.flatten(1, 2).mT @ x2.flatten(1, 2),
            d_of_h.flatten(1, 2).mT @ before.flatten(1, 2),
            d_of_x.sum((1, 2)),
            d_of_h.sum((1, 2)),
        )


@_bigru_backward.register_fake
def _(
    grad: Tensor, out: Tensor, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, ...]:
    return tuple(w.new_empty(w.shape) for w in (x, w_ih, w_hh, b_ih, b_hh))


def _both(forward: Tensor, backward: Tensor) -> Tensor:
    return torch.stack([forward, backward.flip(1)])


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(output, *inputs)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
    return _bigru_backward(grad, *ctx.saved_tensors)


_bigru.register_autograd(_differentiate, setup_context=_keep)
