"""``python -m bench.report``: benchmark results as one page, or as Markdown."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from glat.cli import reporting_user_errors
from glat.errors import UserError
from glat.flags import parse
from glat.outputs import Kind, Output

from . import markdown, page, read_report

_PAGE = Kind("a page of the benchmarks", begins="<!doctype html>", holds=b"<title>glat benchmarks</title>")
_MARKDOWN = Kind("a page of the benchmarks", begins="# Benchmarks(: .*)?\n")


@dataclass(frozen=True)
class ReportCommand:
    """Show benchmark results: tables, rooflines, and several commits or machines side by side."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """JSON of ``pytest bench --benchmark-only --benchmark-json FILE``; the first is what others are compared with."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """The page to write: one HTML file that loads nothing."""
    markdown: Path | None = None
    """Write the same as Markdown into this file."""
    overwrite: bool = False
    """Replace a file that is not a result of this command, too."""

    def __call__(self) -> int:
        """Returns 0."""
        if not self.files:
            raise UserError("no results; give at least one JSON of pytest bench --benchmark-json FILE")
        html, text = (
            None if path is None else Output(flag, path, kind, self.files, self.overwrite)
            for flag, path, kind in (("--output", self.output, _PAGE), ("--markdown", self.markdown, _MARKDOWN))
        )
        reports = [read_report(path) for path in self.files]
        if html is not None:
            _write(html, page(reports))
        if text is not None:
            _write(text, markdown(reports))
        if html is None and text is None:
            print(markdown(reports), end="")
        return 0


def _write(output: Output, text: str) -> None:
    with output.replaced() as temporary:
        temporary.write_text(text, encoding="utf-8")


def main() -> None:
    """Entry point."""
    with reporting_user_errors():
        command = parse(ReportCommand, sys.argv[1:], "python -m bench.report")
        sys.exit(command())


if __name__ == "__main__":
    main()
