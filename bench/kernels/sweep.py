"""``python -m bench.kernels.sweep`` times the sizes of select_crops' Triton kernel on the GPU at hand, in 30 s.

Every setting of the copy that ships and of the other one (samples one a lane, or granules of 16 bytes a lane) takes
turns with ``copy_`` of the crops' bytes, after its answer was found to be the reference's. The report names the best
and what the shipped setting loses against it. `ARCHITECTURES` in `kernels/crops/_triton.py` is to stand on it.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glat.kernels.crops import reference
from glat.kernels.testing import assert_same_crops, crop_inputs

from ..timing import Rotation, Timer, cache_bytes, interleaved, poison, timer_for

T, L, S, N, W = 62, 527, 320_000, 5, 96_000  # the paper's CNN10: 10 s at 32 kHz, five crops of 3 s
ROWS, WARPS = (4, 8, 16), (2, 4, 8)
OF_USUAL_PARTS = (0.5, 0.75, 1.25, 1.5, 3.0)
PREPARING = 0.75  # of the time, for compiling and checking
SHOWN = 8


class Case(NamedTuple):
    """One problem: its name, the setting that ships, and what the sweep calls."""

    name: str
    shipped: Any  # Sizes
    settings: list[Any]  # of Sizes, the shipped one and its competitor first
    run: Callable[[Any], Any]  # launches with the given sizes
    check: Callable[[Any], None]  # raises where the answer with these sizes is wrong
    copy: Callable[[], Any]
    outputs: list[Tensor]


class Finding(NamedTuple):
    """Times of one case, in seconds."""

    name: str
    shipped: Any
    copy: float
    times: dict[Any, float]  # by sizes
    failed: dict[Any, str]
    left: int  # settings that the time did not allow

    def best(self, wide: bool | None = None) -> Any:
        """The fastest sizes, of one of the two copies or of both; None where none of it was timed."""
        return min((x for x in self.times if wide in (None, x.wide)), key=self.times.__getitem__, default=None)


def registers(rows: int, num_warps: int) -> int:
    """What a thread of the forward kernel may have, by the samples and scores (1024 a program) that it holds."""
    held = max(128 * rows, 1024) // (32 * num_warps)
    return 32 + 2 * held if held > 8 else 48 if held == 8 else 40


def settings(shipped: Any, usual_parts: Callable[[Any], int]) -> list[Any]:
    """The shipped sizes, the same with the other copy, then all others from near to far.

    Programs a crop come last within each: they need no compilation.
    """
    found = [shipped, shipped._replace(wide=not shipped.wide)]
    pairs = [(rows, num_warps) for rows in ROWS for num_warps in WARPS]
    for rows, num_warps in sorted(pairs, key=lambda pair: (pair[0] != shipped.rows) + (pair[1] != shipped.num_warps)):
        for wide in (shipped.wide, not shipped.wide):
            sizes = shipped._replace(
                wide=wide, rows=rows, num_warps=num_warps, registers=registers(rows, num_warps), parts=0
            )
            usual = usual_parts(sizes)
            found += [sizes, *(sizes._replace(parts=max(1, round(factor * usual))) for factor in OF_USUAL_PARTS)]
    return list(dict.fromkeys(found))


def swept(case: Case, timer: Timer, budget_seconds: float, clock: Callable[[], float] = time.perf_counter) -> Finding:
    """Check and time the settings of a case in turns; what is wrong is not timed, nor what there is no time for."""
    began, failed = clock(), {}
    ready: list[Any] = []
    for sizes in case.settings:
        if ready and clock() - began > PREPARING * budget_seconds:
            break
        try:
            poison(case.outputs)
            case.check(sizes)
            ready.append(sizes)
        except Exception as error:  # a compiler's, a launch's or a wrong answer: the others can still be timed
            failed[sizes] = f"{type(error).__name__}: {error}".splitlines()[0]
    competitors: dict[str, Callable[[], Any]] = {"copy_": case.copy}
    for sizes in ready:
        competitors[str(sizes)] = lambda sizes=sizes: case.run(sizes)  # type: ignore[misc]
    rounds = interleaved(
        competitors, timer, budget_seconds=budget_seconds - (clock() - began), outputs=case.outputs, clock=clock
    )
    medians = {name: median(seconds for turn in turns for seconds in turn) for name, turns in rounds.items()}
    return Finding(
        case.name,
        case.shipped,
        medians["copy_"],
        {sizes: medians[str(sizes)] for sizes in ready},
        failed,
        len(case.settings) - len(ready) - len(failed),
    )


def described(sizes: Any) -> str:
    """Sizes in words."""
    copy = "granules" if sizes.wide else "samples"
    parts = f"{sizes.parts} parts" if sizes.parts else "one wave"
    return f"{copy}, {sizes.rows} rows, {sizes.num_warps} warps, {parts}"


def report(finding: Finding) -> str:
    """A case in lines: copy_, the shipped sizes, the best of either copy, the fastest few, what was not timed."""

    def against_copy(sizes: Any) -> str:
        seconds = finding.times[sizes]
        return f"{1e6 * seconds:7.1f} us = {seconds / finding.copy:.2f} copy_   {described(sizes)}"

    lines = [f"{finding.name}: copy_ {1e6 * finding.copy:.1f} us"]
    best = finding.best()
    if finding.shipped in finding.times:
        loss = finding.times[finding.shipped] / finding.times[best] - 1
        lines.append(f"  shipped      {against_copy(finding.shipped)}; loses {100 * loss:.0f} % against the best")
    for wide, name in ((finding.shipped.wide, "best of it  "), (not finding.shipped.wide, "competitor  ")):
        if (found := finding.best(wide)) is not None:
            lines.append(f"  {name} {against_copy(found)}")
    fastest = sorted(finding.times, key=finding.times.__getitem__)[:SHOWN]
    lines += [f"               {against_copy(sizes)}" for sizes in fastest]
    lines += [f"  failed       {described(sizes)}: {why}" for sizes, why in finding.failed.items()]
    if finding.left:
        lines.append(f"  {finding.left} settings were not timed: a second run finds more compiled; or give --seconds")
    return "\n".join(lines)


def forward_case(B: int, dtype: torch.dtype, suppress: str, device: str = "cuda") -> Case:
    """The forward kernel at the paper's size."""
    from glat.kernels.crops import _triton

    inputs = crop_inputs(B, T, L, S, wave_dtype=dtype, device=device)
    expected = reference.select_crops(*inputs, None, N, W, suppress)
    out, source, target = (torch.zeros_like(expected[0]) for _ in range(3))
    rotation = Rotation(inputs, cache_bytes(device))
    shipped = _triton.default_sizes(inputs[2])

    def launched(tensors: tuple[Tensor, Tensor, Tensor], sizes: Any) -> Any:
        return _triton.select_crops_fwd(*tensors, None, N, W, suppress, out, sizes)

    return Case(
        f"{str(dtype).removeprefix('torch.')} {suppress} B={B}",
        shipped,
        settings(shipped, lambda sizes: _triton.cut(sizes, out)[0]),
        lambda sizes: launched(rotation(), sizes),
        lambda sizes: assert_same_crops(launched(inputs, sizes), expected),
        lambda: target.copy_(source),
        [out],
    )


