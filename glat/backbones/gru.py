"""A bidirectional GRU that torch.compile takes as one operator, where it would write out every step."""

from typing import Any

import torch
from torch import Tensor, nn

# Dynamo refuses a graph that touches an nn.GRU unless this is set, and offers no switch for one module.
torch._dynamo.config.allow_rnn = True


class BiGRU(nn.GRU):
    """One layer of GRU in both directions: [B, T, I] to [B, T, 2 H], forward before backward.

    Eager and exported it is PyTorch's own. AOTAutograd, though, unrolls that: 5 200 nodes forward and 8 800 backward
    for T = 100, half a minute before a compiler has begun. Compiled it is therefore the operator ``glat::bigru``, in
    float32 also under autocast. By regions it is no part of a graph, and PyTorch's again.
    """

    def __init__(self, in_channels: int, hidden: int) -> None:
        super().__init__(in_channels, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # no state comes in or goes out
        if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
            return super().forward(x)[0]
        return self.as_one_operator(x)

    def as_one_operator(self, x: Tensor) -> Tensor:
        """The same by ``glat::bigru``."""
        names = "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"
        both = (torch.stack([getattr(self, name), getattr(self, name + "_reverse")]) for name in names)
        return _bigru(x.float(), *(weight.float() for weight in both))


def _gru(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    h0 = x.new_zeros(2, x.shape[0], w_hh.shape[2])
    weights = [w[d] for d in range(2) for w in (w_ih, w_hh, b_ih, b_hh)]
    with torch.autocast(x.device.type, enabled=False):
        return torch.gru(x, h0, weights, True, 1, 0.0, False, True, True)[0].contiguous()


@torch.library.custom_op("glat::bigru", mutates_args=())
def _bigru(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """x [B, T, I]; of the directions, stacked: w_ih [2, 3H, I], w_hh [2, 3H, H], biases [2, 3H]; to [B, T, 2H]."""
    return _gru(x, w_ih, w_hh, b_ih, b_hh)


@_bigru.register_fake
def _(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], 2 * w_hh.shape[2])


def _autograd_again() -> Any:
    """Inside an operator autograd is left behind: take it up again."""
    keys, excluded = torch._C.DispatchKey, torch._C._dispatch_tls_local_exclude_set()
    for key in (keys.AutogradFunctionality, keys.AutogradOther, keys.AutogradNestedTensor, keys.ADInplaceOrView):
        excluded = excluded.remove(key)
    return torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded)


@torch.library.custom_op("glat::bigru_backward", mutates_args=())
def _bigru_backward(
    grad: Tensor, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x and the weights: PyTorch's own, of a forward pass that is made again.

    A formula of ours would take a launch for every frame, where cuDNN takes one for all, and the second forward pass
    less than that formula.
    """
    with _autograd_again(), torch.enable_grad():
        inputs = [tensor.detach().requires_grad_() for tensor in (x, w_ih, w_hh, b_ih, b_hh)]
        found = torch.autograd.grad(_gru(*inputs), inputs, grad)
    dx, dw_ih, dw_hh, db_ih, db_hh = (gradient.contiguous() for gradient in found)  # as the fake says
    return dx, dw_ih, dw_hh, db_ih, db_hh


@_bigru_backward.register_fake
def _(grad: Tensor, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> tuple[Tensor, ...]:
    return tuple(w.new_empty(w.shape) for w in (x, w_ih, w_hh, b_ih, b_hh))


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
    return _bigru_backward(grad, *ctx.saved_tensors)


_bigru.register_autograd(_differentiate, setup_context=_keep)
