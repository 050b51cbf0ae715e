"""The picture of what was heard in recordings: crops in a spectrogram, or, of long ones, classes by time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from ..tagging.frames import Frames, Pooled
from ..tagging.hearing import Heard
from ..tagging.tags import Crop, Tags
from ..tagging.windows import Grid, Window
from .spectrogram import draw_spectrogram
from .style import COLOURS, plain, save, show_texts

LONGEST_SECONDS = 120.0  # of a spectrogram that can be read
_COLUMNS = 2400  # of a heat map at most, and frames of two minutes at least
_CLASSES = 12  # rows of a heat map


class Sketch:
    """Gathers what the picture of one recording is drawn from; of a long one its memory does not grow.

    Give `frames` and the sketch itself to a `Recording` as its sinks.
    """

    def __init__(self, grid: Grid) -> None:
        self._longest = LONGEST_SECONDS * grid.sample_rate_hz
        self._parts: list[tuple[int, NDArray[np.float32]]] | None = []
        self._pooled = Pooled(_COLUMNS)

    def __call__(self, window: Window, heard: Heard, row: int, crops: list[Crop]) -> None:
        """See `WindowSink`."""
        if window.offset > self._longest:
            self._parts = None
        if self._parts is not None:
            self._parts.append((window.offset, window.wave[: window.valid]))

    def frames(self, frames: Frames) -> None:
        """Take the next frames."""
        self._pooled.add(frames)

    def done(self, tags: Tags, top: int) -> "Drawn":
        """What is drawn: the recording with its `top` likeliest tags."""
        rate = tags.grid.sample_rate_hz
        wave = None
        if self._parts is not None and tags.seconds <= LONGEST_SECONDS:
            wave = np.zeros(max(offset + len(part) for offset, part in self._parts), np.float32)
            for offset, part in self._parts:
                wave[offset : offset + len(part)] = part
        return Drawn(tags, top, wave, rate, self._pooled.probs(), self._pooled.frames_a_row * tags.grid.frame_seconds)


@dataclass(frozen=True)
class Drawn:
    """A recording to draw."""

    tags: Tags
    top: int
    wave: NDArray[np.float32] | None  # [S]; None of a long recording
    sample_rate_hz: int
    probs: NDArray[np.float32]  # [R, L], frame probabilities
    row_seconds: float  # from one row to the next


def drawn(tags: Tags, name: str, wave: NDArray[np.float32], top: int) -> Drawn:
    """A recording of this name that was tagged from an array [S] at the model's rate."""
    tags = replace(tags, file=name)
    return Drawn(tags, top, wave, tags.grid.sample_rate_hz, tags.frames.probs, tags.grid.frame_seconds)


def plot_tagged(items: Sequence[Drawn], path: Path) -> None:
    """Write what `draw_tagged` draws."""
    save(draw_tagged(items), path)


