"""A roofline as inline SVG: measured rates over FLOP per byte, below the machine's limits."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from .results import Case
from .units import amount, duration, three

WIDTH, HEIGHT = 460.0, 330.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 446.0, 14.0, 286.0
NO_FLOP_X = LEFT + 22  # tasks that only move bytes have no place on a logarithmic axis


def roofline(cases: Sequence[Case], rates: Mapping[str, float]) -> str:
    """The picture of one device's cases: ours as numbered dots, competitors as small ones.

    ``copy_`` is no task of its own and is left out. The axes are logarithmic; the roof is flat at the copy bandwidth
    and falls where the GEMM or convolution rate of the cases' dtype sets the limit.
    """
    points = [
        (number, case, case.limit_of(competitor), competitor)
        for number, case in enumerate(cases, start=1)
        for competitor in case.competitors
        if competitor.name != "copy_"
    ]
    speeds = [limit.bytes / competitor.seconds for _, _, limit, competitor in points]
    bottom, top = _decades([*speeds, rates["copy"]])
    ridges = {case.limit.dtype: rates[case.limit.dtype] / rates["copy"] for case in cases}
    intensities = [limit.flop / limit.bytes for _, _, limit, _ in points if limit.flop]
    first, last = _decades([*intensities, *ridges.values()])

    def x(intensity: float) -> float:
        if intensity <= 0:
            return NO_FLOP_X
        share = (math.log10(intensity) - first) / (last - first)
        return LEFT + 44 + share * (RIGHT - LEFT - 44)

    def y(speed: float) -> float:
        share = (math.log10(speed) - bottom) / (top - bottom)
        return BOTTOM - share * (BOTTOM - TOP)

    parts = [f'<svg class="roofline" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="roofline">']
    for decade in range(bottom, top + 1):
        at = y(10.0**decade)
        parts.append(f'<line class="grid" x1="{LEFT:g}" x2="{RIGHT:g}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6:g}" y="{at + 4:.1f}" text-anchor="end">{amount(10.0**decade, "B/s")}</text>')
    for decade in range(first, last + 1):
        at = x(10.0**decade)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP:g}" y2="{BOTTOM:g}"/>')
        parts.append(f'<text x="{at:.1f}" y="{BOTTOM + 16:g}" text-anchor="middle">{10.0**decade:g}</text>')
    parts.append(f'<text x="{NO_FLOP_X:g}" y="{BOTTOM + 16:g}" text-anchor="middle">none</text>')
    middle = (LEFT + RIGHT) / 2
    parts.append(f'<text x="{middle:g}" y="{BOTTOM + 34:g}" text-anchor="middle">FLOP per byte that is needed</text>')
    for dtype, ridge in ridges.items():
        end = 10.0**last
        floor = rates[dtype] / end
        if floor < 10.0**bottom:
            end, floor = rates[dtype] / 10.0**bottom, 10.0**bottom
        corners = ((LEFT, y(rates["copy"])), (x(ridge), y(rates["copy"])), (x(end), y(floor)))
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
        parts.append(f'<polyline class="roof" points="{path}"><title>roof, {escape(dtype)}</title></polyline>')
    for (number, case, limit, competitor), speed in zip(points, speeds, strict=True):
        place = f'cx="{x(limit.flop / limit.bytes):.1f}" cy="{y(speed):.1f}"'
        share = 100 * limit.seconds / competitor.seconds
        title = (
            f"{number} {case.name}, {competitor.name}: {duration(competitor.seconds)}, {three(share)} % of the limit"
        )
        kind = ("ours", 5) if competitor is case.ours else ("other", 3)
        parts.append(f'<circle class="{kind[0]}" {place} r="{kind[1]}"><title>{escape(title)}</title></circle>')
    labels = [
        (x(case.limit.flop / case.limit.bytes), y(case.limit.bytes / case.ours.seconds), n)
        for n, case in enumerate(cases, start=1)
    ]
    for at_x, at_y, text in _spread(labels):
        parts.append(f'<text class="number" x="{at_x:.1f}" y="{at_y:.1f}">{escape(text)}</text>')
    return "".join([*parts, "</svg>"])


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Exponents of the powers of ten that enclose some values."""
    logs = [math.log10(value) for value in values if value > 0]
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    return low, max(high, low + 1)


def _spread(labels: Sequence[tuple[float, float, int]]) -> list[tuple[float, float, str]]:
    """Numbers beside their dots; those of dots that lie upon each other share a label."""
    groups: list[tuple[float, float, list[int]]] = []
    for x, y, number in sorted(labels):
        for gx, gy, numbers in groups:
            if abs(gx - x) < 14 and abs(gy - y) < 11:
                numbers.append(number)
                break
        else:
            groups.append((x, y, [number]))
    return [(x + 8, y + 4, _runs(sorted(numbers))) for x, y, numbers in groups]


def _runs(numbers: Sequence[int]) -> str:
    """``1–3, 7``."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}–{r[-1]}" for r in runs)
