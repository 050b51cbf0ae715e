"""How the C library hands out the memory of tensors on a CPU."""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


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