def backward_case(B: int, device: str = "cuda") -> Case:
    """The backward kernel at the paper's size, in float32; it has one way to copy."""
    from glat.kernels.crops import _triton

    rank, logits, wave = crop_inputs(B, T, L, S, device=device)
    audio, _, starts, _ = reference.select_crops(rank, logits, wave, None, N, W, "none")
    expected = reference.select_crops_backward(audio, starts, S)
    target = torch.zeros_like(audio)
    rotation = Rotation((audio, starts), cache_bytes(device))

    def check(sizes: Any) -> None:
        assert torch.equal(_triton.select_crops_bwd(audio, starts, S, sizes), expected), "a gradient is wrong"

    found = [_triton.BACKWARD]
    for rows in ROWS:
        for num_warps in WARPS:
            held = 128 * rows // (32 * num_warps)
            found.append(_triton.Sizes(False, rows, num_warps, registers=16 + 4 * held))
    return Case(
        f"float32 backward B={B}",
        found[0],
        list(dict.fromkeys(found)),
        lambda sizes: _triton.select_crops_bwd(*rotation(), S, sizes),
        check,
        lambda: target.copy_(audio),
        [],
    )


CASES: list[Callable[[], Case]] = [
    lambda: forward_case(32, torch.float32, "none"),
    lambda: forward_case(32, torch.int16, "none"),
    lambda: forward_case(32, torch.bfloat16, "none"),
    lambda: forward_case(32, torch.float32, "released"),
    lambda: forward_case(1, torch.float32, "none"),
    lambda: backward_case(32),
]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.kernels.sweep", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="for all cases together (default: 30)")
    parser.add_argument("--json", type=Path, help="write the times to this file, too")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        parser.error("a sweep needs a CUDA device, and torch finds none here")
    import triton

    from glat.kernels.crops import _triton

    architecture, multiprocessors = _triton.device_facts(torch.device("cuda"))
    measured = _triton.ARCHITECTURES.get(architecture, _triton.UNKNOWN).measured
    print(f"{torch.cuda.get_device_name()}: {architecture}, {multiprocessors} multiprocessors")
    print(f"torch {torch.__version__}, triton {triton.__version__}; the shipped sizes stand on: {measured}")
    timer, began, found = timer_for("cuda"), time.perf_counter(), []
    for i, case in enumerate(CASES):
        left = options.seconds - (time.perf_counter() - began)
        found.append(swept(case(), timer, left / (len(CASES) - i)))
        print(report(found[-1]), flush=True)
    if options.json:
        rows = [
            {"case": x.name, "copy_us": 1e6 * x.copy, **sizes._asdict(), "us": 1e6 * seconds}
            for x in found
            for sizes, seconds in x.times.items()
        ]
        options.json.write_text(json.dumps({"device": torch.cuda.get_device_name(), "times": rows}, indent=1))


if __name__ == "__main__":
    main()
