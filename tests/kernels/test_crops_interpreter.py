"""The Triton kernels of select_crops under Triton's interpreter: numerics, addresses, order of programs.

The interpreter is chosen when triton is imported, for a whole process; so these tests have a process of their own.
"""

import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="the kernels need Triton, which has no build for this platform")

HERE = pathlib.Path(__file__).parent


def test_the_interpreted_kernels_match_the_reference() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--durations=5", str(HERE / "interpreted_crops.py")],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(HERE), "CUDA_VISIBLE_DEVICES": ""},
        cwd=HERE.parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(process.stdout)
    assert process.returncode == 0, process.stdout
