"""The operators behind select_crops: schemas, shape rules, device table, gradient. Imports torch only.

device             kernel
CUDA (and ROCm)    Triton, `_triton.py`
CPU                C++, `cpu.cpp`, where the library is built (it fills the CPU key when it is loaded)
everything else    PyTorch, `reference.py`
"""

from typing import Any

import torch
from torch import Tensor

from .._dispatch import find_fused
from . import reference

_ARGUMENTS = (
    "Tensor rank_scores, Tensor frame_logits, Tensor wave, Tensor? lengths, "
    "SymInt num_crops, SymInt crop_samples, str suppress"
)
_INPUTS = ("rank_scores", "frame_logits", "wave", "lengths")
_library = torch.library.Library("glat", "FRAGMENT")
_library.define(f"select_crops({_ARGUMENTS}) -> (Tensor audio, Tensor classes, Tensor starts, Tensor peaks)")
_library.define(f"select_crops_into({_ARGUMENTS}, Tensor(a!) out) -> (Tensor classes, Tensor starts, Tensor peaks)")
_library.define("select_crops_backward(Tensor grad_audio, Tensor starts, SymInt wave_samples) -> Tensor")


def audio_dtype(wave: Tensor) -> torch.dtype:
    """The crops' dtype: that of the wave, float32 for int16."""
    return torch.float32 if wave.dtype == torch.int16 else wave.dtype


@torch.library.register_fake("glat::select_crops", lib=_library)
def _(rank_scores, frame_logits, wave, lengths, num_crops, crop_samples, suppress):  # type: ignore[no-untyped-def]
    audio = wave.new_empty((wave.shape[0], num_crops, crop_samples), dtype=audio_dtype(wave))
    return (audio, *_selection(wave, num_crops))


@torch.library.register_fake("glat::select_crops_into", lib=_library)
def _(rank_scores, frame_logits, wave, lengths, num_crops, crop_samples, suppress, out):  # type: ignore[no-untyped-def]
    return _selection(wave, num_crops)


@torch.library.register_fake("glat::select_crops_backward", lib=_library)
def _(grad_audio, starts, wave_samples):  # type: ignore[no-untyped-def]
    return grad_audio.new_empty((grad_audio.shape[0], wave_samples))


def _selection(wave: Tensor, num_crops: int) -> tuple[Tensor, Tensor, Tensor]:
    shape = (wave.shape[0], num_crops)
    return (
        wave.new_empty(shape, dtype=torch.int64),
        wave.new_empty(shape, dtype=torch.int64),
        wave.new_empty(shape, dtype=torch.float32),
    )


def check_apart(out: Tensor, **inputs: Tensor | None) -> None:
    """Raise where `out` shares memory with an input: crops would be cut out of crops."""
    for name, tensor in inputs.items():
        # Addresses, not storages: two storages can hold one numpy array, and one storage can hold both apart.
        if tensor is None or not (_has_memory(out) and _has_memory(tensor)):
            continue
        (first, end), (out_first, out_end) = _addresses(tensor), _addresses(out)
        if first < out_end and out_first < end:
            raise ValueError(f"out: wanted memory apart from {name}, got memory that overlaps it")


def _has_memory(tensor: Tensor) -> bool:
    return type(tensor) in (Tensor, torch.nn.Parameter) and tensor.device.type != "meta" and tensor.numel() > 0


def _addresses(tensor: Tensor) -> tuple[int, int]:
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _reference_into(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    *inputs, out = arguments
    check_apart(out, **dict(zip(_INPUTS, inputs, strict=False)))
    audio, classes, starts, peaks = reference.select_crops(*inputs)
    out.copy_(audio)
    return classes, starts, peaks


# Triton is imported when a CUDA tensor first asks for it, never before.
def _cuda(*arguments: Any) -> tuple[Tensor, ...]:
    from . import _triton

    return _triton.select_crops_fwd(*arguments)


def _cuda_into(*arguments: Any) -> tuple[Tensor, ...]:
    from . import _triton

    *inputs, out = arguments
    check_apart(out, **dict(zip(_INPUTS, inputs, strict=False)))
    return _triton.select_crops_fwd(*arguments)[1:]


def _cuda_backward(*arguments: Any) -> Tensor:
    from . import _triton

    return _triton.select_crops_bwd(*arguments)


_library.impl("select_crops", reference.select_crops, "CompositeExplicitAutograd")
_library.impl("select_crops_into", _reference_into, "CompositeExplicitAutograd")
_library.impl("select_crops_backward", reference.select_crops_backward, "CompositeExplicitAutograd")
_library.impl("select_crops", _cuda, "CUDA")
_library.impl("select_crops_into", _cuda_into, "CUDA")
_library.impl("select_crops_backward", _cuda_backward, "CUDA")
find_fused()


class SelectCrops(torch.autograd.Function):
    """Gradient of the crops in the wave, for the operator and for the reference, whose own autograd would add bfloat16
    crops in bfloat16. Outside the operator it costs less a call than register_autograd, and one graph either way."""

    @staticmethod
    def forward(
        ctx: Any,
        fused: bool,
        rank_scores: Tensor,
        frame_logits: Tensor,
        wave: Tensor,
        lengths: Tensor | None,
        num_crops: int,
        crop_samples: int,
        suppress: str,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        run = torch.ops.glat.select_crops if fused else reference.select_crops
        audio, classes, starts, peaks = run(rank_scores, frame_logits, wave, lengths, num_crops, crop_samples, suppress)
        ctx.save_for_backward(starts)
        ctx.fused, ctx.wave_samples = fused, wave.shape[1]
        ctx.mark_non_differentiable(classes, starts, peaks)
        ctx.set_materialize_grads(False)  # no zeros for the three gradients that are not used
        return audio, classes, starts, peaks

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_audio: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        (starts,) = ctx.saved_tensors
        run = torch.ops.glat.select_crops_backward if ctx.fused else reference.select_crops_backward
        return None, None, None, run(grad_audio, starts, ctx.wave_samples), None, None, None, None
