"""The picture of what GL-AT heard in recordings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ..frontend import LogMel
from ..tagging import Tagged
from .style import COLOURS, plain, save, show_texts


def plot_tagged(tagged: Sequence[Tagged], path: Path) -> None:
    """Write what `draw_tagged` draws."""
    save(draw_tagged(tagged), path)


def draw_tagged(tagged: Sequence[Tagged]) -> Figure:
    """Draw recordings below each other: log-mel with the crops in it, and the frame scores of the best tags.

    Every crop is a frame in its class's colour, named where it starts; the lower panel shows how likely the frames
    make the tags, and where each crop's peak lies.
    """
    figure = Figure(figsize=(11, 5.2 * len(tagged)), layout="constrained")
    panels = figure.subplots(2 * len(tagged), 1, squeeze=False, height_ratios=[3, 2] * len(tagged))[:, 0]
    for i, item in enumerate(tagged):
        shown = list(dict.fromkeys([*(tag.label for tag in item.tags), *(crop.label for crop in item.crops)]))
        palette = COLOURS if len(shown) <= len(COLOURS) else tuple(to_hex(colormaps["tab20"](k)) for k in range(20))
        colours = {label: palette[k % len(palette)] for k, label in enumerate(shown)}
        _draw_spectrogram(panels[2 * i], item, colours)
        _draw_frames(panels[2 * i + 1], item, colours)
    show_texts(figure)
    return figure


def _draw_spectrogram(axes: Axes, item: Tagged, colours: dict[str, str]) -> None:
    log_mel = LogMel(item.sample_rate_hz, f_max_hz=min(14_000.0, item.sample_rate_hz / 2))
    wave = torch.from_numpy(item.wave)
    wave = torch.nn.functional.pad(wave, (0, max(0, log_mel.fft_samples - len(wave))))  # a click still shows
    with torch.inference_mode():
        db = log_mel(wave[None])[0].T.numpy()
    seconds = len(item.wave) / item.sample_rate_hz
    top = float(db.max())
    axes.imshow(
        db, origin="lower", aspect="auto", extent=(0, seconds, 0, db.shape[0]), vmin=top - 80, vmax=top, cmap="magma"
    )
    rows = item.crops_per_chunk
    for i, crop in enumerate(item.crops):
        # Crops of a chunk that lie on each other are told apart by their height.
        row = i % rows
        inset = 1 + 1.5 * row * min(1, 14 / rows)
        corners = [crop.start_seconds, crop.end_seconds], [inset, db.shape[0] - inset]
        (left, right), (low, high) = corners
        axes.plot(
            [left, right, right, left, left], [low, low, high, high, low], color=colours[crop.label], linewidth=1.8
        )
        axes.text(
            left + 0.01 * seconds,
            db.shape[0] * (0.94 - 0.8 * row / max(rows, 5)),
            f"{crop.label} {crop.peak:.2f}",
            parse_math=False,
            clip_on=True,
            color="white",
            fontsize=8,
            verticalalignment="top",
            bbox={"facecolor": colours[crop.label], "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
        )
    tags = ",  ".join(f"{tag.label} {tag.probability:.2f}" for tag in item.tags)
    axes.set_title(f"{item.file}:  {tags}", loc="left", fontsize=10, parse_math=False)
    axes.set(ylabel="mel bin", xlim=(0, seconds), ylim=(0, db.shape[0]))


def _draw_frames(axes: Axes, item: Tagged, colours: dict[str, str]) -> None:
    edges = np.append(item.frame_seconds, item.seconds)  # the last frame ends with the recording
    for label, probs in item.frame_probs.items():
        if label in colours:
            axes.stairs(probs, edges, color=colours[label], label=plain(label), baseline=None, linewidth=1.5)
    for crop in item.crops:
        axes.plot(crop.peak_seconds, crop.peak, marker="v", color=colours[crop.label], linestyle="none")
    axes.set(xlabel="seconds", ylabel="frame score", xlim=(0, len(item.wave) / item.sample_rate_hz))
    highest = max([0.1, *(float(np.max(p)) for p in item.frame_probs.values() if len(p))])
    axes.set_ylim(0, min(1.0, 1.1 * highest) if highest < 0.9 else 1.02)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.02), fontsize=7, frameon=False)
