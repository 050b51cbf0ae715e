"""Pictures of runs: curves, classes, where crops start, and how well they know when a class sounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator
from numpy.typing import NDArray

from ..evaluation.events.scores import event_scores
from ..runs.folder import open_run, read_metrics
from ..runs.results import read_evaluation
from .style import COLOURS, STREAM_COLOURS, plain, save, tidy
from .when import draw_runs

LINES: dict[str, Any] = {"total": "-", "fused": "-", "global": "--", "local": ":"}
PARTS = ("curves", "classes", "crop_starts", "when")  # the pictures of `plot_runs`
ALL_LINES = 3  # up to so many runs every stream is drawn; of more, the total loss and the fused mAP only
MOST_BARS = 40  # up to so many classes all are drawn; of more, those with the largest gains and losses

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recorded:
    """What can be drawn of a run, finished or not."""

    name: str
    metrics: list[dict[str, Any]]
    batch_size: int
    evaluation: dict[str, Any] | None  # None while the run is not finished
    damage: tuple[str, ...] = ()  # to its metrics, one line each

    @classmethod
    def of(cls, folder: Path, name: str | None = None) -> "Recorded":
        """Read a folder.

        Args:
            name: what the run is called in the pictures; None: as its folder.

        Raises:
            UserError: the folder holds no run, or a damaged one.
        """
        config = open_run(folder).config
        # A run records its batch size from the start.
        metrics, batch_size = read_metrics(folder), config.optim.batch_size or 1
        return cls(name or folder.resolve().name, metrics.rows, batch_size, read_evaluation(folder), metrics.damage)

    def series(self, key: str) -> tuple[Floats, Floats]:
        """Steps and values of one entry of the metrics."""
        rows = [(row["step"], row[key]) for row in self.metrics if row.get(key) is not None]
        steps, values = np.array(rows, float).reshape(-1, 2).T
        return steps, values

    def minutes(self, steps: Floats) -> Floats:
        """Training time up to the given steps in minutes, without evaluations and checkpoints."""
        at, rates = self.series("clips_per_second")
        spent = np.diff(at, prepend=0) * self.batch_size / np.maximum(rates, 1e-9) / 60
        return np.interp(steps, np.append(0, at), np.append(0, spent.cumsum()))

    def missing(self) -> list[str]:
        """What cannot be drawn, and why."""
        lines = list(self.damage)
        if self.evaluation is None:
            return [
                *lines,
                f"{self.name} has no evaluation.json: it has not ended; no classes and no crop starts of it",
            ]
        if not _gains(self)[0]:
            lines.append(f"{self.name} has no class with both a clip of it and one without: no classes of it are drawn")
        if not self.evaluation.get("crop_starts"):
            lines.append(f"{self.name} was evaluated by a glat that kept no crop starts; none are drawn")
        return lines


def plot_curves(runs: Sequence[Recorded], path: Path) -> None:
    """Draw losses and mAP against steps and against the time spent training."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    _draw_curves(figure, runs)
    save(figure, path)


def plot_runs(runs: Sequence[Recorded], out: Path) -> list[Path]:
    """Draw the curves, the classes, the crop starts and the event metrics of runs.

    Args:
        out: a folder for curves.png, classes.png, crop_starts.png and when.png; or one file for all, by its suffix.

    Returns:
        The files written; all but the curves need an evaluated run, when.png one that was scored on known times.
    """
    parts = [("curves", (9.0, 6.0), _draw_curves, runs)]
    evaluated = [run for run in runs if run.evaluation is not None and _gains(run)[0]]
    if evaluated:
        rows = max(len(_gains(run)[0][:MOST_BARS]) for run in evaluated)
        parts.append(("classes", (max(7.0, 5.5 * len(evaluated)), 1.8 + 0.24 * rows), _draw_classes, evaluated))
    heard = [run for run in runs if run.evaluation and run.evaluation.get("crop_starts")]
    if heard:
        parts.append(("crop_starts", (8.0, 0.8 + 2.1 * len(heard)), _draw_crop_starts, heard))
    scored = [run for run in runs if run.evaluation and "events" in run.evaluation]
    if scored:
        parts.append(("when", (10.0, 1.3 + 0.55 * len(scored)), _draw_when, scored))
    if out.suffix and not out.is_dir():
        width, heights = max(size[0] for _, size, _, _ in parts), [size[1] for _, size, _, _ in parts]
        whole = Figure(figsize=(width, sum(heights)), layout="constrained")
        for panel, (_, _, draw, which) in zip(
            whole.subfigures(len(parts), 1, squeeze=False, height_ratios=heights)[:, 0], parts, strict=True
        ):
            draw(panel, which)
        save(whole, out)
        return [out]
    written = []
    for name, size, draw, which in parts:
        figure = Figure(figsize=size, layout="constrained")
        draw(figure, which)
        save(figure, out / f"{name}.png")
        written.append(out / f"{name}.png")
    return written


