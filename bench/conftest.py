"""Shared by the benchmarks: devices, competitors timed in turns, tables at the end, facts about the machine.

A benchmark first checks each competitor's result against the reference, then calls `race`. Benchmarks that are skipped
or fail are listed below the tables. A module's subject is its folder, or its ``SUBJECT``. ``make bench-compare`` times
the first competitor, which is ours, of benchmarks with the marker ``guarded``.
"""

import os
import platform
import shlex
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from glat.machine import versions

from .limits import ONE_THREAD, Work, measured_rates, threads
from .race import Race
from .timing import Competitors, HostTimer, interleaved, timer_for

_races = pytest.StashKey[list[Race]]()
_rates = pytest.StashKey[dict[str, dict[str, float]]]()
_facts = pytest.StashKey[dict[str, Any]]()
_not_measured = pytest.StashKey[list[dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("races")
    group.addoption("--race-seconds", type=float, default=2.0, help="time a race may take beyond its first four rounds")
    group.addoption("--only-ours", action="store_true", help="time the first competitor alone")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "guarded: `make bench-compare` fails when ours gets slower")
    config.stash[_races], config.stash[_rates], config.stash[_not_measured] = [], {}, []
    # Before anything has run: the load is that of other work, and the commit that of the code that is about to run.
    config.stash[_facts] = machine_facts() | {"load_average": f"{os.getloadavg()[0]:.1f}"}
    config.option.benchmark_quiet = True  # pytest-benchmark's own table has a row a test, and no competitors


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Each device type; where it is missing, the benchmark is named as not measured."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return str(request.param)


@pytest.fixture
def enter(request: pytest.FixtureRequest) -> Callable[..., Race]:
    """Enter seconds, by competitor and round, into the tables of this session."""
    config = request.config

    def enter(
        case: str,
        turns: dict[str, list[list[float]]],
        *,
        work: Work,
        device: str = "cpu",
        others: Mapping[str, Work] | None = None,
    ) -> Race:
        rates = config.stash[_rates].setdefault(device, {})
        with threads(1 if device == ONE_THREAD else config.stash[_facts]["torch_threads"]):
            for name, rate in measured_rates(device, budget_seconds=0.3).items():
                rates[name] = max(rate, rates.get(name, 0.0))  # the best of a session is the roof of all of it
        guarded = request.node.get_closest_marker("guarded") is not None
        found = Race(subject(request.node), case, device, turns, work, rates, others or {}, guarded)
        config.stash[_races].append(found)
        return found

    return enter


@pytest.fixture
def race(request: pytest.FixtureRequest, enter: Callable[..., Race]) -> Callable[..., Race]:
    """Let competitors race, and enter the result into the tables of this session.

    `clock` times by another clock than the device's; the rest as in `interleaved` and `Race`.
    """

    def start(
        case: str,
        competitors: Competitors,
        *,
        work: Work,
        device: str = "cpu",
        others: Mapping[str, Work] | None = None,
        outputs: Sequence[Tensor] = (),
        clock: Callable[[], float] | None = None,
    ) -> Race:
        if request.config.getoption("--only-ours"):
            competitors = dict(list(competitors.items())[:1])
        timer = HostTimer(clock) if clock is not None else timer_for(device)
        budget = request.config.getoption("--race-seconds")
        turns = interleaved(competitors, timer, budget_seconds=budget, outputs=outputs)
        return enter(case, turns, work=work, device=device, others=others)

    return start


def subject(item: pytest.Item) -> str:
    """The subject of a benchmark: its module's SUBJECT, else the folder that it lies in."""
    return str(getattr(getattr(item, "module", None), "SUBJECT", item.path.parent.name))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not report.passed:
        assert call.excinfo is not None
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else call.excinfo.exconly()
        reason = text.removeprefix("Skipped: ").splitlines()[0][:160]
        entry = {"subject": subject(item), "name": item.name, "reason": reason, "failed": report.failed}
        item.config.stash[_not_measured].append(entry)
    return report


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    arguments = [x for x in config.invocation_params.args if not str(x).startswith("--benchmark-json")]
    command = shlex.join(["pytest", *map(str, arguments)])
    machine_info["glat"] = config.stash[_facts] | {"command": command, "rates": config.stash[_rates]}


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    for race in config.stash[_races]:
        race.update_limit()
    output_json["not_measured"] = config.stash[_not_measured]


def machine_facts() -> dict[str, Any]:
    """What the times depend on: CPU, threads, GPU, driver, versions, commit."""
    on_gpu = torch.cuda.is_available()
    return {
        **versions(),
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if on_gpu else "none",
        "driver": _driver() if on_gpu else "none",
        "cuda": torch.version.cuda or torch.version.hip or "none",
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _driver() -> str:
    ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(ask, capture_output=True, check=True, text=True, timeout=10).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):  # ROCm's driver is the kernel's
        return "unknown"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    races, missing = config.stash[_races], config.stash[_not_measured]
    if (not races and not missing) or config.getoption("--only-ours"):
        return
    from bench.report import Case, NotMeasured, tables  # an older glat, which is timed alone, may be without it

    cases = [Case.from_json(race.to_json()) for race in races]
    write = terminalreporter.write_line
    terminalreporter.write_sep("=", "medians of interleaved runs, every result checked before it was timed")
    facts, rates = config.stash[_facts], config.stash[_rates]
    write(f"{facts['cpu']}, {facts['torch_threads']} threads, torch {facts['torch']}, commit {facts['commit']}")
    for line in tables(cases, [NotMeasured(**entry) for entry in missing], rates):
        write(line)
