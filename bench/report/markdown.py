"""Results as Markdown tables whose columns also line up in a terminal."""

from collections.abc import Mapping, Sequence

from .results import BenchRun, Case, Compared, Competitor, NotMeasured, by_subject, compared, gaps
from .units import amount, duration, three

LEGEND = (
    "Median time of interleaved calls; × the time of the first column that has one, with quartiles over the rounds; "
    "% of the limit reached, and the rate of what sets it. The limit is max(bytes / copy bandwidth, FLOP / GEMM or "
    "convolution rate), whichever of these two is faster, of this machine in this run."
)


def markdown(reports: Sequence[BenchRun]) -> str:
    """Everything that `page` shows, as Markdown."""
    if len(reports) == 1:  # its name is in the title, by which the pages of the site's menu are told apart
        lines = [f"# Benchmarks: {reports[0].label}", ""]
        headings = [f"Measured on {reports[0].date}"]
    else:
        lines = ["# Benchmarks", "", "## Compared", "", *comparison(reports), ""]
        headings = [f"{report.label}, {report.date}" for report in reports]
    for report, heading in zip(reports, headings, strict=True):
        lines += [f"## {heading}", "", facts_line(report.facts), ""]
        lines += ["`" + report.facts["command"] + "`", ""] if "command" in report.facts else []
        lines += [LEGEND, *tables(report.cases, gaps(report, reports), report.rates), ""]
    return "\n".join(lines).rstrip() + "\n"


def facts_line(facts: Mapping[str, str]) -> str:
    """The facts of a machine in one line."""
    return ", ".join(f"{name} {value}" for name, value in facts.items() if name != "command")


def tables(
    cases: Sequence[Case], not_measured: Sequence[NotMeasured], rates: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """The rates of the devices, a table for each subject, and what has no number, as lines."""
    lines = [""]
    for device, found in rates.items():
        products = ", ".join(f"{amount(x, 'FLOP/s')} {name}" for name, x in found.items() if name != "copy")
        copy = f"copy {amount(found['copy'], 'B/s')} (read and written)"
        lines.append(f"{device}: {copy}, GEMM or convolution {products}")
    subjects = by_subject(cases)
    for subject in dict.fromkeys([*subjects, *(item.subject for item in not_measured)]):
        lines += ["", f"### {subject}", ""]
        if subject in subjects:
            lines += [*_subject_table(subjects[subject]), *_formulas(subjects[subject])]
        missing = [item for item in not_measured if item.subject == subject]
        for what, reason in dict.fromkeys((gap(item), item.reason) for item in missing):
            names = [item.name for item in missing if (gap(item), item.reason) == (what, reason)]
            lines += ["", f"{what} ({reason}): {', '.join(names)}"]
    return lines


def gap(item: NotMeasured) -> str:
    """What to call a benchmark without a number."""
    return "Failed" if item.failed else "Not measured on this machine"


def cell(case: Case, competitor: Competitor) -> str:
    """``67.0 ms ×8.02 (7.9–8.3) 12 %, 3.10 GB/s``."""
    low, median, high = competitor.ratio
    text = duration(competitor.seconds)
    if competitor is not case.ours:
        text += f" ×{three(median)} ({three(low)}–{three(high)})"
    return f"{text} {reached(case, competitor)}, {rate(case, competitor)}"


def reached(case: Case, competitor: Competitor) -> str:
    """Of the limit of what it does, in percent."""
    percent = 100 * case.limit_of(competitor).seconds / competitor.seconds
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


def rate(case: Case, competitor: Competitor) -> str:
    """Bytes or FLOP a second, by what sets the limit."""
    limit = case.limit_of(competitor)
    if limit.set_by == "bytes":
        return amount(limit.bytes / competitor.seconds, "B/s")
    return amount(limit.flop / competitor.seconds, "FLOP/s")


def formulas(cases: Sequence[Case]) -> dict[str, list[str]]:
    """What was counted for the limits, with the cases, or the competitors of cases, that it was counted for."""
    shown: dict[str, list[str]] = {}
    for case in cases:
        shown.setdefault(case.limit.formula, []).append(title(case))
        for competitor in case.competitors:
            if competitor.own_limit is not None:
                shown.setdefault(competitor.own_limit.formula, []).append(f"{competitor.name} in {title(case)}")
    return shown


def title(case: Case) -> str:
    """The case, and the device where it is not all of the CPU."""
    return case.name if case.device == "cpu" else f"{case.name} ({case.device})"


def comparison(reports: Sequence[BenchRun]) -> list[str]:
    """Our times in every report, and their ratio to the first; below, what one report alone has."""
    letters = [chr(ord("A") + i) for i in range(len(reports))]
    lines = [f"{letter}: {report.label}, {report.date}  " for letter, report in zip(letters, reports, strict=True)]
    found, alone = compared(reports)
    if found:
        rows = [["subject", "case", *letters]]
        for row in found:
            name = f"{row.name}, {row.first.ours.name}" if row.same_device else row.name
            rows.append([row.subject, name, *(compared_cell(row, case) for case in row.cases)])
        lines += ["", *_table(rows), ""]
        lines.append(
            "× the time of the first column that has one. Runs one after the other: a busy machine shifts them. "
            "`make bench-compare` runs two commits in turn."
        )
    for letter, names in zip(letters, alone, strict=True):
        if names:
            lines += ["", f"In {letter} alone: {'; '.join(names)}"]
    return lines


def compared_cell(row: Compared, case: Case | None) -> str:
    """``50.3 µs ×0.0108 (Triton, cuda)``; the device where not all ran on the same."""
    if case is None:
        return "–"
    text = duration(case.ours.seconds)
    if case is not row.first:
        text += f" ×{three(row.ratio(case))}"
    return text if row.same_device else f"{text} ({case.ours.name}, {case.device})"


def columns(cases: Sequence[Case]) -> list[str]:
    """Names of the competitors, ours first."""
    names = [case.ours.name for case in cases]
    return list(dict.fromkeys([*names, *(c.name for case in cases for c in case.competitors)]))


def _subject_table(cases: Sequence[Case]) -> list[str]:
    names = columns(cases)
    rows = [["case", "limit", *names]]
    for case in cases:
        found = {c.name: cell(case, c) for c in case.competitors}
        limit = f"{duration(case.limit.seconds)} by {case.limit.set_by}"
        rows.append([title(case), limit, *(found.get(name, "–") for name in names)])
    return _table(rows)


def _formulas(cases: Sequence[Case]) -> list[str]:
    lines = ["", "Counted for the limit:", ""]
    for formula, names in formulas(cases).items():
        lines.append(f"- {'all' if names == [title(case) for case in cases] else ', '.join(names)}: {formula}")
    return lines


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]
