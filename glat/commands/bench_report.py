"""`glat bench-report`: the benchmarks' results as one page, or as Markdown."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .. import bench_report
from ..errors import UserError
from ..files import replaced, writing


@dataclass(frozen=True)
class BenchReport:
    """Show benchmark results: tables, rooflines, and several commits or machines side by side."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """JSON of ``pytest bench --benchmark-only --benchmark-json FILE``; the first is what others are compared with."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The page to write: one HTML file that loads nothing."""
    markdown: Path | None = None
    """Write the same as Markdown into this file."""

    def __call__(self) -> int:
        """Returns 0."""
        if not self.files:
            raise UserError("no results; give at least one JSON of pytest bench --benchmark-json FILE")
        reports = [bench_report.read_report(path) for path in self.files]
        if self.output is not None:
            _write(self.output, bench_report.page(reports))
        if self.markdown is not None:
            _write(self.markdown, bench_report.markdown(reports))
        if self.output is None and self.markdown is None:
            print(bench_report.markdown(reports), end="")
        return 0


def _write(path: Path, text: str) -> None:
    with writing(str(path)), replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
