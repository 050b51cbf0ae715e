"""``make gpu``: tests and benchmarks that need a GPU, one after the other, and one folder that says what came out.

A stage has a limit and is killed at it, since a process that compiles may not listen; the next one then begins. Where
there is no GPU, nothing is done.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.report import markdown, page, read_report
from glat.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
GPU_FACTS = "nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.max.sm --format=csv"
DONE, WRONG, LATE = "right", "WRONG", "NOT DONE"


@dataclass(frozen=True)
class Stage:
    """One process: its arguments behind ``python -m pytest``, and its limits in seconds, whole and quick."""

    name: str
    what: str
    pytest: tuple[str, ...]
    limit: int
    quick_limit: int
    quick: tuple[str, ...] = ()  # more arguments of a quick run


# The limits add up to 15 minutes and, quick, to 5.
STAGES = (
    Stage("kernels", "the operators' tests on CUDA", ("tests/kernels", "-k", "cuda"), 120, 50),
    Stage(
        "tests",
        "networks, training, data and commands on the GPU",
        ("tests/gpu",),
        590,
        180,
        ("-k", "scores or losses or memory or cudnn or tags or (resnet38 and (compiled or killed))"),
    ),
    Stage(
        "bench",
        "the benchmarks: operators and front end",
        ("bench/kernels", "bench/frontend", "-k", "cuda", "--benchmark-only", "--race-seconds", "0.2"),
        70,
        40,
        ("--race-seconds", "0.05"),
    ),
    Stage(
        "training",
        "the benchmarks: steps and inference of both streams, bfloat16",
        ("bench/train", "-k", "cuda and bfloat16 and 1-", "--benchmark-only", "--race-seconds", "0.5"),
        120,
        30,
        ("-k", "cuda and bfloat16 and 1- and cnn10 and paper"),
    ),
)


@dataclass
class Result:
    """How a stage ended: its tests by outcome, the seconds of each, and the names of those that failed."""

    stage: Stage
    verdict: str
    seconds: float
    counts: dict[str, int] = field(default_factory=dict)
    tests: list[tuple[str, str, float]] = field(default_factory=list)  # name, outcome, seconds


def run(stage: Stage, folder: Path, quick: bool) -> Result:
    """Run a stage in a process of its own; its output and what pytest says of each test go into the folder."""
    xml, log = folder / f"{stage.name}.xml", folder / f"{stage.name}.log"
    command = [sys.executable, "-m", "pytest", *stage.pytest, *(stage.quick if quick else ()), "-p", "no:cacheprovider"]
    command += [f"--junitxml={xml}", "-v"]
    if "--benchmark-only" in stage.pytest:
        command.append(f"--benchmark-json={folder / f'{stage.name}.json'}")
    environment = os.environ | {"GLAT_GPU_QUICK": "1" if quick else ""}
    start = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status: int | None = process.wait(stage.quick_limit if quick else stage.limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                for pid in [*descendants(process.pid), process.pid]:  # tests start runs in sessions of their own
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()
    seconds = time.monotonic() - start
    tests = outcomes(xml) or outcomes_so_far(log)
    counts = {name: sum(outcome == name for _, outcome, _ in tests) for name in ("passed", "failed", "skipped")}
    verdict = LATE if status is None else DONE if status == 0 and counts["passed"] else WRONG
    return Result(stage, verdict, seconds, counts, tests)


def descendants(pid: int) -> list[int]:
    """What a process has started, and what that has, by /proc; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            # The name in parentheses may hold spaces; behind it come the state and the parent.
            parent = int(status.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def outcomes(xml: Path) -> list[tuple[str, str, float]]:
    """Name, outcome and seconds of each test; none where pytest was killed before it wrote them."""
    try:
        cases = ElementTree.parse(xml).iter("testcase")
    except (OSError, ElementTree.ParseError):
        return []
    found = []
    for case in cases:
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found.append((case.get("name", "?"), outcome, float(case.get("time", 0))))
    return found


def outcomes_so_far(log: Path) -> list[tuple[str, str, float]]:
    """Name and outcome of each test that a killed pytest had done; it does not say how long they took."""
    said = log.read_text(encoding="utf-8", errors="replace")
    names = {"PASSED": "passed", "FAILED": "failed", "ERROR": "failed", "SKIPPED": "skipped"}
    found = re.findall(r"^\S+?::(\S+) (PASSED|FAILED|ERROR|SKIPPED)\b", said, re.MULTILINE)
    return [(name, names[outcome], 0.0) for name, outcome in found]


def table(results: Sequence[Result]) -> str:
    """What is right and what it took, a line a stage and one for each test that failed or was killed."""
    rows: list[tuple[str, ...]] = [("stage", "is", "passed", "failed", "skipped", "seconds", "what")]
    for result in results:
        counts = (str(result.counts.get(name, 0)) for name in ("passed", "failed", "skipped"))
        rows.append((result.stage.name, result.verdict, *counts, f"{result.seconds:.0f}", result.stage.what))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    for result in results:
        lines += [f"failed: {result.stage.name}: {name}" for name, outcome, _ in result.tests if outcome == "failed"]
        if result.verdict == LATE:
            lines.append(
                f"not done within its limit: {result.stage.name}; the end of {result.stage.name}.log says where"
            )
    return "\n".join(lines)


def report(results: Sequence[Result], folder: Path, facts: Mapping[str, str]) -> str:
    """Write summary.md, outcome.json and report.html; returns the table."""
    shown = table(results)
    slowest = sorted((test for result in results for test in result.tests), key=lambda test: -test[2])[:20]
    lines = ["# A run on a GPU", "", *(f"- {name}: {value}" for name, value in facts.items()), "", "```text", shown]
    lines += ["```", "", "The slowest tests:", "", *(f"- {s:.0f} s, {outcome}: {name}" for name, outcome, s in slowest)]
    runs = []
    for result in results:
        path = folder / f"{result.stage.name}.json"
        if path.is_file() and path.stat().st_size:
            try:
                runs.append(read_report(path))
            except UserError as error:
                lines += ["", str(error)]
    if runs:
        (folder / "report.html").write_text(page(runs), encoding="utf-8")
        lines += ["", markdown(runs)]
    (folder / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    outcome = [vars(result) | {"stage": result.stage.name} for result in results]
    (folder / "outcome.json").write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
    return shown


def gathered_facts(folder: Path) -> dict[str, str]:
    """GPU, versions and commit; the whole of `glat doctor` and nvidia-smi goes into the folder."""
    from bench.conftest import machine_facts

    for name, command in (("doctor.txt", [sys.executable, "-m", "glat", "doctor"]), ("gpu.txt", GPU_FACTS.split())):
        with (folder / name).open("wb") as file:
            try:
                subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, timeout=120, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:  # ROCm has no nvidia-smi
                file.write(str(error).encode())
    wanted = ("gpu", "driver", "cuda", "torch", "triton", "nvidia-dali-cuda130", "commit", "cpu", "cpus")
    facts = machine_facts()
    return {name: str(facts[name]) for name in wanted}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 where a stage is not right, 0 where all are, or where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the shortest of everything: under 5 minutes")
    parser.add_argument("--folder", type=Path, default=ROOT / "gpu-report", help="what is written, and its .tar.gz")
    asked = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no GPU here (torch sees none): nothing was run")
        return 0
    folder = asked.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    facts = gathered_facts(folder)
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    results = []
    for stage in STAGES:
        print(f"{stage.name}: {stage.what}, at most {stage.quick_limit if asked.quick else stage.limit} s", flush=True)
        results.append(run(stage, folder, asked.quick))
        shown = report(results, folder, facts)  # after each: what there is when somebody ends it
    print(shown)
    archive = folder.with_name(folder.name + ".tar.gz")
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, folder.name)
    print(f"all of it: {folder}; to be sent: {archive}")
    return int(any(result.verdict != DONE for result in results))


if __name__ == "__main__":
    sys.exit(main())