def draw_tagged(items: Sequence[Drawn]) -> Figure:
    """Draw recordings below each other.

    Of up to two minutes: the log-mel spectrogram with the crops in it, each a frame in its class's colour; below, the
    frame probabilities of the tags, with the peaks that the crops were cut around. Of several windows only crops whose
    peak is above its class's threshold are drawn. Longer recordings are a heat map of the likeliest classes by time.
    """
    short = [item.wave is not None for item in items]
    heights = [height for is_short in short for height in ([3.1, 2.1] if is_short else [4.2])]
    figure = Figure(figsize=(11, sum(heights)), layout="constrained")
    panels = iter(figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    for item, is_short in zip(items, short, strict=True):
        if not is_short:
            _draw_heat(figure, next(panels), item)
            continue
        crops = _shown_crops(item.tags)
        shown = list(dict.fromkeys([*(tag.label for tag in item.tags.top(item.top)), *(c.label for c in crops)]))
        palette = COLOURS if len(shown) <= len(COLOURS) else tuple(to_hex(colormaps["tab20"](k)) for k in range(20))
        colours = {label: palette[k % len(palette)] for k, label in enumerate(shown)}
        _draw_crops(next(panels), item, crops, colours)
        _draw_frames(next(panels), item, crops, colours)
    show_texts(figure)
    return figure


def _shown_crops(tags: Tags) -> list[Crop]:
    """All crops of one window; of several those above their threshold, and of two that overlap the higher one."""
    if len(tags.crops) <= tags.crops_per_window:
        return list(tags.crops)
    limits = dict(zip(tags.classes, tags.default_thresholds.tolist(), strict=True))
    shown: list[Crop] = []
    for crop in sorted(tags.crops, key=lambda c: (-c.peak, c.start_seconds)):
        taken = any(c.label == crop.label and abs(c.peak_seconds - crop.peak_seconds) < 1 for c in shown)
        if crop.peak >= limits[crop.label] and not taken:
            shown.append(crop)
    return sorted(shown, key=lambda c: c.start_seconds)


def _draw_crops(axes: Axes, item: Drawn, crops: list[Crop], colours: dict[str, str]) -> None:
    assert item.wave is not None
    draw_spectrogram(axes, item.wave, item.sample_rate_hz)
    seconds, height = item.tags.seconds, axes.get_ylim()[1]
    rows = max(item.tags.crops_per_window, 5)
    for i, crop in enumerate(crops):
        # Crops that lie on each other are told apart by their height.
        row = i % rows
        inset = 1 + 1.5 * row * min(1, 14 / rows)
        (left, right), (low, high) = [crop.start_seconds, crop.end_seconds], [inset, height - inset]
        axes.plot(
            [left, right, right, left, left], [low, low, high, high, low], color=colours[crop.label], linewidth=1.6
        )
        axes.text(
            left + 0.004 * seconds,
            height * (0.95 - 0.17 * row * 5 / rows),
            f"{crop.label} {crop.peak:.2f}",
            parse_math=False,
            clip_on=True,
            color="white",
            fontsize=8 if seconds <= 30 else 6.5,
            verticalalignment="top",
            bbox={"facecolor": colours[crop.label], "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
        )
    _title(axes, item)


def _draw_frames(axes: Axes, item: Drawn, crops: list[Crop], colours: dict[str, str]) -> None:
    seconds = item.tags.seconds
    edges = np.minimum(np.arange(len(item.probs) + 1) * item.row_seconds, seconds)
    column = {label: k for k, label in enumerate(item.tags.classes)}
    for label, colour in colours.items():
        values = item.probs[:, column[label]]
        axes.stairs(values, edges, color=colour, label=plain(label), baseline=None, linewidth=1.5)
    for crop in crops:
        axes.plot(crop.peak_seconds, crop.peak, marker="v", color=colours[crop.label], linestyle="none")
    axes.set(xlabel="seconds", ylabel="frame probability", xlim=(0, seconds))
    highest = max([0.1, *(float(item.probs[:, column[label]].max()) for label in colours)])
    axes.set_ylim(0, min(1.0, 1.1 * highest) if highest < 0.9 else 1.02)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.02), fontsize=8, frameon=False)


def _draw_heat(figure: Figure, axes: Axes, item: Drawn) -> None:
    limits = item.tags.default_thresholds
    highest = item.probs.max(axis=0)
    ranked = np.argsort(-highest, kind="stable")[:_CLASSES]
    above = [k for k in ranked.tolist() if highest[k] >= limits[k]]
    rows = above if len(above) >= 3 else ranked[: max(3, item.top)].tolist()
    # A row of pixels a class: what is narrower than a pixel still shows, as the columns hold maxima.
    picture = axes.imshow(
        item.probs[:, rows].T,
        aspect="auto",
        interpolation="nearest",
        extent=(0, len(item.probs) * item.row_seconds, len(rows) - 0.5, -0.5),
        vmin=0,
        vmax=1,
        cmap="magma",
    )
    axes.set_yticks(range(len(rows)), [plain(item.tags.classes[k]) for k in rows])
    hours = item.tags.seconds >= 3600
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds, hours)))
    axes.set(xlabel="h:mm:ss" if hours else "min:s", xlim=(0, item.tags.seconds))
    figure.colorbar(picture, ax=axes, label="frame probability", pad=0.01, aspect=30)
    _title(axes, item)


def _clock(seconds: float, hours: bool) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _title(axes: Axes, item: Drawn) -> None:
    tags = ",  ".join(f"{tag.label} {tag.probability:.2f}" for tag in item.tags.top(item.top))
    axes.set_title(f"{item.tags.file}:  {tags}", loc="left", fontsize=10, parse_math=False)
