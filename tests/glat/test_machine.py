"""Freed memory serves the next tensors."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from glat.machine import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
def fill():
    torch.empty(64 << 20, dtype=torch.uint8).fill_(1)
for _ in range(20):  # aligned blocks find a place of their own only after a while
    fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in its own way")
def test_the_kernel_clears_memory_once():
    def page_faults(keep):
        program = [sys.executable, "-c", PROGRAM.format(keep=keep)]
        return int(subprocess.run(program, capture_output=True, check=True, text=True).stdout)

    assert page_faults(keep=True) < 0.1 * page_faults(keep=False)
