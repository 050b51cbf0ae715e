"""``python -m bench.roofline`` prints docs/roofline.md: the limits, predictions for four GPUs, and the newest GPU's
measurements."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.report import BenchRun, read_report
from bench.report.units import amount, duration

from .limits import Work
from .results import newest
from .work import log_mel_work, select_crops_work, step_work

# Published peaks of the SXM and OAM modules: copy in bytes/s, FLOP/s without sparsity.
PEAKS = {
    "A100 80 GB": {"copy": 2.039e12, "float32": 19.5e12, "bfloat16": 312e12},
    "H100": {"copy": 3.35e12, "float32": 67e12, "bfloat16": 989.4e12},
    "H200": {"copy": 4.8e12, "float32": 67e12, "bfloat16": 989.4e12},
    "MI300X": {"copy": 5.3e12, "float32": 163.4e12, "bfloat16": 1307.4e12},
}
SOURCES = {
    "A100 80 GB": "NVIDIA, A100 Tensor Core GPU data sheet, SXM4",
    "H100": "NVIDIA, H100 Tensor Core GPU data sheet, SXM5",
    "H200": "NVIDIA, H200 Tensor Core GPU data sheet, SXM",
    "MI300X": "AMD, Instinct MI300X accelerator data sheet, OAM",
}
PAPER = {"S": 320_000, "T": 62, "L": 527, "N": 5, "W": 96_000}

TEXT = """\
<!-- Printed by: python -m bench.roofline > docs/roofline.md -->
# The limit beside every figure

A task has to move some bytes and compute some FLOP, whoever computes it and however. A machine moves bytes at the rate
of a large copy, and computes at that of a large matrix product (GEMM) or convolution, whichever is faster. So the task
takes at least

    limit = max(bytes / copy bandwidth, FLOP / GEMM or convolution rate)

which is the roofline model (Williams, Waterman and Patterson, 2009). Every table of `bench/` has this limit beside its
times, with the share of it that was reached: 100 % cannot be beaten in memory, and a figure far below it says how much
there is to gain.

* Bytes are those that the task needs: each input read once, each output written once. What a program writes in between
  and reads again is no part of the task. `bench/work.py` holds the formulas; they are printed below each table.
* A multiplication and an addition are two FLOP.
* The rates are measured in the same run beside every race, and the best of the run counts: a copy beyond all caches,
  its bytes read and written both counted, and a square GEMM or a convolution of the task's dtype, whichever is faster.
  Where a copy of the task's own size races beside it (`copy_`) and its fastest call is faster still, that sets the
  bandwidth: a small task may work within a cache.
* A task that runs on one thread, and every time of the processor ("CPU time"), is set against the rates of one thread:
  the device is then called "cpu, one thread".
* Float32 products on NVIDIA's GPUs have two rates, exact and in TF32, which is PyTorch's choice for convolutions.
  Log-mel is set against the exact one, networks in float32 against that of TF32. Results are compared with exact
  products.
* A competitor whose task is another one (`copy_`, a backbone alone, packing without the packing) has its own bytes and
  FLOP, and its share is that of its own limit.
* Some limits are far below what anybody reaches, and their formulas say why: decoding FLAC is no copy, and ranking
  scores takes more than reading them. Such a limit says that bytes and products are not what the time goes into.
* The limit leaves out what it takes to start a kernel, a few microseconds each, and that a copy reaches less than the
  published peak. It can be beaten only where the inputs lie in a cache already; on a GPU the benchmarks empty the
  caches between calls.

## Predictions

**These are predictions, not measurements**: the model above at the published peaks, so the least time that is possible,
not the time to expect.

{predictions}

Beside them, what has been measured so far, on {measured_on}:

{measured}

The first share is that of the prediction, the second that of the limit at the rates that the same run measured:
{rates}.
The training step was timed by itself, outside the suite ([gpu.md](gpu.md)).

What the tasks ask for:

{tasks}

The peaks, without sparsity:

{peaks}

## From a prediction to a measurement

On a machine with one of these GPUs,

    make bench-json JSON=gpu.json
    python -m bench.report gpu.json -o gpu.html

measures the copy bandwidth, the GEMM or convolution rates and every task above by the device's own events, with the
competitors in turns, outputs filled with NaN beforehand and inputs that no cache holds. One row alone:

