"""Benchmark results read, set against each other, and shown: Markdown for a terminal or a review, one HTML page."""

from .markdown import markdown, tables
from .page import page
from .results import Case, Competitor, Limit, NotMeasured, Report, compared, read_report

__all__ = [
    "Case",
    "Competitor",
    "Limit",
    "NotMeasured",
    "Report",
    "compared",
    "markdown",
    "page",
    "read_report",
    "tables",
]
