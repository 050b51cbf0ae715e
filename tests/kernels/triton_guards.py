"""What the Triton interpreter leaves unchecked: every address, every byte written once, any order of programs.

For a process in which ``TRITON_INTERPRET=1`` was set before triton was imported::

    with guarded(writes={"audio_ptr"}, seed=3) as launches:
        launcher(...)

A load outside the elements of the kernel's tensors, a load of what the launch writes, a store outside `writes`, a byte
written twice and a byte left out are AssertionErrors. New tensors hold NaN, or a large negative number, before the
kernel writes them.
"""

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from triton.runtime import interpreter

_POISON = {torch.int64: -(2**62) - 1, torch.int32: -(2**30) - 1, torch.int16: -(2**14) - 1}


def poison(tensor: Tensor) -> Tensor:
    """Fill with what no test expects: NaN, or a number far outside any index."""
    return tensor.fill_(_POISON.get(tensor.dtype, float("nan")))


class Span:
    """The bytes that belong to the elements of a tensor, as sorted runs; gaps between rows are not among them."""

    def __init__(self, tensor: Tensor) -> None:
        self.run_bytes = tensor.element_size()
        starts = np.array([tensor.data_ptr()], dtype=np.int64)
        for size, stride in sorted(zip(tensor.shape, tensor.stride(), strict=True), key=lambda axis: abs(axis[1])):
            step = stride * tensor.element_size()
            if size == 0:
                starts = starts[:0]
            elif len(starts) == 1 and step == self.run_bytes:  # dense so far: a longer run
                self.run_bytes *= size
            elif stride:
                starts = (starts[:, None] + step * np.arange(size)).ravel()
        self.starts = np.unique(starts)

    def locate(self, addresses: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Whether each access of `size` bytes lies inside, and the number of its first byte within the span."""
        run = np.searchsorted(self.starts, addresses, "right") - 1
        offset = addresses - self.starts[np.maximum(run, 0)] if len(self.starts) else np.zeros_like(addresses)
        inside = (run >= 0) & (offset + size <= self.run_bytes)
        return inside, run * self.run_bytes + offset

    def __len__(self) -> int:
        return len(self.starts) * self.run_bytes


class Launch:
    """One launch of a kernel: its tensors, and how often each byte of those it may write was written."""

    def __init__(self, name: str, tensors: dict[str, Tensor], writes: set[str], counting: bool) -> None:
        self.name = name
        self.reads = {key: Span(tensor) for key, tensor in tensors.items() if key not in writes}
        self.writes = {key: Span(tensor) for key, tensor in tensors.items() if key in writes}
        self.written = {key: np.zeros(len(span), dtype=np.uint8) for key, span in self.writes.items() if counting}

    def load(self, addresses: np.ndarray, size: int) -> None:
        wild = np.ones(addresses.shape, dtype=bool)
        for span in self.reads.values():
            wild &= ~span.locate(addresses, size)[0]
        assert not wild.any(), f"{self.name}: {wild.sum()} of {wild.size} lanes load outside {', '.join(self.reads)}"

    def store(self, addresses: np.ndarray, size: int) -> None:
        wild = np.ones(addresses.shape, dtype=bool)
        for key, span in self.writes.items():
            inside, first = span.locate(addresses, size)
            wild &= ~inside
            if key in self.written:
                np.add.at(self.written[key], (first[inside][:, None] + np.arange(size)).ravel(), 1)
        assert not wild.any(), f"{self.name}: {wild.sum()} of {wild.size} lanes store outside {', '.join(self.writes)}"

    def assert_written_once(self) -> None:
        for key, count in self.written.items():
            wrong = np.flatnonzero(count != 1)
            assert not len(wrong), f"{self.name}: byte {wrong[0]} of {key} written {count[wrong[0]]} times"


@contextlib.contextmanager
def guarded(
    writes: set[str], *, seed: int | None = None, only: Callable[[int], bool] | None = None
) -> Iterator[list[Launch]]:
    """Check every launch inside; yields the list of them.

    Args:
        writes: parameter names of the tensors that a kernel writes, every byte once.
        seed: shuffles the order of the programs; None leaves it.
        only: of the program numbers, those to run; the others, and the count of bytes, are left out.
    """
    launches: list[Launch] = []
    builder, executor = interpreter.InterpreterBuilder, interpreter.GridExecutor
    with contextlib.ExitStack() as stack:

        def patch(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
            original = getattr(owner, name)
            stack.callback(setattr, owner, name, original)
            setattr(owner, name, make(original))

        def loading(original: Any) -> Any:
            def load(self: Any, ptrs: Any, mask: Any, *rest: Any) -> Any:
                size = max(1, ptrs.get_element_ty().primitive_bitwidth // 8)
                launches[-1].load(_active(ptrs, mask), size)
                return original(self, ptrs, mask, *rest)

            return load

        def storing(original: Any) -> Any:
            def store(self: Any, ptrs: Any, value: Any, mask: Any, *rest: Any) -> Any:
                launches[-1].store(_active(ptrs, mask), value.data.itemsize)
                return original(self, ptrs, value, mask, *rest)

            return store

        def launching(original: Any) -> Any:
            def launch(self: Any, *args: Any, **kwargs: Any) -> None:
                named = dict(zip(self.arg_names, args, strict=False)) | kwargs
                tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
                launches.append(Launch(self.fn.__name__, tensors, writes, counting=only is None))
                (programs,) = self.grid
                order = list(range(programs))
                if seed is not None:
                    random.Random(seed).shuffle(order)
                _run(original, self, args, kwargs, [i for i in order if only is None or only(i)])
                launches[-1].assert_written_once()

            return launch

        patch(builder, "create_masked_load", loading)
        patch(builder, "create_masked_store", storing)
        patch(executor, "__call__", launching)
        # Tensors of this machine are used in place: nothing to copy back, and nothing to touch in a sparse file.
        patch(executor, "_restore_args_dev", lambda original: lambda *arguments: None)
        patch(torch, "empty", lambda original: lambda *args, **kwargs: poison(original(*args, **kwargs)))
        yield launches


def _active(ptrs: Any, mask: Any) -> np.ndarray:
    return np.asarray(ptrs.data)[np.broadcast_to(mask.data, np.shape(ptrs.data))].astype(np.int64)


def _run(original: Any, executor: Any, args: tuple[Any, ...], kwargs: dict[str, Any], order: list[int]) -> None:
    """Call the executor so that its i-th program is number ``order[i]``."""
    builder = interpreter.interpreter_builder
    programs, grid = executor.grid, executor.grid

    def set_grid_idx(x: int, y: int, z: int) -> None:
        builder.grid_idx = (order[x], y, z)

    executor.grid = (len(order),)
    builder.set_grid_idx = set_grid_idx
    builder_dim = builder.set_grid_dim
    builder.set_grid_dim = lambda *_: builder_dim(*programs, 1, 1)
    try:
        original(executor, *args, **kwargs)
    finally:
        executor.grid = grid
        del builder.set_grid_idx, builder.set_grid_dim
