"""Which implementation of an operator runs on a device, and where the compiled CPU library is."""

import importlib.resources
import importlib.util

import torch

CPU_LIBRARY = "libglat_cpu.so"
NOT_BUILT = "not_built.txt"  # the reason, which CMakeLists.txt leaves in the library's place

# What each operator's kernel is written in, by device type. A new operator is a line here.
KERNELS = {
    "select_crops": {"cpu": "C++", "cuda": "Triton"},
}

# Why the kernels of a device type cannot run, None where they can. A plain table, filled at import: torch.compile reads
# it while tracing and would not get through a search for files.
_missing: dict[str, str | None] = {
    "cpu": f"{CPU_LIBRARY} is not loaded",
    "cuda": "triton is not installed",  # ROCm devices carry this name too
    "meta": None,  # shapes only: the operator's shape rule answers
}


def find_fused() -> None:
    """Load the C++ kernels into the dispatcher, look for Triton without importing it, and note what is missing."""
    _missing["cpu"] = _load_cpu_library()
    try:
        if importlib.util.find_spec("triton"):
            _missing["cuda"] = None
    except (ImportError, ValueError) as error:  # something stands in its place
        _missing["cuda"] = f"triton cannot be imported: {error}"


def _load_cpu_library() -> str | None:
    # importlib.resources, not __file__: an editable install keeps the sources and the library in different places.
    library = importlib.resources.files(__package__) / CPU_LIBRARY
    if not library.is_file():
        reason = importlib.resources.files(__package__) / NOT_BUILT
        needed = "it needs a C++ compiler and torch >= 2.10"
        return f"{CPU_LIBRARY} was not built: {reason.read_text('utf-8').strip() if reason.is_file() else needed}"
    try:
        with importlib.resources.as_file(library) as path:
            torch.ops.load_library(str(path))
    except OSError as error:
        return f"{CPU_LIBRARY} does not load: {error}"
    return None


def fused_missing(operator: str, device_type: str) -> str | None:
    """Why `operator` has no fused kernel on `device_type`, or None where it has one."""
    if device_type != "meta" and device_type not in KERNELS[operator]:
        return f"there is no kernel for {device_type!r} devices"
    return _missing[device_type]


def implementations(device_type: str) -> dict[str, str]:
    """The implementation that ``impl="auto"`` runs on a device, by operator, with the reason where it is the reference.

    Args:
        device_type: a torch device type, ``"cpu"`` or ``"cuda"``.

    Returns:
        ``{"select_crops": "C++"}``, for example.
    """
    found = {}
    for operator, kernels in KERNELS.items():
        missing = fused_missing(operator, device_type)
        found[operator] = kernels.get(device_type, "shape rule") if missing is None else f"reference ({missing})"
    return found
