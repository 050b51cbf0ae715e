"""Results of a benchmark run, read from pytest-benchmark's JSON."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glat.errors import UserError


@dataclass(frozen=True)
class Limit:
    """The least seconds that the machine's rates allow, what sets them (bytes or FLOP), and what was counted."""

    formula: str
    bytes: float
    flop: float
    dtype: str
    seconds: float
    set_by: str


@dataclass(frozen=True)
class Competitor:
    """Median and fastest seconds; `ratio` holds the quartiles of its time by ours, round by round.

    `own_limit` is that of a competitor whose task is another than that of the case, e.g. ``copy_``.
    """

    name: str
    seconds: float
    fastest_seconds: float
    ratio: tuple[float, float, float]
    rounds: int
    own_limit: Limit | None = None


@dataclass(frozen=True)
class Case:
    """One task on one device; the first competitor is ours."""

    subject: str
    name: str
    device: str
    guarded: bool
    limit: Limit
    competitors: tuple[Competitor, ...]

    @property
    def ours(self) -> Competitor:
        return self.competitors[0]

    def limit_of(self, competitor: Competitor) -> Limit:
        """The limit of what a competitor does."""
        return competitor.own_limit or self.limit

    @classmethod
    def from_json(cls, race: dict[str, Any]) -> "Case":
        """From one of the ``races`` of a benchmark's ``extra_info``.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is none.
        """
        competitors = tuple(
            Competitor(
                name,
                _above_zero(c["seconds"]),
                _above_zero(c["fastest_seconds"]),
                _quartiles(c["ratio"]),
                int(_above_zero(c["rounds"])),
                _limit(c["limit"]) if "limit" in c else None,
            )
            for name, c in race["competitors"].items()
        )
        if not competitors:
            raise ValueError(f"nothing was measured of {race['case']!r}")
        names = (str(race["subject"]), str(race["case"]), str(race["device"]))
        return cls(*names, bool(race["guarded"]), _limit(race["limit"]), competitors)


def _above_zero(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{value!r} in place of a number above 0")
    return value


def _quartiles(values: Any) -> tuple[float, float, float]:
    low, median, high = map(_above_zero, values)
    return low, median, high


def _limit(entries: dict[str, Any]) -> Limit:
    found = Limit(**entries)
    _above_zero(found.seconds)
    for value in (found.bytes, found.flop):
        _above_zero(value or 1)  # 0: nothing of the kind is needed
    if not (isinstance(found.set_by, str) and isinstance(found.dtype, str) and isinstance(found.formula, str)):
        raise ValueError("a limit whose formula, type or reason is no text")
    return found


def _rates(found: Any) -> dict[str, dict[str, float]]:
    """Of each device the copy bandwidth, and the FLOP/s of some types."""
    rates = {str(device): {str(k): _above_zero(v) for k, v in of.items()} for device, of in found.items()}
    if any("copy" not in of for of in rates.values()):
        raise ValueError("a device has no copy bandwidth")
    return rates


@dataclass(frozen=True)
class NotMeasured:
    """A benchmark without a number that holds, and why: skipped here, or `failed` (wrong, or a broken promise)."""

    subject: str
    name: str
    reason: str
    failed: bool


@dataclass(frozen=True)
class BenchRun:
    """One run of the suite on one machine: `facts` of the machine, `rates` of each device in bytes/s and FLOP/s."""

    label: str
    date: str
    facts: dict[str, str]
    rates: dict[str, dict[str, float]]
    cases: tuple[Case, ...]
    not_measured: tuple[NotMeasured, ...]

    @property
    def on_gpu(self) -> bool:
        """Whether it has a GPU's numbers."""
        return any(case.device == "cuda" for case in self.cases)


def read_report(path: Path) -> BenchRun:
    """Read what ``pytest bench --benchmark-json`` wrote.

    Raises:
        UserError: a file that is missing, no JSON, or not from this suite.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give a JSON of pytest-benchmark") from None
    except ValueError:
        raise UserError(
            f"{path} is no JSON; write one with pytest bench --benchmark-only --benchmark-json FILE"
        ) from None
    try:
        facts = dict(content["machine_info"]["glat"])
        rates = _rates(facts.pop("rates"))
        races = [race for entry in content["benchmarks"] for race in entry["extra_info"].get("races", ())]
        cases = tuple(Case.from_json(race) for race in races)
        for case in cases:
            if case.device not in rates or any(
                case.limit_of(c).dtype not in rates[case.device] for c in case.competitors
            ):
                raise ValueError(f"{case.name!r} ran on a device, or in a type, whose rates are not known")
        missing = tuple(NotMeasured(**entry) for entry in content["not_measured"])
        date = content["datetime"][:19].replace("T", " ")
        label = f"{facts['cpu'] if facts['gpu'] == 'none' else facts['gpu']}, commit {facts['commit']}"
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        found = f"{type(error).__name__} {error}"
        raise UserError(f"{path} is not from this project's bench/ ({found}); write one with make bench-json") from None
    return BenchRun(label, date, {name: str(value) for name, value in facts.items()}, rates, cases, missing)


def by_subject(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """Cases of each subject, in the order in which they ran."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(case.subject, []).append(case)
    return found


@dataclass(frozen=True)
class Compared:
    """One task in several reports: a case each, None where a report lacks it; `same_device` where all ran on one."""

    subject: str
    name: str
    cases: tuple[Case | None, ...]
    same_device: bool

    @property
    def first(self) -> Case:
        """The case that the others are set against."""
        return next(case for case in self.cases if case is not None)

    def ratio(self, case: Case) -> float:
        """Our time in `case` by that in the first."""
        return case.ours.seconds / self.first.ours.seconds


def compared(reports: Sequence[BenchRun]) -> tuple[list[Compared], list[list[str]]]:
    """Tasks that two reports or more have, and the names of those that one alone has, by report.

    A task is compared on each device that two reports measured it on; where there is none, across devices: a CPU's time
    beside a GPU's.
    """
    found: dict[tuple[str, str], list[dict[str, Case]]] = {}
    for i, report in enumerate(reports):
        for case in report.cases:
            key = (case.subject, case.name)
            found.setdefault(key, [{} for _ in reports])[i].setdefault(case.device, case)
    rows: list[Compared] = []
    alone: list[list[str]] = [[] for _ in reports]
    for (subject, name), by_report in found.items():
        having = [i for i, by_device in enumerate(by_report) if by_device]
        if len(having) == 1:
            alone[having[0]].append(f"{subject}: {name}")
            continue
        devices = dict.fromkeys(device for by_device in by_report for device in by_device)
        shared = [device for device in devices if sum(device in by_device for by_device in by_report) > 1]
        for device in shared:
            rows.append(Compared(subject, name, tuple(by_device.get(device) for by_device in by_report), True))
        if not shared:
            cases = tuple(by_device.get("cuda", next(iter(by_device.values()), None)) for by_device in by_report)
            rows.append(Compared(subject, name, cases, False))
    return rows, alone


def gaps(report: BenchRun, others: Sequence[BenchRun]) -> tuple[NotMeasured, ...]:
    """What has no number in a report; what needs a GPU is left out where a report beside it has a GPU's numbers."""
    if not any(other.on_gpu for other in others):
        return report.not_measured
    return tuple(gap for gap in report.not_measured if gap.failed or gap.reason != "no GPU")
