"""``python -m bench.report``: benchmark results as one page, or as Markdown."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from glat.cli import reporting_user_errors
from glat.errors import UserError
from glat.files import replaced, writing

from . import markdown, page, read_report


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
        reports = [read_report(path) for path in self.files]
        if self.output is not None:
            _write(self.output, page(reports))
        if self.markdown is not None:
            _write(self.markdown, markdown(reports))
        if self.output is None and self.markdown is None:
            print(markdown(reports), end="")
        return 0


def _write(path: Path, text: str) -> None:
    with writing(str(path)), replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def main() -> None:
    """Entry point."""
    with reporting_user_errors():
        command = tyro.cli(BenchReport, prog="python -m bench.report", config=(tyro.conf.OmitArgPrefixes,))
        sys.exit(command())


if __name__ == "__main__":
    main()
