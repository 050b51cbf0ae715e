"""The pictures of docs/study.md: learning curves against steps and compute, and the paper's Figure 2."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from glat.plots.style import COLOURS, STREAM_COLOURS, save, tidy

from .page import ROWS, figure2_rows, figure2_seeds, figure2_values
from .plan import SETTINGS

Summary = Mapping[str, Any]
Floats = NDArray[np.float64]
GREY = "#777777"


def draw(summary: Summary, folder: Path) -> None:
    """Write curves.png and figure2.png; without a run to draw there is none."""
    for name, draw_one in (("curves.png", _curves), ("figure2.png", _figure2)):
        (folder / name).unlink(missing_ok=True)
        draw_one(summary, folder / name)


def _curves(s: Summary, path: Path) -> None:
    settings = [name for name in SETTINGS if f"{name}alone/global" in s["rows"]]
    if not settings:
        return
    figure = Figure(figsize=(10, 3.6 * len(settings)), layout="constrained")
    panels = figure.subplots(len(settings), 2, squeeze=False)
    for axes, prefix in zip(panels, settings, strict=True):
        lines = {
            "alone": (f"{prefix}alone", "global", "black", "-"),
            "alone, longer": (f"{prefix}longer", "global", GREY, "--"),
            "GL-AT, global": (f"{prefix}glat", "global", STREAM_COLOURS["global"], ":"),
            "GL-AT, local": (f"{prefix}glat", "local", STREAM_COLOURS["local"], "-"),
            "GL-AT, fused": (f"{prefix}glat", "fused", STREAM_COLOURS["fused"], "-"),
            "shared weights, fused": (f"{prefix}shared", "fused", COLOURS[3], "-"),
            "crops pooled by max, fused": (f"{prefix}pool-max", "fused", COLOURS[4], "-"),
        }
        for label, (row, stream, colour, style) in lines.items():
            found = _curve(s, row, stream)
            if found is None:
                continue
            steps, mean, spread = found
            gflop = s["costs"][row if stream != "global" else f"{prefix}alone"]["gflop"]
            compute = 3 * gflop * s["scale"]["batch_size"] * steps / 1e3
            for panel, x in zip(axes, (steps, compute), strict=True):
                panel.plot(x, mean, color=colour, linestyle=style, linewidth=1.5, label=label)
                panel.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.12, linewidth=0)
        for panel, label in zip(axes, ("steps", "training compute, TFLOP"), strict=True):
            tidy(panel)
            panel.set(xlabel=label, ylabel="mAP")
        axes[0].set_title(SETTINGS[prefix], fontsize=10, loc="left")
        axes[1].sharey(axes[0])
        axes[1].legend(frameon=False, fontsize=8, loc="lower right")
    save(figure, path)


def _curve(s: Summary, row: str, stream: str) -> tuple[Floats, Floats, Floats] | None:
    """Steps, mean mAP over seeds and its standard deviation; None where there is no run."""
    runs = [run["curve"] for run in s["runs"] if run["curve"] and row in run["curve"][0]["mAP"]]
    if not runs:
        return None
    values = np.array([[point["mAP"][row][stream] for point in curve] for curve in runs])
    steps = np.array([point["step"] for point in runs[0]], float)
    return steps, values.mean(0), values.std(0, ddof=1) if len(values) > 1 else np.zeros(len(steps))


def _figure2(s: Summary, path: Path) -> None:
    rows = [row for row in figure2_rows() if f"{row.name}/fused" in s["rows"]]
    seeds = figure2_seeds(s)
    if not seeds or len(rows) < 2:
        return
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, value, fixed, label, chosen, said in (
        (panels[0], "num_crops", "crop_seconds", "number of crops N, τ = 3 s", 5, " in the paper: saturated"),
        (panels[1], "crop_seconds", "num_crops", "length of a crop τ in seconds, N = 5", 3, " in the paper: the peak"),
    ):
        same = sorted(
            (row for row in rows if getattr(row, fixed) == getattr(ROWS["glat"], fixed)),
            key=lambda row: getattr(row, value),
        )
        x = [getattr(row, value) for row in same]
        for stream, colour in STREAM_COLOURS.items():
            values = [list(figure2_values(s, row.name, stream, seeds).values()) for row in same]
            axes.plot(x, np.mean(values, axis=1), color=colour, marker="o", markersize=4, linewidth=1.5, label=stream)
            if len(seeds) > 1:
                axes.plot(x, values, color=colour, marker="o", markersize=2, linewidth=0, alpha=0.4)
        axes.axvline(chosen, color=GREY, linewidth=1, linestyle=":", zorder=0)
        axes.annotate(said, (chosen, 0.02), xycoords=("data", "axes fraction"), fontsize=8, color=GREY)
        tidy(axes)
        axes.set_xticks(x, [f"{each:g}" for each in x])
        axes.set(xlabel=label)
    panels[0].set_ylabel("mAP")
    panels[0].legend(frameon=False, fontsize=9)
    save(figure, path)
