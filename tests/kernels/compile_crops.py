"""Compile the kernels of select_crops for one target as their launchers would, and print what came out as JSON.

    python compile_crops.py sm_90

Needs no GPU: a stub stands in for the driver and the launch stops after compiling. In a process of its own, since the
stub stays, and since ``TRITON_INTERPRET`` must be unset when triton is imported.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "sm_120": GPUTarget("cuda", 120, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
# A100, H100 and H200, B200; of the others any number.
MULTIPROCESSORS = {"sm_80": 108, "sm_90": 132, "sm_100": 148}
PAPER = (32, 62, 527, 320_000, 5, 96_000)  # B, T, L, S, N, W
LARGEST = (1, 4096, 4096, 320_000, 16, 96_000)
ANOTHER = (2, 16, 1024, 101, 1, 33)
# Shape, wave, scores, suppress, lengths.
FORWARD = [
    (PAPER, "float32", "float32", "none", None),
    (PAPER, "float32", "float32", "released", "int64"),
    (PAPER, "float32", "float32", "crop", None),
    (PAPER, "float32", "bfloat16", "crop", None),
    (PAPER, "float16", "float16", "crop", "int32"),
    (PAPER, "bfloat16", "bfloat16", "none", None),
    (PAPER, "int16", "float32", "none", None),
    (PAPER, "int16", "float16", "released", None),
    (LARGEST, "float16", "float32", "released", None),
    (LARGEST, "float32", "float32", "crop", "int64"),
]
# The copy that the launcher does not choose for these, and that bench/kernels compares with the one it does.
COMPETITORS = [(PAPER, wave, "float32", "none", None) for wave in ("float32", "bfloat16", "int16")]
BACKWARD = [(PAPER, dtype) for dtype in ("float32", "float16", "bfloat16")]


class Driver:
    """As much of a driver as compiling asks for."""

    def __init__(self, target: GPUTarget) -> None:
        self.get_current_target = lambda: target
        self.get_current_device = lambda: 0
        self.get_current_stream = lambda device=None: 0


def compiled(target: GPUTarget, multiprocessors: int) -> Iterator[tuple[str, list[tuple[Any, int]]]]:
    """Name of each call of a launcher, with the kernel and the programs of each launch: one."""
    triton.runtime.driver.set_active(Driver(target))
    torch.version.hip = "6.4" if target.backend == "hip" else None
    launches: list[tuple[Any, int]] = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        launches.append((run(self, *args, grid=grid, warmup=True, **kwargs), grid[0]))
        return launches[-1][0]

    JITFunction.run = compile_only
    from glat.kernels.crops import _triton

    _triton.device_facts = lambda device: (f"sm_{target.arch}", multiprocessors)  # type: ignore[assignment]
    for shape, wave, scores, suppress, lengths in FORWARD:
        launches.clear()
        forward(_triton, shape, wave, scores, suppress, lengths)
        yield f"forward {wave} {scores} {suppress} lengths={lengths} T={shape[1]}", list(launches)
    for shape, wave, scores, suppress, lengths in COMPETITORS:
        launches.clear()
        forward(_triton, shape, wave, scores, suppress, lengths, other=True)
        yield f"competitor {wave} {scores} {suppress}", list(launches)
    for shape, dtype in BACKWARD:
        launches.clear()
        B, _, _, S, N, W = shape
        grad = torch.empty(B, N, W, dtype=getattr(torch, dtype))
        _triton.select_crops_bwd(grad, torch.empty(B, N, dtype=torch.int64), S)
        yield f"backward {dtype}", list(launches)
    launches.clear()
    forward(_triton, PAPER, "float32", "float32", "none", None)
    forward(_triton, ANOTHER, "float32", "float32", "none", None, shift=1)
    assert launches[0][0].hash == launches[1][0].hash, "a size, a stride or an alignment asks for another compilation"


def forward(
    launcher: Any,
    shape: tuple[int, ...],
    wave: str,
    scores: str,
    suppress: str,
    lengths: str | None,
    shift: int = 0,
    other: bool = False,
) -> None:
    """Call the launcher; the buffers begin `shift` elements after an aligned address; `other`: with the other copy."""
    B, T, L, S, N, W = shape
    score_dtype = getattr(torch, scores)
    sizes = launcher.default_sizes(torch.empty(0, dtype=getattr(torch, wave)))
    launcher.select_crops_fwd(
        torch.empty(B, L + shift, dtype=score_dtype)[:, shift:],
        torch.empty(B, T, L + shift, dtype=score_dtype)[:, :, shift:],
        torch.empty(B, S + shift, dtype=getattr(torch, wave))[:, shift:],
        None if lengths is None else torch.empty(B, dtype=getattr(torch, lengths)),
        N,
        W,
        suppress,
        sizes=sizes._replace(wide=not sizes.wide) if other else None,
    )


def facts(kernel: Any, programs: int, target: GPUTarget) -> dict[str, Any]:
    found = {
        "programs": programs,
        "threads": kernel.metadata.num_warps * target.warp_size,
        "shared_bytes": kernel.metadata.shared,
    }
    return found | (amd_facts(kernel.asm["amdgcn"]) if target.backend == "hip" else nvidia_facts(kernel))


def amd_facts(text: str) -> dict[str, Any]:
    def field(name: str) -> int:
        return int(re.search(rf"\.{name}:\s+(\d+)", text)[1])

    return {
        "kernels": len(re.findall(r"\.amdhsa_kernel ", text)),
        "registers": field("vgpr_count"),
        "spills": field("vgpr_spill_count") + field("private_segment_fixed_size"),
        "wide_loads": len(re.findall(r"(?:buffer|global)_load_dwordx4", text)),
        "half_wide_loads": len(re.findall(r"(?:buffer|global)_load_dwordx2", text)),
        "wide_stores": len(re.findall(r"(?:buffer|global)_store_dwordx4", text)),
    }


def nvidia_facts(kernel: Any) -> dict[str, Any]:
    tools = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin"
    with tempfile.TemporaryDirectory() as folder:
        cubin = pathlib.Path(folder) / "kernel.cubin"
        cubin.write_bytes(kernel.asm["cubin"])

        def text(*command: str) -> str:
            arguments = [tools / command[0], *command[1:], cubin]
            # Its remarks about the file's format are none of LLVM's.
            return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout

        usage, sass = text("cuobjdump", "-res-usage"), text("nvdisasm")
    registers, stack, local = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage).groups()
    ptx = kernel.asm["ptx"]
    return {
        "kernels": len(re.findall(r"\.entry ", ptx)),
        # A line of machine code, not one of the debugger's data, which stand in the same listing; without padding.
        "instructions": len(re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?!NOP)(?:@!?U?P\w+\s+)?[A-Z][^;]*;", sass, re.M)),
        "long_divisions": len(re.findall(r"\b(?:div|rem)\.[su]64", ptx)),
        "registers": int(registers),
        "spills": int(stack) + int(local) + len(re.findall(r"\b(?:LDL|STL)\b", sass)),
        "wide_loads": min(ptx.count("ld.global.v4.b32"), sass.count("LDG.E.128")),
        "half_wide_loads": min(ptx.count("ld.global.v2.b32"), sass.count("LDG.E.64")),
        "wide_stores": min(ptx.count("st.global.v4.b32"), sass.count("STG.E.128")),
    }


def main() -> None:
    target, multiprocessors = TARGETS[sys.argv[1]], MULTIPROCESSORS.get(sys.argv[1], 100)
    for name, launches in compiled(target, multiprocessors):
        launched = [facts(kernel, programs, target) for kernel, programs in launches]
        print(json.dumps({"name": name, "multiprocessors": multiprocessors, "launches": launched}))


if __name__ == "__main__":
    main()
