"""One recording while it is heard: what its windows said, gathered without keeping them."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..sharpening import EventsBy, sharpened
from .events import EventFinder, EventRules, TaggedEvent
from .frames import Frames, JoinedFrames
from .hearing import Heard
from .tags import Crop, Kept, Tag, Tags, WindowProbs
from .windows import Grid, Window


class WindowSink(Protocol):
    """Takes what was heard in each window, e.g. to keep the crops that decided."""

    def __call__(self, window: Window, heard: Heard, row: int, crops: list[Crop]) -> None: ...


class Recording:
    """Gathers what is said of one recording.

    Args:
        name: of the file, "" of an array.
        classes: L names.
        crop_samples: W.
        keep: also keep frames, windows and embeddings, which takes memory by the hour.
        with_crops: keep the crops of all windows; without it, those that decided.
        rules: find events by these while the windows come.
        events_by: "sharpened": take the frames as both streams' scores of clip and crops sharpen them; see
            `glat.sharpening`.
        frame_sink, window_sink: are given the frames and the windows.
    """

    def __init__(
        self,
        name: str,
        grid: Grid,
        classes: tuple[str, ...],
        crop_samples: int,
        *,
        keep: bool = False,
        with_crops: bool = True,
        rules: EventRules | None = None,
        events_by: EventsBy = "frames",
        frame_sink: Callable[[Frames], None] | None = None,
        window_sink: WindowSink | None = None,
    ) -> None:
        self.name, self.grid, self.classes, self.crop_samples = name, grid, classes, crop_samples
        self.keep, self.with_crops, self.events_by = keep, with_crops, events_by
        self.finder = EventFinder(rules, grid) if rules is not None else None
        self.frame_sink, self.window_sink = frame_sink, window_sink
        self.joined = JoinedFrames(grid, self._frames)
        self.crops: list[Crop] = []
        self.crops_per_window = 0
        L = len(classes)
        self.best = np.full((3, L), -np.inf, np.float32)  # fused, global, local in the window of the largest fused
        self.decided_by: list[Crop | None] = [None] * L
        self.crop_probs = np.zeros(L, np.float32)
        self._kept_frames: list[Frames] = []
        self._kept_windows: list[tuple[int, NDArray[np.float32], NDArray[np.float32]]] = []

    def add(self, window: Window, heard: Heard, row: int) -> None:
        """Take the next window, which is row `row` of what was heard."""
        crops = crops_of(window, heard, row, self.grid, self.classes, self.crop_samples)
        streams = heard.streams[row]
        better = streams[0] > self.best[0]
        deciding = heard.crop_probs[row].argmax(axis=0)  # [L]
        self.best[:, better] = streams[:, better]
        for k in np.flatnonzero(better).tolist():
            self.decided_by[k] = crops[deciding[k]]
        self.crop_probs[better] = np.take_along_axis(heard.crop_probs[row], deciding[None], axis=0)[0, better]
        if self.with_crops:
            self.crops += crops
        self.crops_per_window = len(crops)
        self.joined.add(window.first_frame, self._frame_probs(heard, row), streams)
        if self.keep:
            self._kept_windows.append((window.offset, streams, heard.embeddings[row]))
        if self.window_sink is not None:
            self.window_sink(window, heard, row, crops)

    def _frame_probs(self, heard: Heard, row: int) -> NDArray[np.float32]:
        if self.events_by == "frames":
            return heard.frame_probs[row]
        said = (heard.frame_probs[row], heard.streams[row, 1], heard.crop_probs[row])
        return np.asarray(sharpened(*said, heard.starts[row], self.crop_samples, self.grid.clip_samples), np.float32)

    def finish(self, samples: int, thresholds: NDArray[np.float32]) -> tuple[Tags, list[TaggedEvent]]:
        """What is said of the recording of so many samples, and its events where there are rules for them."""
        self.joined.finish(self.grid.frames_in(samples))
        seconds = samples / self.grid.sample_rate_hz
        local = not np.isnan(self.crop_probs).any()
        tags = []
        for k in np.argsort(-self.best[0], kind="stable").tolist():
            fused, global_, local_ = (float(x) for x in self.best[:, k])
            decided_by = self.decided_by[k] if local else None
            tags.append(Tag(self.classes[k], fused, global_, local_, decided_by, float(self.crop_probs[k])))
        found = Tags(
            file=self.name,
            seconds=seconds,
            classes=self.classes,
            tags=tuple(tags),
            crops=tuple(self.crops),
            crops_per_window=self.crops_per_window,
            grid=self.grid,
            default_thresholds=thresholds,
            kept=self._all_kept() if self.keep else None,
            events_by=self.events_by,
        )
        events = self.finder.finish(self.name, seconds, self.classes, self.best[0]) if self.finder else []
        return found, events

    def _frames(self, frames: Frames) -> None:
        if self.finder is not None:
            self.finder.add(frames)
        if self.frame_sink is not None:
            self.frame_sink(frames)
        if self.keep:
            self._kept_frames.append(frames)

    def _all_kept(self) -> Kept:
        offsets, streams, embeddings = (np.stack(column) for column in zip(*self._kept_windows, strict=True))
        return Kept(
            frames=np.concatenate([frames.probs for frames in self._kept_frames]),
            streams=np.concatenate([frames.streams for frames in self._kept_frames]),
            windows=WindowProbs(offsets / self.grid.sample_rate_hz, *(streams[:, i] for i in range(3))),
            embeddings=embeddings,
        )


def crops_of(
    window: Window, heard: Heard, row: int, grid: Grid, classes: tuple[str, ...], crop_samples: int
) -> list[Crop]:
    """The crops of a window in seconds of the recording."""
    S, T, rate = grid.clip_samples, grid.frames, grid.sample_rate_hz
    frame_samples = np.arange(T) * S // T
    last_start = max(0, window.valid - crop_samples)
    start_of_frame = (frame_samples - crop_samples // 2).clip(0, last_start)
    found = []
    columns = (heard.classes, heard.starts, heard.peaks)
    for k, start, peak in zip(*(column[row].tolist() for column in columns), strict=True):
        # The operator returns where a crop starts and how high its class peaks. The frame: of those whose crop would
        # start there, the one of that height, and of equal (saturated) heights the largest logit.
        fits = (frame_samples < window.valid) & (start_of_frame == start)
        off_by = np.where(fits, np.abs(heard.frame_probs[row, :, k] - np.float32(peak)), np.inf).astype(np.float32)
        best = np.where(off_by > off_by.min() + np.float32(1e-6), -np.inf, heard.frame_logits[row, :, k])
        peak_sample = int(frame_samples[best.argmax()])
        end = min(start + crop_samples, window.valid)
        offset = window.offset
        found.append(
            Crop(classes[k], (offset + start) / rate, (offset + end) / rate, peak, (offset + peak_sample) / rate)
        )
    return found
