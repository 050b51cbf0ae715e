"""Results of competitors that were timed in turns: medians, ratios, promises, and their JSON."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from .limits import Work


@dataclass
class Race:
    """Seconds of competitors that took turns in one process; the first is ours, the others are set against it.

    A promise holds if it holds by one of the medians and the fastest calls: other work shifts the medians of short
    calls, and leaves few undisturbed rounds to a parallel one.

    Args:
        turns: of each competitor, by round, the seconds of its calls.
        work: what the task asks for at least.
        rates: of the device, as `measured_rates` has them.
        others: what competitors ask for whose task is another. ``copy_``, a copy of the task's own size, is one, and
            raises the bandwidth of `rates` where it is faster: a small task may work within a cache.
    """

    subject: str
    case: str
    device: str
    turns: dict[str, list[list[float]]]
    work: Work
    rates: Mapping[str, float]
    others: Mapping[str, Work] = field(default_factory=dict)
    guarded: bool = False
    recorded: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> dict[str, float]:
        """Medians over all calls."""
        return {name: statistics.median(chain.from_iterable(turns)) for name, turns in self.turns.items()}

    @property
    def fastest(self) -> dict[str, float]:
        return {name: min(map(min, turns)) for name, turns in self.turns.items()}

    def ratio(self, name: str) -> list[float]:
        """Quartiles over the rounds of the time of `name` by the time of ours in the same round."""
        ours = next(iter(self.turns))
        pairs = zip(self.turns[name], self.turns[ours], strict=True)
        ratios = [statistics.median(a) / statistics.median(b) for a, b in pairs]
        # Of all the rounds that there are, not a sample: quartiles lie within what was seen, also of two rounds.
        return statistics.quantiles(ratios, n=4, method="inclusive")

    def promise(self, name: str, factor: float, other: str) -> None:
        """Raise unless `name` is at least `factor` times as fast as `other`; ``--only-ours`` leaves nothing to hold."""
        if len(self.turns) == 1:
            return
        found = max(times[other] / times[name] for times in (self.seconds, self.fastest))
        assert found >= factor, f"{name} is {found:.2f} times as fast as {other}, promised: {factor}; {self.case}"

    def record(self, extra_info: dict[str, Any]) -> None:
        """Write what `python -m bench.report` reads."""
        self.recorded = self.to_json()
        extra_info.setdefault("races", []).append(self.recorded)

    def update_limit(self) -> None:
        """Write the limits anew where the race was recorded: a later race may have found the machine less busy."""
        if self.recorded:
            self.recorded.update(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """What the JSON carries of it."""
        seconds, fastest = self.seconds, self.fastest
        return {
            "subject": self.subject,
            "case": self.case,
            "device": self.device,
            "guarded": self.guarded,
            "limit": self.limit(self.work),
            "competitors": {
                name: {
                    "seconds": _rounded(seconds[name]),
                    "fastest_seconds": _rounded(fastest[name]),
                    "ratio": [_rounded(x) for x in self.ratio(name)],
                    "rounds": len(turns),
                    **({"limit": self.limit(self.others[name])} if name in self.others else {}),
                }
                for name, turns in self.turns.items()
            },
        }

    def limit(self, work: Work) -> dict[str, Any]:
        """What the JSON says of the limit of some work, by the rates as they are known at the call."""
        rates = dict(self.rates)
        if "copy_" in self.turns:
            rates["copy"] = max(rates["copy"], self.others["copy_"].bytes / self.fastest["copy_"])
        least, set_by = work.limit(rates)
        stated = {name: getattr(work, name) for name in ("formula", "bytes", "flop", "dtype")}
        return {**stated, "seconds": _rounded(least), "set_by": set_by}


def _rounded(x: float) -> float:
    return float(f"{x:.4g}")
