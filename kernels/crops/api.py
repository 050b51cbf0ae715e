"""select_crops: documentation, checks and choice of implementation."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .._dispatch import fused_missing
from . import reference
from .register import SelectCrops, audio_dtype, check_apart

SCORE_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
WAVE_DTYPES = (*SCORE_DTYPES, torch.int16)
LENGTH_DTYPES = (torch.int64, torch.int32)
# What one block of the Triton kernel holds; the other implementations have no such limit.
TRITON_MAX_CROPS, TRITON_MAX_CLASSES, TRITON_MAX_FRAMES = 16, 4096, 4096


class Crops(NamedTuple):
    """What `select_crops` returns: B clips, N crops a clip in descending order of their class, W samples a crop."""

    audio: Tensor  # [B, N, W], the dtype of the wave (float32 for int16)
    classes: Tensor  # [B, N] int64
    starts: Tensor  # [B, N] int64, in samples
    peaks: Tensor  # [B, N] float32, probabilities


def select_crops(
    rank_scores: Tensor,
    frame_logits: Tensor,
    wave: Tensor,
    *,
    num_crops: int = 5,
    crop_samples: int = 96_000,
    suppress: Literal["none", "released", "crop"] = "none",
    lengths: Tensor | None = None,
    out: Tensor | None = None,
    impl: Literal["auto", "fused", "reference"] = "auto",
) -> Crops:
    """Cut the crops around the peaks of the N best classes out of every clip, in one launch.

    With ``k_n`` the n-th best class of a clip and ``x[t, k]`` its frame logits::

        m_n = argmax_t x[t, k_n]
        start_n = clamp(floor(S * m_n / T) - floor(W / 2), 0, S - W)
        audio_n = wave[start_n : start_n + W],    peak_n = sigmoid(x[m_n, k_n])

    Equal rank scores go to the lower class, equal logits to the earlier frame. NaN ranks last and never wins a peak;
    a column of NaN peaks at frame 0. No host sync and no data-dependent shape: safe inside a CUDA graph.

    Args:
        rank_scores: [B, L] float32, float16 or bfloat16; what ranks the classes (the model: clip logits).
        frame_logits: [B, T, L] float32, float16 or bfloat16, any strides; compared as float32. Logits and not
            probabilities: the sigmoid is monotone, and saturates into ties (float32 from 16.7, bfloat16 from 6.3).
        wave: [B, S] float32, float16, bfloat16 (copied unchanged) or int16 (times float32(1 / 32767)); any stride over
            the batch, samples dense.
        num_crops: N, 1 to L; the paper: 5.
        crop_samples: W, 1 to S, in samples; the paper: 3 s, 96 000 at 32 kHz.
        suppress: what a crop forbids the later ones. ``"none"`` (the paper): nothing. ``"released"`` (the released
            program): about W/2 of frames around the peak count as probability 0, with that program's edges.
            ``"crop"``: frames whose sample ``floor(S * t / T)`` lies in an earlier crop are not searched again; when
            none is left, the first frame is taken.
        lengths: [B] int64 or int32, valid samples of padded clips, 0 to S; limits the frames searched to the first
            ``ceil(T * length / S)``, the starts to ``max(0, length - W)``, and moves the right edge of ``"released"``.
        out: [B, N, W] contiguous, of the audio's dtype; written and returned as `audio`. Not differentiable.
        impl: ``"auto"`` takes the device's fused kernel where there is one (Triton's: N up to 16, L and T up to 4096)
            and else the reference; ``"fused"`` raises where there is none; ``"reference"`` is plain PyTorch.

    Returns:
        `Crops`: audio [B, N, W], contiguous and differentiable in a floating `wave` (where crops overlap the gradients
        are added in float32 in the order of the crops); classes [B, N] int64; starts [B, N] int64 in samples; peaks
        [B, N] float32, within 1e-6 of the exact sigmoid. Nothing is differentiable in the scores.

    Raises:
        ValueError: a wrong rank, shape, dtype, device or stride, N outside 1..L, W outside 1..S, an `out` that does not
            fit, overlaps an input or is asked for a gradient. Checks read shapes, never values.
        RuntimeError: ``impl="fused"`` where no kernel can run; forward-mode differentiation, torch.func and torch.vmap.

    Example::

        >>> rank = torch.tensor([[0.0, 2.0, 1.0]])
        >>> logits = torch.zeros(1, 10, 3); logits[0, 4, 1] = 3.0
        >>> crops = select_crops(rank, logits, torch.arange(100.0)[None], num_crops=1, crop_samples=20)
        >>> crops.classes.item(), crops.starts.item(), crops.audio[0, 0, 0].item()
        (1, 30, 30.0)

    Source: Wang, Zou, Wang, "A Global-Local Attention Framework for Weakly Labelled Audio Tagging", ICASSP 2021,
    section 2.2. Deviation: the argmax is taken on logits (see `frame_logits`), and ties and NaN have a rule.
    """
    _check(rank_scores, frame_logits, wave, num_crops, crop_samples, suppress, lengths, out, impl)
    _refuse_transforms(wave, rank_scores, frame_logits)
    arguments = (rank_scores.detach(), frame_logits.detach(), wave, lengths, num_crops, crop_samples, suppress)
    needs_grad = wave.requires_grad and torch.is_grad_enabled()
    if out is not None and (needs_grad or (out.requires_grad and torch.is_grad_enabled())):
        raise ValueError("out: a given buffer cannot carry a gradient; leave out away, or detach out and wave")
    fused = _use_fused(impl, frame_logits, num_crops)
    if needs_grad:
        return Crops(*SelectCrops.apply(fused, *arguments))
    if not fused:
        audio, *selection = reference.select_crops(*arguments)
        return Crops(audio if out is None else out.copy_(audio), *selection)
    if out is not None:
        return Crops(out, *torch.ops.glat.select_crops_into(*arguments, out))
    return Crops(*torch.ops.glat.select_crops(*arguments))


def _refuse_transforms(*tensors: Tensor) -> None:
    """Only reverse mode is there: without this, forward mode would give tangents of zero without a word."""
    if torch.compiler.is_compiling():
        return
    for tensor in tensors:
        if torch._C._functorch.is_functorch_wrapped_tensor(tensor) or torch._C._functorch.maybe_get_level(tensor) > 0:
            raise RuntimeError("select_crops does not run inside torch.func transforms and torch.vmap; call it outside")
    if torch.autograd.forward_ad._current_level >= 0:
        wave = torch.autograd.forward_ad.unpack_dual(tensors[0])
        if wave.tangent is not None:
            raise RuntimeError("select_crops has no forward-mode gradient; use backward()")


def _use_fused(impl: str, frame_logits: Tensor, num_crops: int) -> bool:
    if impl == "reference":
        return False
    missing = fused_missing("select_crops", frame_logits.device.type)
    _, T, L = frame_logits.shape
    if missing is None and frame_logits.device.type == "cuda":
        for name, seen, limit in (
            ("num_crops", num_crops, TRITON_MAX_CROPS),
            ("L", L, TRITON_MAX_CLASSES),
            ("T", T, TRITON_MAX_FRAMES),
        ):
            if seen > limit:
                missing = f"{name} is {seen}, and the Triton kernel takes at most {limit}"
    if missing is not None and impl == "fused":
        raise RuntimeError(f"impl='fused': {missing}; use impl='auto' or impl='reference'")
    return missing is None


def _check(
    rank_scores: Tensor,
    frame_logits: Tensor,
    wave: Tensor,
    num_crops: int,
    crop_samples: int,
    suppress: str,
    lengths: Tensor | None,
    out: Tensor | None,
    impl: str,
) -> None:
    def need(condition: bool, name: str, wanted: str, seen: object, *values: object) -> None:
        # The text is made here, on failure only: a size put into a string makes torch.compile treat it as a constant,
        # and a batch size would cost one compilation each.
        if not condition:
            raise ValueError(f"{name}: wanted {wanted.format(*values)}, got {seen}")

    need(impl in ("auto", "fused", "reference"), "impl", "'auto', 'fused' or 'reference'", repr(impl))
    need(suppress in reference.SUPPRESS_MODES, "suppress", "'none', 'released' or 'crop'", repr(suppress))
    for name, size in (("num_crops", num_crops), ("crop_samples", crop_samples)):
        whole = isinstance(size, int | torch.SymInt) and not isinstance(size, bool)
        need(whole, name, "a whole number", size if whole else repr(size))
    for name, tensor, rank, letters, dtypes in (
        ("wave", wave, 2, "[B, S]", WAVE_DTYPES),
        ("rank_scores", rank_scores, 2, "[B, L]", SCORE_DTYPES),
        ("frame_logits", frame_logits, 3, "[B, T, L]", SCORE_DTYPES),
    ):
        need(isinstance(tensor, Tensor), name, "a tensor {}", type(tensor).__name__, letters)
        need(tensor.layout == torch.strided, name, "a strided tensor {}", tensor.layout, letters)
        need(tensor.ndim == rank, name, "{} axes {}, by shape", tuple(tensor.shape), rank, letters)
        need(tensor.dtype in dtypes, name, " or ".join(map(_short, dtypes)), _short(tensor.dtype))
        need(tensor.device == wave.device, name, "the device of wave, {}", tensor.device, wave.device)
    B, T, L = frame_logits.shape
    S = wave.shape[1]
    need(T > 0, "frame_logits", "at least one frame, by shape", (B, T, L))
    need(
        rank_scores.shape == (B, L),
        "rank_scores",
        "[B, L] = [{}, {}] as in frame_logits",
        tuple(rank_scores.shape),
        B,
        L,
    )
    need(wave.shape[0] == B, "wave", "B = {} clips as in frame_logits", wave.shape[0], B)
    need(S == 1 or wave.stride(1) == 1, "wave", "a dense last axis (call .contiguous()), by strides", wave.stride())
    need(1 <= num_crops <= L, "num_crops", "1 to L = {}", num_crops, L)
    need(1 <= crop_samples <= S, "crop_samples", "1 to S = {} samples", crop_samples, S)
    if lengths is not None:
        need(isinstance(lengths, Tensor), "lengths", "a tensor [B]", type(lengths).__name__)
        need(lengths.shape == (B,), "lengths", "shape [B] = [{}]", tuple(lengths.shape), B)
        need(lengths.dtype in LENGTH_DTYPES, "lengths", "int64 or int32", _short(lengths.dtype))
        need(lengths.device == wave.device, "lengths", "the device of wave, {}", lengths.device, wave.device)
    if out is not None:
        shape, dtype = (B, num_crops, crop_samples), audio_dtype(wave)
        need(isinstance(out, Tensor), "out", "a tensor [B, N, W]", type(out).__name__)
        need(out.shape == shape, "out", "shape [B, N, W] = {}", tuple(out.shape), shape)
        need(out.dtype == dtype, "out", "{} for this wave", _short(out.dtype), _short(dtype))
        need(out.device == wave.device, "out", "the device of wave, {}", out.device, wave.device)
        need(out.is_contiguous(), "out", "a contiguous tensor, by strides", out.stride())
        if not torch.compiler.is_compiling():  # addresses are unknown while tracing: the operator itself looks again
            check_apart(out, rank_scores=rank_scores, frame_logits=frame_logits, wave=wave, lengths=lengths)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
