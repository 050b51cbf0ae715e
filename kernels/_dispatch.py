"""Which implementation of an operator runs on a device, and where the compiled CPU library is."""

import functools
import importlib.resources
import importlib.util

import torch

CPU_LIBRARY = "libglat_cpu.so"


@functools.cache
def load_cpu_library() -> str | None:
    """Load the C++ kernels into the dispatcher; returns why there are none, or None once they are loaded."""
    # importlib.resources, not __file__: an editable install keeps the sources and the library in different places.
    library = importlib.resources.files(__package__) / CPU_LIBRARY
    if not library.is_file():
        return f"{CPU_LIBRARY} was not built (needs a C++ compiler and torch >= 2.10 at install time)"
    try:
        with importlib.resources.as_file(library) as path:
            torch.ops.load_library(str(path))
    except OSError as error:
        return f"{CPU_LIBRARY} does not load: {error}"
    return None


@functools.cache
def _triton_missing() -> str | None:
    return None if importlib.util.find_spec("triton") else "triton is not installed"


def fused_missing(device_type: str) -> str | None:
    """Why `device_type` has no fused kernel, or None where it has one."""
    if device_type == "cuda":  # ROCm devices carry this name too
        return _triton_missing()
    if device_type == "cpu":
        return load_cpu_library()
    if device_type == "meta":
        return None  # shapes only: the operator's shape rule answers
    return f"there is no kernel for {device_type!r} devices"


def implementations(device_type: str) -> dict[str, str]:
    """The implementation that ``impl="auto"`` runs on a device, by operator, with the reason where it is the reference.

    Args:
        device_type: a torch device type, ``"cpu"`` or ``"cuda"``.

    Returns:
        ``{"select_crops": "C++"}``, for example.
    """
    missing = fused_missing(device_type)
    name = {"cuda": "Triton", "cpu": "C++"}.get(device_type, "shape rule")
    return {"select_crops": name if missing is None else f"reference ({missing})"}
