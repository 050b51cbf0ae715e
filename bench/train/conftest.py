"""Clips per second and peak memory of a session's competitors, side by side."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

_lines = pytest.StashKey[list[str]]()


@pytest.fixture
def speed_and_memory(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Enter what a race of steps found into the table of this session and into the JSON."""

    def enter(
        case: str, clips: int, seconds: Mapping[str, float], peaks: Mapping[str, int], extra_info: dict[str, Any]
    ) -> None:
        lines = request.config.stash.setdefault(_lines, [])
        ours = next(iter(seconds))
        for name, time in seconds.items():
            rate, speed = f"{clips / time:10.2f} clips/s", f"{seconds[ours] / time:6.2f}x"
            memory = f"{peaks[name] / 1e6:10.0f} MB {peaks[name] / peaks[ours]:6.2f}x" if name in peaks else ""
            lines.append(f"{case:<34}{name:<18}{rate}{speed}{memory}")
        extra_info["peak_bytes"] = dict(peaks)

    return enter


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if lines := config.stash.get(_lines, []):
        terminalreporter.write_sep("=", "speed and the most memory that tensors hold, each by that of the first")
        for line in lines:
            terminalreporter.write_line(line)
