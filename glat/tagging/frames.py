"""The frames of overlapping windows as the frames of their recording."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .windows import Grid


class Frames(NamedTuple):
    """Consecutive frames of a recording that no later window changes."""

    first: int
    probs: NDArray[np.float32]  # [n, L]
    streams: NDArray[np.float32]  # [n, 3, L], fused, global and local, of the window whose middle is nearest


class JoinedFrames:
    """Joins the frames of overlapping windows while the windows come.

    A frame near the edge of a window is scored without what lies beyond the edge. Where windows overlap, their frames
    are averaged with weights that fall from the middle of each window to its edges.

    Args:
        grid: the recording's.
        sink: is given the frames in order, as soon as no later window holds them.
    """

    def __init__(self, grid: Grid, sink: Callable[[Frames], None]) -> None:
        t = np.arange(grid.frames)
        self._centrality = (np.minimum(t, grid.frames - 1 - t) + 0.5).astype(np.float32)  # [T], in frames to the edge
        self._sink = sink
        self._first = 0  # the first frame that is held; all below are [held, ...]
        self._sums: NDArray[np.float32] | None = None  # [held, L], weighted probabilities
        self._weights = np.zeros(0, np.float32)
        self._nearest = np.zeros(0, np.float32)  # the largest weight
        self._streams: NDArray[np.float32] | None = None  # [held, 3, L]

    def add(self, first: int, probs: NDArray[np.float32], streams: NDArray[np.float32]) -> None:
        """Take the next window, which begins at frame `first`: its frames [T, L] and its scores [3, L]."""
        T, L = probs.shape
        if self._sums is None or self._streams is None:
            self._sums, self._streams = np.zeros((0, L), np.float32), np.zeros((0, 3, L), np.float32)
        self._release(first)
        missing = max(0, first + T - self._first - len(self._weights))
        self._sums = np.concatenate([self._sums, np.zeros((missing, L), np.float32)])
        self._streams = np.concatenate([self._streams, np.zeros((missing, 3, L), np.float32)])
        self._weights = np.concatenate([self._weights, np.zeros(missing, np.float32)])
        self._nearest = np.concatenate([self._nearest, np.zeros(missing, np.float32)])
        here = slice(first - self._first, first - self._first + T)
        self._sums[here] += self._centrality[:, None] * probs
        self._weights[here] += self._centrality
        nearer = self._centrality > self._nearest[here]
        self._streams[here][nearer] = streams
        self._nearest[here] = np.maximum(self._nearest[here], self._centrality)

    def finish(self, frames: int) -> None:
        """Release what is left, up to the recording's number of frames."""
        self._release(frames)

    def _release(self, end: int) -> None:
        """Give the frames before `end` to the sink."""
        n = min(end - self._first, len(self._weights))
        if n <= 0 or self._sums is None or self._streams is None:
            return
        self._sink(Frames(self._first, self._sums[:n] / self._weights[:n, None], self._streams[:n].copy()))
        self._sums, self._streams = self._sums[n:], self._streams[n:]
        self._weights, self._nearest = self._weights[n:], self._nearest[n:]
        self._first += n


class Pooled:
    """The largest probability of every class in each of at most `rows` stretches of a recording of any length.

    The stretches double in length when there are too many: the memory does not grow with the recording.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.frames_a_row = 1
        self._full: list[NDArray[np.float32]] = []
        self._rest: list[NDArray[np.float32]] = []  # fewer frames than a row has

    def add(self, frames: Frames) -> None:
        """Take the next frames."""
        for frame in frames.probs:
            self._rest.append(frame)
            if len(self._rest) == self.frames_a_row:
                self._full.append(np.max(self._rest, axis=0))
                self._rest = []
            if len(self._full) == self.rows:
                self._full = [np.maximum(*self._full[i : i + 2]) for i in range(0, self.rows, 2)]
                self.frames_a_row *= 2

    def probs(self) -> NDArray[np.float32]:
        """[at most rows, L]."""
        rest = [np.max(self._rest, axis=0)] if self._rest else []
        return np.stack([*self._full, *rest])
