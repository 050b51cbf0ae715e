"""``python -m bench.compare BASE`` times guarded benchmarks of a commit and of this tree; fails where this is slower.

Both trees are installed as they would be from a wheel and timed by this tree's benchmarks, so that only the library
differs. Runs alternate: a machine that gets busy slows both.
"""

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from glat.bench_report import Competitor, read_report
from glat.bench_report.units import duration, three
from glat.cli import reporting_user_errors
from glat.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = 1.10  # times the base's time
Key = tuple[str, str, str]  # subject, case, device


@dataclass(frozen=True)
class Verdict:
    """Our times of one guarded case on both sides, run by run; a side without a number has none."""

    key: Key
    base: tuple[Competitor, ...]
    head: tuple[Competitor, ...]

    @property
    def ratio(self) -> float | None:
        """The median over the pairs of runs, or None where a side lacks the case.

        The smaller one of that of the runs' medians and that of their fastest calls, as promises have it: other work
        shifts the medians, and leaves few undisturbed calls.
        """
        if not self.base or len(self.base) != len(self.head):
            return None
        pairs = list(zip(self.base, self.head, strict=True))
        return min(
            median(head.seconds / base.seconds for base, head in pairs),
            median(head.fastest_seconds / base.fastest_seconds for base, head in pairs),
        )

    @property
    def fails(self) -> bool:
        """Slower than allowed, or with a number in the base and none in this tree."""
        return self.ratio > ALLOWED if self.ratio is not None else len(self.head) < len(self.base)

    def __str__(self) -> str:
        name = ", ".join(self.key)
        if self.ratio is None:
            missing = "this tree" if len(self.head) < len(self.base) else "the base"
            return f"{'FAILS ' if self.fails else 'new   '} {name}: no number of every run in {missing}"
        times = " -> ".join(duration(median(run.seconds for run in runs)) for runs in (self.base, self.head))
        return f"{'FAILS ' if self.fails else 'holds '} {name}: {times}, ×{three(self.ratio)}"


def verdicts(base: Sequence[Mapping[Key, Competitor]], head: Sequence[Mapping[Key, Competitor]]) -> list[Verdict]:
    """What to say of the cases of paired runs, each our times by case.

    Raises:
        UserError: no case has a number on both sides.
    """
    keys = dict.fromkeys(key for run in (*head, *base) for key in run)
    found = [Verdict(key, *(tuple(run[key] for run in runs if key in run) for runs in (base, head))) for key in keys]
    if not any(verdict.ratio is not None for verdict in found):
        raise UserError("no guarded benchmark ran on both sides; look at the output above, or choose a later BASE")
    return found


def install(tree: Path, target: Path) -> None:
    """Install a tree without its dependencies below `target`."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(target), str(tree)], check=True)


def checkout(commit: str, target: Path) -> None:
    """Write the files of a commit below `target`.

    Raises:
        UserError: git does not know the commit.
    """
    packed = subprocess.run(["git", "-C", str(ROOT), "archive", "--format=tar", commit], capture_output=True)
    if packed.returncode:
        raise UserError(f"git has no commit {commit!r} ({packed.stderr.decode().strip()}); name one with BASE=")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tar:
        tar.extractall(target, filter="data")


def run(installed: Path, output: Path, arguments: Sequence[str]) -> dict[Key, Competitor]:
    """Our seconds in the guarded benchmarks with the library below `installed`."""
    # Without site (-S) no .pth file is read, and so no editable installation of this tree stands before `installed`.
    others = [path for path in sys.path if path and Path(path).resolve() != ROOT]
    python = [sys.executable, "-S", "-P"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(installed), *others])}
    where = subprocess.run(
        [*python, "-c", "import glat; print(glat.__file__)"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert Path(where.strip()).is_relative_to(installed), where
    options = ["-q", "-m", "guarded", "--only-ours", "--benchmark-only", "--continue-on-collection-errors"]
    command = [*python, "-m", "pytest", "bench", *options, f"--benchmark-json={output}", *arguments]
    status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    if status not in (0, 1):  # 1: a benchmark failed, which then has no number
        raise UserError(f"pytest left with status {status}; look at the output above")
    if not output.is_file() or not output.stat().st_size:  # nothing was timed
        return {}
    return {(case.subject, case.name, case.device): case.ours for case in read_report(output).cases}


def main() -> int:
    """Returns 1 where a guarded benchmark is slower than allowed."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("base", help="commit, branch or tag to compare this tree with")
    parser.add_argument("--runs", type=int, default=3, help="pairs of runs")
    chosen, arguments = parser.parse_known_args()  # the rest goes to pytest: -k, --race-seconds
    found: dict[str, list[dict[Key, Competitor]]] = {"base": [], "head": []}
    with tempfile.TemporaryDirectory(prefix="glat-compare-") as name:
        folder = Path(name).resolve()
        checkout(chosen.base, folder / "tree")
        for side, tree in (("base", folder / "tree"), ("head", ROOT)):
            install(tree, folder / side)
        for i in range(chosen.runs):
            for side in found if i % 2 == 0 else reversed(found):
                print(f"run {i + 1} of {chosen.runs}: {side}", flush=True)
                found[side].append(run(folder / side, folder / f"{side}{i}.json", arguments))
    print(f"\nthis tree against {chosen.base}, median of {chosen.runs} paired runs, allowed ×{ALLOWED:g}")
    judged = verdicts(found["base"], found["head"])
    for verdict in judged:
        print(verdict)
    return int(any(verdict.fails for verdict in judged))


if __name__ == "__main__":
    with reporting_user_errors():
        sys.exit(main())
