"""The Triton kernels of select_crops compiled for every target, without a GPU: what the compiler made of them."""

import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import pytest

pytest.importorskip("triton", reason="the kernels need Triton, which has no build for this platform")

HERE = pathlib.Path(__file__).parent
TARGETS = ["sm_80", "sm_90", "sm_100", "sm_120", "gfx942"]


@functools.cache
def compiled(target: str) -> tuple[dict[str, Any], ...]:
    """Facts of each launch, from a process of its own, where nothing was compiled before."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    with tempfile.TemporaryDirectory() as cache:
        process = subprocess.run(
            [sys.executable, HERE / "compile_crops.py", target],
            env=environment | {"TRITON_CACHE_DIR": cache},
            capture_output=True,
            text=True,
            check=False,
        )
    assert process.returncode == 0, process.stderr
    assert process.stderr == "", "LLVM reports some errors here and compiles on"
    return tuple(json.loads(line) for line in process.stdout.splitlines())


@pytest.mark.parametrize("target", TARGETS)
def test_the_kernels_compile_for(target: str) -> None:
    calls = compiled(target)
    assert {call["name"].split()[0] for call in calls} == {"forward", "backward"}
    for call in calls:
        name, (launch,) = call["name"], call["launches"]  # one launch, whatever is asked for
        assert launch["kernels"] == 1, name
        assert launch["spills"] == 0, name
        assert launch["threads"] <= 1024, name
        # Half the bytes of float32 come in, so int16 is read 8 bytes a lane.
        assert launch["half_wide_loads" if "int16" in name else "wide_loads"] > 0, name
        assert launch["wide_stores"] > 0, name
