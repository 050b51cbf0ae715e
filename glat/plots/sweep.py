"""The paper's Figure 2: mAP against the number of crops, and against their length."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import STREAM_COLOURS, save, tidy

Point = tuple[int, float]  # N, crop seconds
Scores = Mapping[str, tuple[float, float]]  # by stream: the mean over seeds, and the standard deviation


def plot_sweep(found: Mapping[Point, Scores], path: Path) -> None:
    """Draw mAP against N at the best length, against the length at the best N, and the fused mAP of every pair."""
    best = max(found, key=lambda point: found[point]["fused"][0])
    whole = len({n for n, _ in found}) > 1 and len({t for _, t in found}) > 1
    figure = Figure(figsize=(11.5 if whole else 8, 3.6), layout="constrained")
    panels = figure.subplots(1, 3 if whole else 2, width_ratios=[3, 3, 2.6][: 3 if whole else 2])
    for axes, along, label, fixed in (
        (panels[0], 0, "number of crops N", f"τ = {best[1]:g} s"),
        (panels[1], 1, "length of a crop τ, seconds", f"N = {best[0]}"),
    ):
        points = sorted(point for point in found if point[1 - along] == best[1 - along])
        x = [point[along] for point in points]
        for stream, colour in STREAM_COLOURS.items():
            mean, spread = np.array([found[point][stream] for point in points]).T
            axes.plot(x, mean, color=colour, marker="o", markersize=4, linewidth=1.5, label=stream)
            if spread.any():
                axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
        tidy(axes)
        axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.set(xlabel=label, ylabel="mAP")
        axes.set_title(fixed, fontsize=10, loc="left")
    panels[1].sharey(panels[0])
    panels[0].legend(frameon=False, fontsize=9)
    if whole:
        _draw_table(panels[2], found, best)
    save(figure, path)


def _draw_table(axes: Axes, found: Mapping[Point, Scores], best: Point) -> None:
    counts, lengths = sorted({n for n, _ in found}), sorted({t for _, t in found})
    table = np.array([[found[n, t]["fused"][0] if (n, t) in found else np.nan for t in lengths] for n in counts])
    axes.imshow(table, cmap="viridis", aspect="auto", origin="lower")
    middle = (np.nanmin(table) + np.nanmax(table)) / 2
    for row, n in enumerate(counts):
        for column, t in enumerate(lengths):
            if (n, t) in found:
                value = table[row, column]
                axes.text(
                    column,
                    row,
                    f"{value:.3f}".removeprefix("0"),
                    ha="center",
                    va="center",
                    fontsize=8,
                    fontweight="bold" if (n, t) == best else "normal",
                    color="white" if value < middle else "black",
                )
    axes.set_xticks(range(len(lengths)), [f"{t:g}" for t in lengths])
    axes.set_yticks(range(len(counts)), [f"{n:g}" for n in counts])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set(xlabel="τ, seconds", ylabel="N")
    axes.set_title("fused mAP", fontsize=10, loc="left")
