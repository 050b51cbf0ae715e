"""The `glat` commands, one file each: a frozen dataclass whose fields are the flags, and whose call does the work.

A call returns the exit status.
"""

from collections.abc import Callable

from .bench_report import BenchReport
from .doctor import Doctor
from .tag import Tag

COMMANDS: dict[str, Callable[..., Callable[[], int]]] = {"tag": Tag, "doctor": Doctor, "bench-report": BenchReport}
