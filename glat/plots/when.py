"""Pictures of event metrics: PSD-ROC curves and the scores of every class; the scores of runs side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MultipleLocator

from ..evaluation.events.report import EventReport
from ..evaluation.events.scores import EVIDENCE, METRICS, SHORT, EventScores
from .style import COLOURS, plain, save, tidy

MOST_BARS = 40  # up to so many classes all are drawn; of more, those with the most events
EVIDENCE_COLOURS = dict(zip(EVIDENCE, COLOURS, strict=False))


def plot_when(found: EventReport, path: Path) -> None:
    """Draw the curves that PSDS 1 and 2 are the areas of, and PSDS 1 of every class, by evidence."""
    classes = [k for k, events in enumerate(found.events) if events]
    shown = sorted(classes, key=lambda k: -found.events[k])[:MOST_BARS]
    shown.sort(key=lambda k: -found.class_scores["frames"]["PSDS1"][k])
    figure = Figure(figsize=(11, max(5.0, 1.6 + 0.32 * len(shown))), layout="constrained")
    curves, bars = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.25))[0]
    for axes, metric in zip(curves.subplots(2, 1, sharex=True), ("PSDS1", "PSDS2"), strict=True):
        _draw_curves(axes, found, metric)
    axes.set_xlabel("effective false positives an hour")
    _draw_classes(bars.subplots(), found, shown, len(classes))
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(EVIDENCE), frameon=False, fontsize=9)
    save(figure, path)


def draw_runs(figure: FigureBase, runs: Sequence[tuple[str, EventScores]]) -> None:
    """Draw the metrics that runs ended with, a panel a metric, by run and evidence."""
    panels = figure.subplots(1, len(SHORT), sharey=True, squeeze=False)[0]
    y, height = np.arange(len(runs), dtype=float), 0.8 / len(EVIDENCE)
    for axes, metric in zip(panels, SHORT, strict=True):
        for i, evidence in enumerate(EVIDENCE):
            values = [found.scores[evidence][metric] for _, found in runs]
            at = y + (i - 1) * height
            axes.barh(at, values, height, color=EVIDENCE_COLOURS[evidence], label=evidence)
            for each, value in zip(at, values, strict=True):
                axes.text(value, each, f" {value:.3f}", fontsize=7, va="center", color="0.3")
        tidy(axes)
        axes.grid(visible=False, axis="y")
        axes.set(xlim=(0, 1), ylim=(len(runs) - 0.4, -0.6))
        axes.xaxis.set_major_locator(MultipleLocator(0.5))
        axes.set_title(METRICS[metric], fontsize=10, loc="left")
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(y, [plain(name) for name, _ in runs], fontsize=8)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(EVIDENCE), frameon=False, fontsize=9)


def _draw_curves(axes: Axes, found: EventReport, metric: str) -> None:
    for evidence in EVIDENCE:
        at, rates = found.curves[evidence][metric]
        axes.plot(at, rates, color=EVIDENCE_COLOURS[evidence], drawstyle="steps-post", linewidth=1.5, label=evidence)
    tidy(axes)
    scores = ", ".join(f"{evidence} {found.scores[evidence][metric]:.3f}" for evidence in EVIDENCE)
    axes.set_title(f"{metric}: {scores}", fontsize=9, loc="left")
    axes.set(xlim=(0, 100), ylim=(0, 1), ylabel="effective true-positive ratio")


def _draw_classes(axes: Axes, found: EventReport, shown: list[int], known: int) -> None:
    y = np.arange(len(shown), dtype=float)
    height = 0.8 / len(EVIDENCE)
    for i, evidence in enumerate(EVIDENCE):
        values = found.class_scores[evidence]["PSDS1"][shown]
        axes.barh(y + (i - 1) * height, values, height, color=EVIDENCE_COLOURS[evidence])
    tidy(axes)
    axes.grid(visible=False, axis="y")
    labels = [found.classes[k] for k in shown]
    names = [label if len(label) <= 32 else label[:31] + "…" for label in labels]
    axes.set_yticks(y, [f"{plain(name)} ({found.events[k]})" for name, k in zip(names, shown, strict=True)], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, None), ylim=(len(shown) - 0.4, -0.6), xlabel="PSDS1 of the class (its number of events)")
    if len(shown) < known:
        axes.set_title(f"the {len(shown)} of {known} classes with the most events", fontsize=9, loc="left")
