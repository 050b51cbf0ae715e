"""Regions: parts of a network that torch.compile takes one by one, each once for all sizes.

Both streams and the loss as one graph cost minutes of compilation, nearly all of them for layers that recur, between
the convolutions of a network and in both streams. A region is compiled for sizes left open, so that the same code runs
wherever it recurs, behind convolutions of any number of channels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.fx.experimental._config as shapes

P = ParamSpec("P")
R = TypeVar("R")
_active: "list[Regions]" = []

# Weights are left open as inputs are; numbers among the arguments are not, such as the size of a pooling. A region has
# one form for each of those, for each dtype, and in training and evaluation. DistributedDataParallel waits for the
# gradients of whole parts of a network; regions give theirs one after the other, so no graph is to be cut for it.
_DYNAMO = {
    "force_parameter_static_shapes": False,
    "force_nn_module_property_static_shapes": False,
    "specialize_int": True,
    "recompile_limit": 64,
    "optimize_ddp": False,
}
# Otherwise sizes that are equal at first would have to be equal ever after.
_SHAPES = {"use_duck_shape": False}


class Regions:
    """The compiled forms of the regions met so far; inside ``entered()``, regions are called in these forms.

    Args:
        compiler: compiles a function, for sizes that are left open.
    """

    def __init__(self, compiler: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self._compiler = compiler
        self._compiled: dict[Callable[..., Any], Callable[..., Any]] = {}

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The compiled form of a region."""
        if function not in self._compiled:
            self._compiled[function] = self._compiler(function)
        return self._compiled[function]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Call regions in their compiled forms inside."""
        _active.append(self)
        try:
            with torch._dynamo.config.patch(_DYNAMO), shapes.patch(_SHAPES):  # type: ignore[attr-defined]
                yield
        finally:
            _active.pop()


def region(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function of tensors, modules and numbers as one that is compiled on its own.

    It is the plain function outside `Regions.entered`, and where a larger graph is being traced. No convolution belongs
    into it: Inductor fixes the sizes of those.
    """

    @wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        if not _active or torch.compiler.is_compiling():
            return function(*arguments, **named)
        compiled: Callable[P, R] = _active[-1].compiled(function)
        return compiled(*arguments, **named)

    return call
