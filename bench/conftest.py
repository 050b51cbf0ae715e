"""What the benchmarks share: competitors timed in turns, the table at the end, the facts of the machine."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from glat.machine import versions

Competitors = dict[str, Callable[[], Any]]


@dataclass
class Race:
    """Seconds of competitors that took turns in one process, so that a busy machine slows all of them alike.

    `seconds` are medians, `fastest` the best of all rounds. A promise holds if it holds by one of the two: other work
    shifts the medians of short calls, and leaves few undisturbed rounds to a parallel one.
    `moved` counts the bytes that the task has to move, and `copied` those that the competitor ``copy_`` moves: their
    speeds, side by side, say how far a competitor is from the copy limit. 0 where time is all that is compared.
    """

    case: str
    moved: int = 0
    copied: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    fastest: dict[str, float] = field(default_factory=dict)

    def promise(self, name: str, factor: float, other: str) -> None:
        """Raise unless `name` is at least `factor` times as fast as `other`."""
        found = max(times[other] / times[name] for times in (self.seconds, self.fastest))
        assert found >= factor, f"{name} is {found:.2f} times as fast as {other}, promised: {factor}; {self}"

    def gb_per_s(self, name: str) -> float:
        return (self.copied if name == "copy_" else self.moved) / self.seconds[name] / 1e9

    def of_copy_limit(self, name: str) -> float:
        return self.gb_per_s(name) / self.gb_per_s("copy_")

    def run(self, competitors: Competitors, device: str, budget_seconds: float = 6.0) -> None:
        """Time the competitors in turns: at least 5 rounds, more (at most 40) while the budget lasts.

        What a call returns is dropped inside the timed span: giving memory back is part of asking for fresh memory.
        """
        synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
        rounds: dict[str, list[float]] = {name: [] for name in competitors}
        began = time.perf_counter()
        for i in range(40):
            if i >= 5 and time.perf_counter() - began > budget_seconds:
                break
            for name, call in competitors.items():
                turn: list[float] = []
                while len(turn) < 5 and sum(turn) < 0.03:  # a slow competitor once, a fast one up to five times
                    synchronize()
                    start = time.perf_counter()
                    call()
                    synchronize()
                    turn.append(time.perf_counter() - start)
                if i > 0:  # the first round warms up: caches, the allocator, the clock
                    rounds[name] += turn
        self.seconds = {name: statistics.median(times) for name, times in rounds.items()}
        self.fastest = {name: min(times) for name, times in rounds.items()}

    def record(self, extra_info: dict[str, Any]) -> None:
        for name, seconds in self.seconds.items():
            extra_info[name] = {"ms": round(seconds * 1e3, 4), "ms_fastest": round(self.fastest[name] * 1e3, 4)}
        if self.moved:
            extra_info["bytes_moved"] = self.moved
            for name in self.seconds:
                extra_info[name]["gb_per_s"] = round(self.gb_per_s(name), 2)
                extra_info[name]["of_copy_limit"] = round(self.of_copy_limit(name), 3)


_races = pytest.StashKey[list[Race]]()


@pytest.fixture
def race(request: pytest.FixtureRequest) -> Callable[..., Race]:
    """Run a `Race` and enter it in the table of this session."""

    def start(case: str, competitors: Competitors, *, moved: int = 0, copied: int = 0, device: str = "cpu") -> Race:
        finished = Race(case, moved, copied)
        finished.run(competitors, device)
        request.config.stash.setdefault(_races, []).append(finished)
        return finished

    return start


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["glat"] = {
        **versions(),
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    races = config.stash.get(_races, [])
    if not races:
        return
    names = list(dict.fromkeys(name for race in races for name in race.seconds))
    width = max(len(race.case) for race in races)
    write = terminalreporter.write_line
    terminalreporter.write_sep("=", "medians of interleaved runs, every result checked before it was timed")
    facts = versions()
    write(f"{_cpu_name()}, {torch.get_num_threads()} threads, torch {facts['torch']}, commit {facts['commit']}")
    write("ms: time; x: times the time of the first; %: of the speed of copy_ of the output's size, in bytes/s")
    write(" " * width + "".join(f"{name:>24}" for name in names))
    for race in races:
        base = next(iter(race.seconds.values()))
        cells = []
        for name in names:
            if name not in race.seconds:
                cells.append(f"{'':>24}")
                continue
            speed = f"{race.of_copy_limit(name):>5.0%}" if race.moved else " " * 5
            cells.append(f"{race.seconds[name] * 1e3:>10.3f}ms {race.seconds[name] / base:6.2f}x{speed}")
        write(f"{race.case:<{width}}" + "".join(cells))
