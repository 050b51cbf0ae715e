"""Results as one HTML page that loads nothing."""

import math
from collections.abc import Sequence
from pathlib import Path

import jinja2

from .markdown import LEGEND, columns, compared_cell, formulas, gap, rate, reached, title
from .results import BenchRun, Case, Competitor, by_subject, compared, gaps
from .roofline import roofline
from .units import amount, duration, three

RATIOS = (0.1, 1000.0)  # what the strip of a ratio shows; beyond, it ends at its edge


def page(reports: Sequence[BenchRun]) -> str:
    """The page as text: a comparison where there are several reports, then each with its rooflines and tables."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"duration": duration, "amount": amount, "three": three}
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.render(
        reports=reports,
        letters=[chr(ord("A") + i) for i in range(len(reports))],
        legend=LEGEND,
        compared=compared(reports) if len(reports) > 1 else None,
        compared_cell=compared_cell,
        gaps=[gaps(report, reports) for report in reports],
        by_subject=by_subject,
        columns=columns,
        pick=_pick,
        reached=reached,
        rate=rate,
        formulas=formulas,
        title=title,
        gap=gap,
        rooflines=[_rooflines(report) for report in reports],
        strip=_strip,
    )


def _pick(case: Case, name: str) -> Competitor | None:
    return next((c for c in case.competitors if c.name == name), None)


def _rooflines(report: BenchRun) -> list[tuple[str, str, list[Case]]]:
    """Subject and device, the picture, and the cases in it, numbered as in the picture."""
    found = []
    for subject, cases in by_subject(report.cases).items():
        for device, rates in report.rates.items():
            shown = [case for case in cases if case.device == device]
            if shown:
                found.append((f"{subject}, {device}", roofline(shown, rates), shown))
    return found


def _strip(ratio: Sequence[float]) -> dict[str, float]:
    """Where quartiles and median of a ratio lie on a strip of a logarithmic axis, in percent of its width."""
    low, high = (math.log10(x) for x in RATIOS)
    low_x, x, high_x = (100 * (math.log10(min(max(r, RATIOS[0]), RATIOS[1])) - low) / (high - low) for r in ratio)
    return {"low": low_x, "median": x, "high": high_x, "one": -100 * low / (high - low)}
