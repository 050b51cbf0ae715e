"""Gradients of a module compiled by Inductor against eager's, measured by eager's own distance to float64."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import partial
from unittest.mock import patch

import torch
import torch._functorch.config
import torch._inductor.config
from torch import Tensor, nn

from glat.regions import Regions

# What rounds differently in another order of sums, relative to the gradient's norm: some epsilons of the dtype. A whole
# network sums and normalises some forty times one behind the other.
FLOOR = {torch.float32: 1e-5, torch.bfloat16: 2**-7}
DEEP_FLOOR = {torch.float32: 1e-4, torch.bfloat16: 2**-7}


def gradients(
    module: nn.Module,
    loss: Callable[[], Tensor],
    context: AbstractContextManager[object],
) -> dict[str, Tensor | None]:
    """Of every parameter, in float64; None where it got none."""
    module.zero_grad(set_to_none=True)
    with context:
        value = loss()
    value.backward()
    found = {name: None if p.grad is None else p.grad.double() for name, p in module.named_parameters()}
    module.zero_grad(set_to_none=True)
    return found


def autocast(dtype: torch.dtype) -> AbstractContextManager[object]:
    return torch.autocast("cpu", dtype) if dtype == torch.bfloat16 else nullcontext()


def assert_compiles_to_eagers_gradients(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    dtype: torch.dtype,
    optimised: bool = False,
    floor: dict[torch.dtype, float] = FLOOR,
    backend: str = "inductor",
    by_regions: bool = False,
    likewise: Sequence[tuple[Tensor, ...]] = (),
) -> None:
    """Compile ``module(*inputs)``, a loss, as training does; compare the gradients of all parameters.

    With d(g) the distance ``|g - exact| / |exact|`` to the gradient in float64: finite, ``d(compiled) <= 2 d(eager) +
    floor``, which bounds the norms' ratio too; the same for one minus the cosine; no parameter without a gradient.

    `optimised` False spares g++ the optimisation of the kernels, and keeps the compiler's every rounding. `by_regions`
    compiles `glat.regions` alone, as ``--compile regions`` does; else the module is one graph. `likewise` are inputs
    that differ from the first in rounding alone: d(eager) is then the largest of all of them, since in a deep network
    it is mere chance (.16 to .70 for a weight of ResNet38 in bfloat16 over inputs that differ in their last bit).
    """
    exact, eager = _by_eager(module, inputs, dtype)
    others = [_by_eager(module, others, dtype) for others in likewise]
    options = {"aot_inductor.debug_compile": not optimised, "compile_threads": 1}
    compiler = partial(torch.compile, fullgraph=True, backend=backend)
    regions = Regions(partial(compiler, dynamic=True)) if by_regions else None
    compiled_module = module if by_regions else compiler(module)
    with (
        torch._inductor.config.patch(options),
        torch._functorch.config.patch(backward_pass_autocast="off"),
        regions.entered() if regions else nullcontext(),
    ):
        compiled = gradients(module, lambda: compiled_module(*inputs), autocast(dtype))
    whole = torch.stack([g.norm() for g in exact.values() if g is not None]).norm()
    wrong = []
    for name in exact:
        pairs = [(found[name], right[name]) for right, found in ((exact, eager), *others)]
        wrong += _compare(name, pairs, compiled[name], floor[dtype], float(whole))
    assert not wrong, "\n".join(wrong)


Gradients = dict[str, Tensor | None]


def _by_eager(module: nn.Module, inputs: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Gradients, Gradients]:
    """Gradients in float64, and eager's."""
    exact_module = deepcopy(module).double()
    doubled = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    with patch.object(Tensor, "float", Tensor.double):  # our networks ask for float32 where autocast gave less
        exact = gradients(exact_module, lambda: exact_module(*doubled), nullcontext())
    return exact, gradients(module, lambda: module(*inputs), autocast(dtype))


def _compare(
    name: str, pairs: Sequence[tuple[Tensor | None, Tensor | None]], compiled: Tensor | None, floor: float, whole: float
) -> list[str]:
    """What is wrong with a compiled gradient; `pairs` of eager's and the exact one, the first of the same inputs."""
    known = [(eager, exact) for eager, exact in pairs if eager is not None and exact is not None]
    if compiled is None or len(known) < len(pairs):
        return [f"{name}: no gradient"]
    if not compiled.isfinite().all():
        return [f"{name}: {int((~compiled.isfinite()).sum())} of {compiled.numel()} entries are not finite"]
    eager, exact = known[0]
    size = exact.norm()
    if size <= 1e-9 * whole:  # 0, or the rounding of one that is: a bias in front of batch norm
        allowed = 2 * float(eager.norm()) + floor * whole if size else 0.0
        return [] if compiled.norm() <= allowed else [f"{name}: {float(compiled.norm())} where it is 0"]
    lines = []
    for what, of in (("distance", _distance), ("cosine", _cosine)):
        eagers = max(of(*pair) for pair in known)
        found = of(compiled, exact)
        if found > 2 * eagers + floor:
            lines.append(f"{name}: {what} {found:.2e} to float64, eager's {eagers:.2e}")
    return lines


def _distance(grad: Tensor, exact: Tensor) -> float:
    return float((grad - exact).norm() / exact.norm())


def _cosine(grad: Tensor, exact: Tensor) -> float:
    return 1 - float(torch.nn.functional.cosine_similarity(grad.flatten(), exact.flatten(), dim=0))
