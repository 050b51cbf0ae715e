"""Where a recording is cut into overlapping windows, and which frame of it each frame of a window is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """The frames of a recording: those of its first window, continued.

    Windows begin a whole number of frames apart, so that the frames of all of them lie on one grid. Only the last
    window, which ends with the recording, is off it, by at most half a frame.
    """

    clip_samples: int  # S, of a window
    frames: int  # T, of a window
    hop_frames: int  # from one window to the next, 1 to T
    sample_rate_hz: int

    @staticmethod
    def of(clip_samples: int, frames: int, sample_rate_hz: int, overlap: float) -> "Grid":
        """The grid on which each window shares about `overlap` of its frames with the next."""
        return Grid(clip_samples, frames, max(1, round(frames * (1 - overlap))), sample_rate_hz)

    def window_start(self, index: int) -> int:
        """Where a window begins, in samples of the recording."""
        return index * self.hop_frames * self.clip_samples // self.frames

    def nearest_frame(self, sample: int) -> int:
        """The frame that begins nearest to a sample."""
        return (2 * sample * self.frames + self.clip_samples) // (2 * self.clip_samples)

    def frames_in(self, samples: int) -> int:
        """How many frames begin in a recording of so many samples."""
        return -(-samples * self.frames // self.clip_samples)

    @property
    def frame_seconds(self) -> float:
        """From one frame to the next."""
        return self.clip_samples / self.frames / self.sample_rate_hz


class Window(NamedTuple):
    """What the model hears at once."""

    wave: NDArray[np.float32]  # [S], padded with zeros behind a recording shorter than that
    offset: int  # of its first sample in the recording
    valid: int  # samples before the padding
    first_frame: int  # on the recording's grid
    new: int  # samples that no earlier window held


class Cutter:
    """Cuts a recording that comes in blocks into windows; about one window and one block of it are held."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.samples = 0  # so far
        self._held: list[NDArray[np.float32]] = []
        self._begins = 0  # the sample at which they begin
        self._index = 0  # of the next window
        self._heard = 0  # samples that windows have held

    def take(self, block: NDArray[np.float32]) -> Iterator[Window]:
        """The windows that end in the next block [n]."""
        grid, S = self.grid, self.grid.clip_samples
        self._held.append(block)
        self.samples += len(block)
        if grid.window_start(self._index) + S > self.samples:
            return
        joined = np.concatenate(self._held)
        while (start := grid.window_start(self._index)) + S <= self.samples:
            wave = joined[start - self._begins : start - self._begins + S].copy()
            yield Window(wave, start, S, self._index * grid.hop_frames, self._new(start + S))
            self._index += 1
        # The window that ends with the recording may begin anywhere behind the one before it.
        keep = grid.window_start(self._index - 1)
        self._held, self._begins = [joined[keep - self._begins :].copy()], keep

    def finish(self) -> Iterator[Window]:
        """The window that ends with the recording, where none has yet; a recording of S samples or fewer is padded."""
        grid, S = self.grid, self.grid.clip_samples
        if self._index == 0 and self.samples:
            wave = np.zeros(S, np.float32)
            wave[: self.samples] = np.concatenate(self._held)
            yield Window(wave, 0, self.samples, 0, self.samples)
        elif self._index and grid.window_start(self._index - 1) + S < self.samples:
            start = self.samples - S
            wave = np.concatenate(self._held)[start - self._begins :].copy()
            yield Window(wave, start, S, grid.nearest_frame(start), self._new(self.samples))

    def _new(self, end: int) -> int:
        """Samples before `end` that no window has held so far."""
        new, self._heard = end - self._heard, end
        return new