{commands}
"""


class Task(NamedTuple):
    """What the page predicts: the work, the benchmark that measures it, and the case that it is called there."""

    name: str
    work: Work
    path: str
    case: str


# By case. Timed with CUDA events by hand, in the same session as the H200's run of the suite: docs/gpu.md.
BY_HAND = {"two streams, paper's step, cnn10 width 1 B=32 bfloat16": 25.39e-3}


def tasks() -> list[Task]:
    """The tasks of the page, at the paper's sizes."""
    crops = "bench/kernels/bench_select_crops.py"
    step, of_step = "bench/train/bench_two_streams.py", "two streams, paper's step, {} width 1 B=32 bfloat16"
    found = [
        Task("`select_crops`, float32, B = 32", select_crops_work(32, **PAPER), crops, "forward float32 none B=32"),
        Task(
            "`select_crops`, int16 waves, B = 32",
            select_crops_work(32, **PAPER, wave_bytes=2),
            crops,
            "forward int16 none B=32",
        ),
        Task("`select_crops`, float32, B = 256", select_crops_work(256, **PAPER), crops, "forward float32 none B=256"),
        Task("log-mel, B = 32", log_mel_work(32, 320_000), "bench/frontend/bench_logmel.py", "log-mel B=32"),
    ]
    for backbone, called in (("cnn10", "CNN10"), ("resnet38", "ResNet38")):
        name = f"training step of both streams, {called}, bfloat16, B = 32"
        found.append(Task(name, step_work(backbone, 32, dtype="bfloat16"), step, of_step.format(backbone)))
    return found


def measured(found: Sequence[Task], report: BenchRun, peak: Mapping[str, float]) -> list[list[str]]:
    """Rows of what a report has of the tasks: predicted, measured, and the two shares."""
    rows = [["task", "predicted", "measured", "of the prediction", "of that run's limit"]]
    cases = {case.name: case for case in report.cases if case.device == "cuda"}
    for task in found:
        case = cases.get(task.case)
        seconds = case.ours.seconds if case is not None else BY_HAND.get(task.case)
        if seconds is None:
            continue
        least, limit = task.work.limit(peak)[0], task.work.limit(report.rates["cuda"])[0]
        limit = case.limit.seconds if case is not None else limit
        shares = (f"{100 * x / seconds:.0f} %" for x in (least, limit))
        rows.append([task.name, duration(least), duration(seconds), *shares])
    return rows


def page() -> str:
    """docs/roofline.md."""
    found = tasks()
    path = newest(on_gpu=True)
    assert path is not None, "bench/results/ holds the H200's run"
    report = read_report(path)
    its_peak = next(rates for name, rates in PEAKS.items() if name in report.facts["gpu"])
    predictions = [["least time, predicted", *PEAKS]]
    for name, work, *_ in found:
        limits = [work.limit(peak) for peak in PEAKS.values()]
        predictions.append([name, *(f"{duration(seconds)} ({set_by})" for seconds, set_by in limits)])
    asked = [["task", "bytes", "FLOP", "formula"]]
    asked += [
        [name, amount(w.bytes, "B"), amount(w.flop, "FLOP") if w.flop else "–", w.formula] for name, w, *_ in found
    ]
    peaks = [["GPU", "memory", "float32", "bfloat16", "source"]]
    for name, peak in PEAKS.items():
        flops = (amount(peak[dtype], "FLOP/s") for dtype in ("float32", "bfloat16"))
        peaks.append([name, amount(peak["copy"], "B/s"), *flops, SOURCES[name]])
    commands = dict.fromkeys(f"    pytest {path} --benchmark-only" for path in (task.path for task in found))
    rates = report.rates["cuda"]
    said = f"a copy {amount(rates['copy'], 'B/s')}, products {amount(rates['float32'], 'FLOP/s')} in float32 and "
    said += f"{amount(rates['bfloat16'], 'FLOP/s')} in bfloat16"
    return TEXT.format(
        predictions=_table(predictions),
        measured=_table(measured(found, report, its_peak)),
        measured_on=f"one {report.facts['gpu']} on {report.date[:10]}, commit {report.facts['commit']}",
        rates=said,
        tasks=_table(asked),
        peaks=_table(peaks),
        commands="\n".join(commands),
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


if __name__ == "__main__":
    print(page(), end="")
