"""Read, compare and show benchmark results: Markdown for a terminal or a review, or one HTML page."""

from .markdown import markdown, tables
from .page import page
from .results import BenchRun, Case, Compared, Competitor, Limit, NotMeasured, compared, read_report

__all__ = [
    "BenchRun",
    "Case",
    "Compared",
    "Competitor",
    "Limit",
    "NotMeasured",
    "compared",
    "markdown",
    "page",
    "read_report",
    "tables",
]