def _draw_curves(figure: FigureBase, runs: Sequence[Recorded]) -> None:
    panels = figure.subplots(2, 2, sharex="col", sharey="row", squeeze=False)
    palette = COLOURS if len(runs) <= len(COLOURS) else tuple(to_hex(colormaps["tab20"](k)) for k in range(20))
    streams = ("global", "local") if len(runs) <= ALL_LINES else ()
    for row, (first, prefix) in enumerate((("total", "loss"), ("fused", "mAP"))):
        for i, run in enumerate(runs):
            for line in (first, *streams):
                steps, values = run.series(prefix if line == "total" else f"{prefix}_{line}")
                if len(runs) == 1:
                    look = {"color": STREAM_COLOURS.get(line, "black")}
                else:
                    look = {"color": palette[i % len(palette)], "linestyle": LINES[line]}
                for axes, x in zip(panels[row], (steps, run.minutes(steps)), strict=True):
                    _draw_line(axes, x, values, look, marked=prefix == "mAP")
    for axes in panels.flat:
        tidy(axes)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=axes in panels[:, 0]))
    panels[0, 0].set_ylabel("training loss")
    panels[1, 0].set_ylabel("mAP of the evaluation clips")
    panels[1, 0].set_xlabel("step")
    panels[1, 1].set_xlabel("minutes of training")
    for axes in panels[:, 0]:
        axes.set_ylim(bottom=0)
    _add_legend(figure, panels, runs, palette, streams)


def _draw_line(axes: Axes, x: Floats, values: Floats, look: dict[str, Any], marked: bool) -> None:
    """Draw a line; many noisy values are drawn faintly, with their running mean on top."""
    if marked:
        axes.plot(x, values, **look, linewidth=1.5, marker="o" if len(x) <= 30 else "", markersize=3.5)
        return
    width = len(values) // 25
    smooth = width >= 4
    axes.plot(x, values, **look, linewidth=0.8 if smooth else 1.5, alpha=0.3 if smooth else 1.0)
    if smooth:
        padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
        axes.plot(x, np.convolve(padded, np.ones(width) / width, mode="valid"), **look, linewidth=1.5)


def _add_legend(
    figure: FigureBase, panels: Any, runs: Sequence[Recorded], palette: Sequence[str], streams: Sequence[str]
) -> None:
    if len(runs) == 1:
        for axes, names in zip(panels[:, 1], (("total", *streams), ("fused", *streams)), strict=True):
            handles = [Line2D([], [], color=STREAM_COLOURS.get(name, "black"), label=name) for name in names]
            axes.legend(handles=handles, frameon=False, fontsize=9)
        figure.suptitle(runs[0].name, fontsize=11, parse_math=False)
        return
    handles = [Line2D([], [], color=palette[i % len(palette)], label=plain(run.name)) for i, run in enumerate(runs)]
    if streams:
        kinds = {"total, fused": "-"} | {name: LINES[name] for name in streams}
        handles += [Line2D([], [], color="0.4", linestyle=line, label=name) for name, line in kinds.items()]
    else:
        panels[0, 0].set_ylabel("training loss, total")
        panels[1, 0].set_ylabel("mAP, fused")
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)


