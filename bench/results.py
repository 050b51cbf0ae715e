"""``python -m bench.results JSON`` files a run of the suite: bench/results/DATE-COMMIT.json and .md, and README.md.

The README's table lies between two comments and is generated from the newest result, so that they cannot disagree.
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
BEGIN, END = "<!-- bench: written by make bench-results -->", "<!-- bench: end -->"
ROWS = {  # by subject and case; a case that was not measured has no row
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


def reduced(content: dict[str, Any]) -> dict[str, Any]:
    """What `read_report` reads: neither pytest-benchmark's own times nor what it knows of the machine."""
    entries = [{"name": entry["name"], "extra_info": entry["extra_info"]} for entry in content["benchmarks"]]
    return {
        "datetime": content["datetime"],
        "machine_info": {"glat": content["machine_info"]["glat"]},
        "benchmarks": entries,
        "not_measured": content["not_measured"],
    }


def newest(folder: Path = RESULTS) -> Path | None:
    """The result with the latest date, or None where there is none."""
    found = sorted(folder.glob("*.json"), key=lambda path: read_report(path).date)
    return found[-1] if found else None


def readme_table(report: BenchRun, name: str) -> str:
    """The rows of `ROWS` that the report has, ours beside every competitor, and the conditions."""
    facts = report.facts
    failed = sum(missed.failed for missed in report.not_measured)
    broken = f" Failed in that run: {failed} of its benchmarks, named there." if failed else ""
    lines = [
        f"Measured on {report.date[:10]} at commit {facts['commit']} with `{facts['command']}`: medians of interleaved "
        f"calls on {facts['torch_threads']} threads of {facts['cpu']}, load average {facts['load_average']} at the "
        f"start, torch {facts['torch']}, every result checked first. All of it: "
        f"[bench/results/{name}.md](bench/results/{name}.md).{broken}",
        "",
        "| 10 s clips at 32 kHz | glat | of the limit | the others, × the time of glat |",
        "|---|---:|---:|---|",
    ]
    for key, title in ROWS.items():
        same = [case for case in report.cases if (case.subject, case.name) == key and case.device != "cuda"]
        lines += [_row(title, case) for case in same]
    lines += [
        "",
        "×2 takes twice as long as glat, ×0.5 half. *out=*: glat, into a buffer of the caller's; *int16 batches*: "
        "glat, before they become float. *eager*, *compiled*: the reference, as it is and by torch.compile. *copy_*: a "
        "copy of as many bytes as the crops have. *PANNs' way*, *released loop*: what those programs do, written anew. "
        "*plain*, *channels_last*: our network before inference folds it. The limit: "
        "[docs/roofline.md](docs/roofline.md).",
    ]
    return "\n".join(lines)


def _row(title: str, case: Case) -> str:
    others = [f"{c.name} ×{three(c.ratio[1])}" for c in case.competitors if c is not case.ours]
    return f"| {title} | {duration(case.ours.seconds)} | {reached(case, case.ours)} | {', '.join(others)} |"


def with_table(readme: str, table: str) -> str:
    """The text with what stands between the two comments replaced.

    Raises:
        UserError: a comment is missing.
    """
    return with_block("README.md", readme, BEGIN, END, table)


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


def generated(folder: Path = RESULTS) -> str | None:
    """The README's table of the newest result, or None where there is none."""
    path = newest(folder)
    return readme_table(read_report(path), path.stem) if path is not None else None


def file_run(source: Path, folder: Path = RESULTS, readme: Path = README) -> Path:
    """Write the reduced JSON, the Markdown and the README's table; returns the JSON's path."""
    report = read_report(source)
    folder.mkdir(exist_ok=True)
    path = folder / f"{report.date[:10]}-{report.facts['commit']}.json"
    write_json(path, reduced(json.loads(source.read_text(encoding="utf-8"))))
    _write(path.with_suffix(".md"), markdown([report]))
    table = generated(folder)
    assert table is not None
    _write(readme, with_table(readme.read_text(encoding="utf-8"), table))
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
