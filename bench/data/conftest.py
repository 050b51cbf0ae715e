"""Loaders timed in turns: clips a second by the clock and by the cores they keep busy."""

import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

# What a GPU needs: the cores that feed it are computed for this step.
STEP_MS = float(os.environ.get("GLAT_BENCH_STEP_MS", "50"))
STEP_CLIPS = 32


@dataclass
class Rates:
    """Clips a second of competitors that took turns, each the best of its rounds: a busy machine only slows them."""

    case: str
    by_clock: dict[str, float] = field(default_factory=dict)
    by_core: dict[str, float] = field(default_factory=dict)  # a second of processor time, of all threads and processes

    def promise(self, name: str, factor: float, other: str) -> None:
        """Raise unless `name` is at least `factor` times as fast as `other`, by the clock or by the core."""
        found = max(rates[name] / rates[other] for rates in (self.by_clock, self.by_core))
        assert found >= factor, f"{name} is {found:.2f} times as fast as {other}, promised: {factor}; {self}"

    def run(self, competitors: dict[str, Callable[[], int]], rounds: int) -> None:
        """Each competitor returns the clips it loaded."""
        for _ in range(rounds):
            for name, call in competitors.items():
                gc.collect()
                clock, core = time.perf_counter(), _processor_seconds()
                clips = call()
                clock, core = time.perf_counter() - clock, _processor_seconds() - core
                self.by_clock[name] = max(self.by_clock.get(name, 0.0), clips / clock)
                self.by_core[name] = max(self.by_core.get(name, 0.0), clips / core)


def _processor_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


_rates = pytest.StashKey[list[Rates]]()


@pytest.fixture
def rates(request: pytest.FixtureRequest) -> Callable[..., Rates]:
    """Run competitors and enter them in the table of this session."""

    def start(case: str, competitors: dict[str, Callable[[], int]], rounds: int = 3) -> Rates:
        finished = Rates(case)
        finished.run(competitors, rounds)
        request.config.stash.setdefault(_rates, []).append(finished)
        return finished

    return start


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    finished = config.stash.get(_rates, [])
    if not finished:
        return
    write = terminalreporter.write_line
    terminalreporter.write_sep("=", "clips of 10 s a second, best of interleaved rounds, every batch checked before")
    write("clock: by the clock, one worker; core: a second of processor time of all threads and processes;")
    write(f"cores: what {STEP_CLIPS} clips every {STEP_MS:g} ms take")
    width = max(len(f"{each.case}, {name}") for each in finished for name in each.by_core)
    write(" " * width + f"{'clock':>10}{'core':>10}{'cores':>10}")
    for each in finished:
        for name in each.by_core:
            cores = STEP_CLIPS / STEP_MS * 1e3 / each.by_core[name]
            title = f"{each.case}, {name}"
            write(f"{title:<{width}}{each.by_clock[name]:>10.0f}{each.by_core[name]:>10.0f}{cores:>10.1f}")