def _gains(run: Recorded) -> tuple[list[str], Floats, Floats]:
    """Classes by the gain of fusion, largest first, and the AP [L] of the global stream and of the fusion."""
    assert run.evaluation is not None
    of_global, of_fused = (run.evaluation["streams"][stream]["ap"] for stream in ("global", "fused"))
    classes = sorted(of_fused, key=lambda label: of_global[label] - of_fused[label])
    before, after = (np.array([table[label] for label in classes]) for table in (of_global, of_fused))
    return classes, before, after


def _draw_classes(figure: FigureBase, runs: Sequence[Recorded]) -> None:
    """Two bars per class: AP of the global stream and of the fusion."""
    for axes, run in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs, strict=True):
        classes, before, after = _gains(run)
        gained = int((after > before).sum())
        shown = list(range(len(classes)))
        title = f"{run.name}: fusion gains in {gained} of {len(classes)} classes"
        if len(classes) > MOST_BARS:
            shown = [*shown[: MOST_BARS // 2], *shown[-MOST_BARS // 2 :]]
            title += f"\nthe {MOST_BARS // 2} largest gains and the {MOST_BARS // 2} largest losses"
        y = np.arange(len(shown), dtype=float)
        y[len(shown) // 2 :] += len(classes) > len(shown)  # a gap where classes are left out
        for offset, stream, values in ((-0.2, "global", before), (0.2, "fused", after)):
            axes.barh(y + offset, values[shown], height=0.4, color=STREAM_COLOURS[stream], label=stream)
        for at, k in zip(y, shown, strict=True):
            text = f"{after[k] - before[k]:+.3f}"
            axes.text(max(before[k], after[k]) + 0.01, at, text, fontsize=7, va="center", color="0.3")
        tidy(axes)
        axes.grid(visible=False, axis="y")
        names = [label if len(label) <= 32 else label[:31] + "…" for label in (classes[k] for k in shown)]
        axes.set_yticks(y, [plain(name) for name in names], fontsize=8)
        axes.tick_params(axis="y", length=0)
        axes.set(xlim=(0, 1.08), ylim=(y[-1] + 0.7, -0.7), xlabel="AP")
        axes.xaxis.set_major_locator(MultipleLocator(0.2))
        axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=2, frameon=False, fontsize=9)


def _draw_when(figure: FigureBase, runs: Sequence[Recorded]) -> None:
    draw_runs(figure, [(run.name, event_scores(run.evaluation["events"])) for run in runs if run.evaluation])


def _draw_crop_starts(figure: FigureBase, runs: Sequence[Recorded]) -> None:
    """Histograms of crop starts, for crops of present classes and for the others."""
    panels = figure.subplots(len(runs), 1, squeeze=False)[:, 0]
    for axes, run in zip(panels, runs, strict=True):
        assert run.evaluation is not None
        found = run.evaluation["crop_starts"]
        width, last = found["bin_seconds"], found["clip_seconds"] - found["crop_seconds"]
        left = width * np.arange(len(found["present"]))
        total = max(1, sum(found["present"]) + sum(found["absent"]))
        below: Floats = np.zeros(len(left))
        for which, colour, label in (
            ("present", STREAM_COLOURS["fused"], "of a class that is present"),
            ("absent", "0.75", "of another class"),
        ):
            share = 100 * np.array(found[which]) / total
            axes.bar(left, share, width, below, align="edge", color=colour, label=label, edgecolor="white", lw=0.3)
            below = below + share
        tidy(axes)
        axes.set(xlim=(-0.01 * last, max(last, width) + width), ylabel="% of crops")
        axes.axvline(last, color="0.4", linewidth=0.8, linestyle="--")
        text = f"{run.name}: {total} crops of {found['crop_seconds']:g} s in clips of {found['clip_seconds']:g} s"
        axes.set_title(text, fontsize=10, loc="left", parse_math=False)
    panels[0].legend(frameon=False, fontsize=9)
    panels[-1].set_xlabel("start in the clip, seconds (dashed: the last that fits a whole clip)")
