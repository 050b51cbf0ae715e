"""Loaders timed in turns: wall-clock seconds per clip, and CPU time of all their threads and processes."""

import gc
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from ..limits import ONE_THREAD, Work
from ..race import Race


class Rates:
    """The same turns by two clocks; a busy machine only slows the first. Processor time has the limit of one thread."""

    def __init__(self, by_clock: Race, by_processor: Race) -> None:
        self.by_clock, self.by_processor = by_clock, by_processor

    def promise(self, name: str, factor: float, other: str) -> None:
        """Raise unless `name` is at least `factor` times as fast as `other`, by either clock."""
        try:
            self.by_clock.promise(name, factor, other)
        except AssertionError:
            self.by_processor.promise(name, factor, other)

    def record(self, extra_info: dict[str, Any]) -> None:
        """Write what `python -m bench.report` reads."""
        self.by_clock.record(extra_info)
        self.by_processor.record(extra_info)


@pytest.fixture
def rates(enter: Callable[..., Race], request: pytest.FixtureRequest) -> Callable[..., Rates]:
    """Run competitors, each of which returns the clips that it loaded, and enter them in the tables of this session.

    `work` and `others` are those of one clip.
    """

    def start(
        case: str,
        competitors: dict[str, Callable[[], int]],
        *,
        work: Work,
        others: Mapping[str, Work] | None = None,
        rounds: int = 3,
    ) -> Rates:
        if request.config.getoption("--only-ours"):
            competitors = dict(list(competitors.items())[:1])
        by_clock: dict[str, list[list[float]]] = {name: [] for name in competitors}
        by_processor: dict[str, list[list[float]]] = {name: [] for name in competitors}
        for i in range(rounds):
            for name in competitors if i % 2 == 0 else reversed(competitors):
                gc.collect()
                clock, processor = time.perf_counter(), _processor_seconds()
                clips = competitors[name]()
                by_clock[name].append([(time.perf_counter() - clock) / clips])
                by_processor[name].append([(_processor_seconds() - processor) / clips])
        title = f"{case}, a clip of 10 s"
        return Rates(
            enter(title, by_clock, work=work, others=others),
            enter(f"{title}, processor time", by_processor, work=work, others=others, device=ONE_THREAD),
        )

    return start


def _processor_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
