"""What this machine can do: device, precision, memory, versions."""

import ctypes
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from .errors import UserError
from .kernels import implementations

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


@dataclass(frozen=True)
class Precision:
    """What autocast computes in; `dtype` None is float32 throughout."""

    dtype: torch.dtype | None
    loss_scale: bool
    reason: str
    warning: str | None = None

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context to compute in."""
        return torch.autocast(device.type, self.dtype, enabled=self.dtype is not None)


def pick_device() -> torch.device:
    """The current CUDA (or ROCm) device where there is one, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def device_name(device: torch.device) -> str:
    """``NVIDIA H100`` or ``CPU, 2 threads``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 natively; elsewhere autocast is emulated, 5 to 20 times slower."""
    if not hasattr(torch.cpu, "get_capabilities"):  # torch 2.10
        return bool(torch.cpu._is_avx512_bf16_supported())
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))


def pick_precision(amp: bool, device: torch.device, dtype: str = "auto") -> Precision:
    """The precision that ``--amp`` and ``--amp-dtype`` mean on a device.

    auto: bfloat16 where it is native, else float16 on a GPU and float32 on a CPU. bf16 is obeyed everywhere.

    Raises:
        UserError: float16 on a CPU.
    """
    on_gpu = device.type == "cuda"
    if not amp:
        tf32 = on_gpu and torch.backends.cudnn.allow_tf32  # as PyTorch has it, unless somebody says otherwise
        return Precision(None, False, "float32, convolutions in TF32 where the GPU has it" if tf32 else "float32")
    if dtype == "fp16" and not on_gpu:
        raise UserError(
            "--amp-dtype fp16 on a CPU: float16 needs a loss scale and is slower than float32 there; choose bf16 or "
            "auto, or leave out --amp"
        )
    native = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_has_bf16()
    if dtype == "bf16" and not native:
        slow = f"this {'GPU' if on_gpu else 'CPU'} has no native bfloat16 and emulates it"
        return Precision(torch.bfloat16, False, "bfloat16 autocast, emulated", f"{slow}, 5 to 20 times slower")
    if native and dtype != "fp16":
        return Precision(torch.bfloat16, False, "bfloat16 autocast")
    if on_gpu:
        why = "this GPU has no bfloat16" if dtype == "auto" else "--amp-dtype fp16"
        return Precision(torch.float16, True, f"float16 autocast with a loss scale ({why})")
    return Precision(None, False, "float32: --amp does nothing here, this CPU has no native bfloat16")


def timed(step: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest of some calls of `step` on a CPU, after one that warms up: other work only ever adds."""
    step()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory held so far: of tensors on a GPU, there since the first steps of a training; of the process on a
    CPU. 0 where it is not told."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def versions() -> dict[str, str]:
    """Versions of what a result depends on, with the commit of the sources where git knows it."""
    packages = ("glat", "torch", "triton", "nvidia-dali-cuda130", "numpy", "h5py", "scikit-learn", "soundfile", "soxr")
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    found["commit"] = _commit()
    return found


def _commit() -> str:
    here = Path(__file__).parent
    # The package may lie inside somebody else's repository (a virtual environment does): ask about this very file.
    command = ["git", "-C", str(here), "ls-files", "--error-unmatch", Path(__file__).name]
    try:
        subprocess.run(command, capture_output=True, check=True, timeout=10)
        describe = ["git", "-C", str(here), "describe", "--always", "--dirty"]
        return subprocess.run(describe, capture_output=True, check=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def missing() -> list[str]:
    """What this installation lacks, what that means, and how to mend it; empty where all is there."""
    lines = []
    if (found := implementations("cpu")["select_crops"]) != "C++":
        lines.append(
            f"select_crops on the CPU: {found}. With a C++ compiler: "
            "pip install scikit-build-core cmake ninja, then pip install --no-build-isolation -e ."
        )
    if not torch.cuda.is_available():
        lines.append("no GPU: training runs on the CPU, in small")
    return lines


def keep_freed_memory() -> bool:
    """Let glibc keep the memory of freed tensors for the next ones; for the whole process, from this call on.

    By default glibc asks the kernel for every block of more than 32 MiB and gives it back at once. The kernel clears
    it page by page, and that is a fifth to a half of a training step of a few clips. The price: the process holds its
    peak until it ends, and the peak may be a fifth higher. Environment variables (``MALLOC_MMAP_MAX_=0
    MALLOC_TRIM_THRESHOLD_=-1``) do the same.

    Returns:
        Whether it was done; False where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
