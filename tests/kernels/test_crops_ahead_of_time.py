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
    assert {call["name"].split()[0] for call in calls} == {"forward", "competitor", "backward"}
    for call in calls:
        name, (launch,) = call["name"], call["launches"]  # one launch, whatever is asked for
        assert launch["kernels"] == 1, name
        assert launch["spills"] == 0, name
        assert launch["threads"] <= 1024, name
        wave = name.split()[1]
        if name.startswith("forward") and wave != "float32":  # 2-byte samples go by granules of 16 bytes a lane
            # Half the bytes of float32 come in, so int16 is read 8 bytes a lane.
            assert launch["half_wide_loads" if wave == "int16" else "wide_loads"] > 0, name
            assert launch["wide_stores"] > 0, name


# Half of what the kernel before had, of the paper's float32 case, the others at its size, and 4096 frames and classes:
# 1 506, up to 1 823, 2 762. Code is fetched before it runs, and nothing is in a cache when a kernel begins.
INSTRUCTIONS = {"paper": 750, "other": 900, "backward": 300, "4096": 1350}
REGISTERS = {"int16": 64}
USUAL_REGISTERS = 48


def resident(launch: dict[str, Any], target: str) -> int:
    """Programs that fit on a multiprocessor at once, by the limits of CUDA's occupancy calculator."""
    warps = launch["threads"] // 32
    registers = -(-launch["registers"] // 8) * 8 * 32  # of a warp; a quarter of the multiprocessor has 16384
    shared = launch["shared_bytes"] + 1024  # what the driver takes for itself
    return min(4 * (16384 // registers) // warps, 64 // warps, 32, (164 if target == "sm_80" else 228) * 1024 // shared)


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100"])
def test_the_kernels_stay_short_and_small(target: str) -> None:
    for call in compiled(target):
        name, (launch,) = call["name"], call["launches"]
        largest = "T=4096" in name
        paper = name.startswith("forward float32 float32 none") and not largest
        kind = "backward" if name.startswith("backward") else "4096" if largest else "paper" if paper else "other"
        assert launch["instructions"] <= INSTRUCTIONS[kind], name
        assert launch["long_divisions"] == 0, name
        if not largest:
            assert launch["registers"] <= REGISTERS.get(name.split()[1], USUAL_REGISTERS), name
            waves = launch["programs"] / (resident(launch, target) * call["multiprocessors"])
            assert 0.6 < waves <= 1 or waves >= 3, f"{name}: {waves:.2f} waves"
