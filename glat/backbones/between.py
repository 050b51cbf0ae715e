"""What lies between the convolutions of a network: batch norm, ReLU, dropout and pooling, each a region."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..regions import region


class _ReLU(torch.autograd.Function):
    """ReLU with dropout behind it, whose gradient is read off the sign of what they put out.

    The next convolution keeps that anyway. PyTorch's own derivatives are made of masks, which a compiler that sees no
    more than a region writes out beside it: more memory, and on a CPU ten times the time.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dropout: float) -> Tensor:
        out = F.relu(x)
        out = F.dropout(out, dropout) if dropout > 0 else out
        ctx.save_for_backward(out)
        ctx.scale = 1 / (1 - dropout) if dropout < 1 else 0.0
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad * ctx.saved_tensors[0].sign()
        return grad if ctx.scale == 1 else grad * ctx.scale, None


def relu(x: Tensor, dropout: float = 0.0) -> Tensor:
    """ReLU, which may overwrite `x`, with dropout behind it."""
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        out: Tensor = _ReLU.apply(x, dropout)
        return out
    return hide(F.relu(x, inplace=True), dropout)


def hide(x: Tensor, dropout: float) -> Tensor:
    """Dropout, and nothing at 0."""
    return F.dropout(x, dropout) if dropout > 0 else x


def normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """Batch norm.

    On a CPU, compiled code keeps the statistics for the backward pass in the type of `x`: in bfloat16 the gradient of
    batch norm's weight was 5 000 times as far off as PyTorch's own. Behind a cast to float32 they are float32.
    """
    if torch.compiler.is_compiling() and x.device.type == "cpu" and x.dtype in (torch.bfloat16, torch.float16):
        out: Tensor = norm(x.float()).to(x.dtype)
    else:
        out = norm(x)
    return out


@region
def norm_relu(norm: nn.Module, x: Tensor, dropout: float = 0.0) -> Tensor:
    """Batch norm, ReLU, dropout."""
    return relu(normalise(norm, x), dropout)


@region
def norm_relu_pool(norm: nn.Module, x: Tensor, pool: int | tuple[int, int], dropout: float) -> Tensor:
    """Batch norm, ReLU, average pooling, dropout."""
    return hide(F.avg_pool2d(relu(normalise(norm, x)), pool), dropout)


@region
def norm_relu_max_pool(norm: nn.Module, x: Tensor, pool: int | tuple[int, int]) -> Tensor:
    """Batch norm, ReLU, maximum pooling of maps [B, C, T, F] or signals [B, C, S]."""
    x = relu(normalise(norm, x))
    return F.max_pool1d(x, pool) if x.dim() == 3 else F.max_pool2d(x, pool)


@region
def norm_add_relu(norm: nn.Module, x: Tensor, shortcut: Tensor) -> Tensor:
    """Batch norm, the end of a residual block."""
    return relu(normalise(norm, x).add_(shortcut))  # in place: batch norm does not keep what it puts out


@region
def norms_add_relu(norm: nn.Module, x: Tensor, shortcut_norm: nn.Module, shortcut: Tensor) -> Tensor:
    """Batch norm of both ways, the end of a residual block."""
    return relu(normalise(norm, x).add_(normalise(shortcut_norm, shortcut)))


@region
def pool_hide(x: Tensor, pool: int | tuple[int, int], dropout: float = 0.0) -> Tensor:
    """Average pooling, dropout."""
    return hide(F.avg_pool2d(x, pool), dropout)
