"""``python -m bench.results JSON`` files a run of the suite in bench/results/, as JSON and Markdown, and in README.md.

The README has two tables, from the newest results of a CPU and of a GPU. Each lies between two comments and is
generated from the filed result, so that the two cannot disagree.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.report import BenchRun, Case, markdown, read_report
from bench.report.markdown import reached
from bench.report.units import duration, three
from glat.cli import reporting_user_errors
from glat.errors import UserError
from glat.files import replaced, write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
README = ROOT / "README.md"
CPU, GPU = "bench", "bench on a GPU"  # what the comments around a table are called
# By subject and case; a case that was not measured has no row.
ROWS = {
    ("kernels", "forward float32 none B=32"): "`select_crops`, B = 32, five crops of 3 s, float32",
    ("kernels", "forward float32 released B=32"): "the same with the released program's suppression",
    ("frontend", "log-mel B=32"): "log-mel, B = 32",
    ("training", "step cnn10 width 0.25 B=8"): "training step of one CNN10, width 0.25, B = 8",
    ("training", "step resnet38 width 0.25 B=4"): "training step of one ResNet38, width 0.25, B = 4",
    ("inference", "cnn10 width 1 B=4"): "inference, CNN10, B = 4",
    ("inference", "resnet38 width 1 B=4"): "inference, ResNet38, B = 4",
    ("data", "HDF5 int16, a clip of 10 s"): "a clip read from an int16 pack, as float32",
    ("metrics", "10 resamples, 20371 clips, 4 classes"): "bootstrap, 10 resamples, 20 371 clips, 4 classes",
}
GPU_ROWS = {
    ("kernels", "forward float32 none B=32"): "`select_crops`, B = 32, five crops of 3 s, float32",
    ("kernels", "forward float32 released B=32"): "the same with the released program's suppression",
    ("kernels", "forward int16 none B=32"): "the same of int16 waves",
    ("kernels", "forward float32 none B=1"): "`select_crops`, B = 1, float32",
    ("kernels", "forward float32 none B=256"): "`select_crops`, B = 256, float32",
    ("kernels", "forward+backward float32 none B=32"): "`select_crops`, forward and backward, B = 32, float32",
    ("frontend", "log-mel B=32"): "log-mel, B = 32",
    ("frontend", "SpecAugment B=32"): "SpecAugment, B = 32",
    ("training", "two streams, paper's step, cnn10 width 1 B=32 bfloat16"): "step of two CNN10s, bfloat16, B = 32",
    (
        "training",
        "two streams, paper's step, resnet38 width 1 B=32 bfloat16",
    ): "step of two ResNet38s, bfloat16, B = 32",
    ("training", "two streams, inference, cnn10 width 1 B=32 bfloat16"): "inference of two CNN10s, bfloat16, B = 32",
}
OTHERS = {  # who the others are, said below a table that has them
    "out=": "*out=*: glat, into a buffer of the caller's",
    "out=, graph": "*graph*: the same, replayed as a CUDA graph",
    "convert": "*convert*: the whole wave made float32 first",
    "int16 batches": "*int16 batches*: glat, before they become float",
    "eager": "*eager*, *compiled*: the reference, as it is and by torch.compile",
    "copy_": "*copy_*: a copy of as many bytes as the crops have",
    "PANNs'": "*PANNs' way*, *PANNs' convolutions*, *released loop*, *loop, in place*: what those programs do, written "
    "anew",
    "plain": "*plain*, *channels_last*: our network before inference folds it",
}


def reduced(content: dict[str, Any]) -> dict[str, Any]:
    """What `read_report` reads: neither pytest-benchmark's own times nor what it knows of the machine."""
    entries = [{"name": entry["name"], "extra_info": entry["extra_info"]} for entry in content["benchmarks"]]
    return {
        "datetime": content["datetime"],
        "machine_info": {"glat": content["machine_info"]["glat"]},
        "benchmarks": entries,
        "not_measured": content["not_measured"],
    }


def newest(folder: Path = RESULTS, on_gpu: bool = False) -> Path | None:
    """The result with the latest date of a CPU, or of a GPU; None where there is none."""
    found = {path: read_report(path) for path in folder.glob("*.json")}
    mine = sorted((report.date, path) for path, report in found.items() if report.on_gpu == on_gpu)
    return mine[-1][1] if mine else None


