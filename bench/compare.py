"""``python -m bench.compare BASE`` times guarded benchmarks at a commit and in this tree; fails if this is slower.

Both trees are installed as from a wheel and timed by this tree's benchmarks, so that only the library differs. Runs
come in pairs of alternating order (base, head, head, base), so that a machine that gets busy slows both. The rule: take
the ratio of medians of each pair, then the median of these ratios; above 1.10 the case fails. Before that verdict, the
case alone is timed again in twice as many further pairs, and the median is taken over all its pairs.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.report import Case
from bench.report.units import duration, three
from glat.cli import reporting_user_errors
from glat.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = 1.10  # times the base's time
MORE_PAIRS = 2  # times the pairs of the first look, in the second look at a suspect
Key = tuple[str, str, str]  # subject, case, device


@dataclass(frozen=True)
class Timed:
    """Our median in one run, and the benchmark that took it, as pytest calls it."""

    seconds: float
    benchmark: str


Run = dict[Key, Timed]
Pair = tuple[Run, Run]  # base, head


@dataclass(frozen=True)
class Verdict:
    """Our times of one guarded case in the pairs of runs that it was meant to be in; None where it has no number."""

    key: Key
    pairs: tuple[tuple[Timed | None, Timed | None], ...]

    @property
    def ratios(self) -> list[float]:
        """This tree's time by the base's, of every pair that has both."""
        return [head.seconds / base.seconds for base, head in self.pairs if base is not None and head is not None]

    @property
    def ratio(self) -> float | None:
        """The median over the pairs, or None where no pair has both."""
        return median(self.ratios) if self.ratios else None

    @property
    def lost(self) -> bool:
        """Whether this tree lacks a number in a pair where the base has one."""
        return any(base is not None and head is None for base, head in self.pairs)

    @property
    def slower(self) -> bool:
        return self.ratio is not None and self.ratio > ALLOWED

    @property
    def fails(self) -> bool:
        """Slower than allowed, or with a number in the base and none in this tree."""
        return self.slower or self.lost

    @property
    def benchmark(self) -> str:
        """What pytest calls the benchmark of this case."""
        return next(timed.benchmark for pair in self.pairs for timed in pair if timed is not None)

    def __str__(self) -> str:
        word, name = "FAILS " if self.fails else "holds ", ", ".join(self.key)
        if self.lost:
            return f"{word} {name}: no number in this tree in a run where the base has one"
        if self.ratio is None:
            return f"new    {name}: no number in the base"
        sides = zip(*(pair for pair in self.pairs if None not in pair), strict=True)
        times = " -> ".join(duration(median(timed.seconds for timed in side if timed)) for side in sides)
        low, high = min(self.ratios), max(self.ratios)
        return f"{word} {name}: {times}, ×{three(self.ratio)} ({three(low)}–{three(high)}, {len(self.ratios)} pairs)"


def verdicts(pairs: Sequence[Pair], second: Sequence[Pair] = (), suspects: Sequence[Key] = ()) -> list[Verdict]:
    """What to say of every case.

    Args:
        pairs: of the first look, with all guarded cases.
        second: of the second look, in which only the suspects count.

    Raises:
        UserError: no case has a number on both sides.
    """
    found = []
    for key in dict.fromkeys(key for pair in pairs for run in reversed(pair) for key in run):
        looked_at = [*pairs, *(second if key in suspects else ())]
        found.append(Verdict(key, tuple((base.get(key), head.get(key)) for base, head in looked_at)))
    if all(verdict.ratio is None for verdict in found):
        raise UserError("no guarded benchmark ran on both sides; look at the output above, or choose a later BASE")
    return found


def compare(timed: Callable[[int, str, Sequence[str]], Run], pairs: int) -> list[Verdict]:
    """Both looks.

    Args:
        timed: makes one run: its number, "base" or "head", and the benchmarks to run, all guarded ones where there are
            none.
        pairs: of the first look.
    """

    def paired(numbers: range, benchmarks: Sequence[str]) -> list[Pair]:
        found = []
        for i in numbers:
            sides = ("base", "head") if i % 2 == 0 else ("head", "base")
            runs = {side: timed(i, side, benchmarks) for side in sides}
            found.append((runs["base"], runs["head"]))
        return found

    first = paired(range(pairs), ())
    suspects = [verdict for verdict in verdicts(first) if verdict.slower]
    if not suspects:
        return verdicts(first)
    more = MORE_PAIRS * pairs
    print(f"\n{len(suspects)} above ×{ALLOWED:g}, a second look in {more} more pairs:", flush=True)
    for verdict in suspects:
        print(verdict, flush=True)
    second = paired(range(pairs, pairs + more), list(dict.fromkeys(verdict.benchmark for verdict in suspects)))
    return verdicts(first, second, [verdict.key for verdict in suspects])


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


def run(installed: Path, output: Path, benchmarks: Sequence[str], arguments: Sequence[str]) -> Run:
    """Our seconds in guarded benchmarks with the library below `installed`."""
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
    command = [*python, "-m", "pytest", *(benchmarks or ["bench"]), *options, f"--benchmark-json={output}", *arguments]
    status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    if status not in (0, 1):  # 1: a benchmark failed, which then has no number
        raise UserError(f"pytest left with status {status}; look at the output above")
    return read_run(output)


def read_run(output: Path) -> Run:
    """Our times in the JSON of pytest-benchmark, which is empty where nothing was timed."""
    if not output.is_file() or not output.stat().st_size:
        return {}
    found = {}
    for entry in json.loads(output.read_text(encoding="utf-8"))["benchmarks"]:
        for race in entry["extra_info"].get("races", ()):
            case = Case.from_json(race)
            found[case.subject, case.name, case.device] = Timed(case.ours.seconds, entry["fullname"])
    return found


def main() -> int:
    """Returns 1 where a guarded benchmark is slower than allowed."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("base", help="commit, branch or tag to compare this tree with")
    parser.add_argument("--pairs", type=int, default=4, help="pairs of runs in the first look")
    chosen, arguments = parser.parse_known_args()  # the rest goes to pytest: -k, --race-seconds
    if chosen.pairs < 1:
        raise UserError(f"--pairs {chosen.pairs}; give at least 1")
    with tempfile.TemporaryDirectory(prefix="glat-compare-") as name:
        folder = Path(name).resolve()
        checkout(chosen.base, folder / "tree")
        for side, tree in (("base", folder / "tree"), ("head", ROOT)):
            install(tree, folder / side)

        def timed(i: int, side: str, benchmarks: Sequence[str]) -> Run:
            print(f"pair {i + 1}: {side}", flush=True)
            return run(folder / side, folder / f"{side}{i}.json", benchmarks, arguments)

        judged = compare(timed, chosen.pairs)
    print(f"\nthis tree against {chosen.base}, median ratio of paired runs, allowed ×{ALLOWED:g}")
    for verdict in judged:
        print(verdict)
    return int(any(verdict.fails for verdict in judged))


if __name__ == "__main__":
    with reporting_user_errors():
        sys.exit(main())