def readme_table(report: BenchRun, name: str) -> str:
    """The rows of `ROWS`, or of `GPU_ROWS`, that the report has, ours beside every competitor, and the conditions."""
    facts, device = report.facts, "cuda" if report.on_gpu else "cpu"
    failed = sum(missed.failed for missed in report.not_measured)
    broken = f" Failed in that run: {failed} of its benchmarks, named there." if failed else ""
    threads = f"{facts['torch_threads']} threads of {facts['cpu']}"
    where = f"one {facts['gpu']} (driver {facts['driver']}, CUDA {facts['cuda']})" if report.on_gpu else threads
    lines = [
        f"Measured on {report.date[:10]} at commit {facts['commit']} with `{facts['command']}`: medians of interleaved "
        f"calls on {where}, load average {facts['load_average']} at the start, torch {facts['torch']}, every result "
        f"checked first. All of it: [bench/results/{name}.md](bench/results/{name}.md).{broken}",
        "",
        "| 10 s clips at 32 kHz | glat | of the limit | the others, × the time of glat |",
        "|---|---:|---:|---|",
    ]
    shown = []
    for key, title in (GPU_ROWS if report.on_gpu else ROWS).items():
        same = [case for case in report.cases if (case.subject, case.name) == key]
        shown += [_row(title, case) for case in same if (case.device == "cuda") == (device == "cuda")]
    said = [text for name, text in OTHERS.items() if any(name in row for row in shown)]
    lines += [*shown, "", "×2 takes twice as long as glat, ×0.5 half. " + "; ".join(said) + "."]
    lines[-1] += " The limit: [docs/roofline.md](docs/roofline.md)."
    return "\n".join(lines)


def _row(title: str, case: Case) -> str:
    others = [f"{c.name} ×{three(c.ratio[1])}" for c in case.competitors if c is not case.ours]
    return f"| {title} | {duration(case.ours.seconds)} | {reached(case, case.ours)} | {', '.join(others)} |"


def with_tables(readme: str, folder: Path = RESULTS) -> str:
    """The README's text with both tables as the results in a folder have them; one without a result stays as it is.

    Raises:
        UserError: a comment is missing.
    """
    for what, on_gpu in ((CPU, False), (GPU, True)):
        if (path := newest(folder, on_gpu)) is not None:
            begin, end = f"<!-- {what}: written by make bench-results -->", f"<!-- {what}: end -->"
            readme = with_block("README.md", readme, begin, end, readme_table(read_report(path), path.stem))
    return readme


def with_block(name: str, text: str, begin: str, end: str, block: str) -> str:
    """The text of the file `name` with what stands between two comments replaced.

    Raises:
        UserError: a comment is missing.
    """
    before, first, rest = text.partition(begin)
    _, last, after = rest.partition(end)
    if not first or not last:
        raise UserError(f"{name} lacks {begin!r} or {end!r}; put both where the generated part belongs")
    return f"{before}{begin}\n{block}\n{end}{after}"


def file_run(source: Path, folder: Path = RESULTS, readme: Path = README) -> Path:
    """Write the reduced JSON, the Markdown and the README's tables; returns the JSON's path."""
    report = read_report(source)
    folder.mkdir(exist_ok=True)
    gpu = f"-{report.facts['gpu'].replace(' ', '-')}" if report.on_gpu else ""
    path = folder / f"{report.date[:10]}-{report.facts['commit']}{gpu}.json"
    write_json(path, reduced(json.loads(source.read_text(encoding="utf-8"))))
    _write(path.with_suffix(".md"), markdown([report]))
    _write(readme, with_tables(readme.read_text(encoding="utf-8"), folder))
    return path


def _write(path: Path, text: str) -> None:
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.results", description=__doc__)
    parser.add_argument("json", type=Path, help="what pytest bench --benchmark-only --benchmark-json wrote")
    print(os.path.relpath(file_run(parser.parse_args(arguments).json)))
    return 0


if __name__ == "__main__":
    with reporting_user_errors():
        sys.exit(main())
