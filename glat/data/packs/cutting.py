"""Long recordings in packs: a row a window, the rows of a recording behind each other, with the times of its events.

The rows are the windows that an evaluation hears (see `glat.data.windows`), and so clips like any others to programs
that know nothing of windows. As they follow each other, a window that begins inside of one ends in the next: training
draws its windows from packs, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..parallel import in_parallel
from ..recordings.audio import Clip, read_clip
from ..recordings.decoding import UnreadableAudio, read_header
from ..recordings.recording import Recording
from ..windows.grid import count_windows, heard_in_windows, window_name
from ..windows.timeline import Timeline

COLUMNS = ("start", "event_row", "event_label", "event_onset", "event_offset")  # of shards of windows
MIN_OVERLAP = "min_overlap_seconds"  # attribute


class Row(NamedTuple):
    """A window as it is packed."""

    recording: Recording  # called by the window, with its labels
    clip: Clip
    start: int  # in samples of the recording


@dataclass(frozen=True)
class Cutting:
    """How recordings are cut into windows."""

    clip_seconds: float
    sample_rate_hz: int
    min_overlap_seconds: float

    def count(self, seconds: float) -> int:
        """Windows of a recording of this length."""
        rate = self.sample_rate_hz
        least = round(self.min_overlap_seconds * rate)
        return count_windows(round(seconds * rate), round(self.clip_seconds * rate), least)

    def rows(self, recording: Recording) -> list[Row]:
        """The windows of a recording.

        Raises:
            UnreadableAudio: as of `read_clip`.
        """
        rate, S = self.sample_rate_hz, round(self.clip_seconds * self.sample_rate_hz)
        whole = read_clip(recording.path, rate, None, recording.stream())
        total = len(whole.wave)
        timeline = None
        if recording.soundings is not None:
            timeline = Timeline.of([recording.soundings], recording.labels, self.min_overlap_seconds)
        rows = []
        for i in range(count_windows(total, S, round(self.min_overlap_seconds * rate))):
            start, end = i * S, min(total, (i + 1) * S)
            labels = recording.labels
            if timeline is not None:
                events = timeline.within(0, start / rate, end / rate)
                labels = tuple(sorted({recording.labels[event.label] for event in events}))
            named = replace(recording, name=window_name(recording.name, start, end - start, rate), labels=labels)
            part = whole.wave[start:end]
            peak = whole.peak if i == 0 else float(np.abs(part.astype(np.int32)).max()) / 32_767
            remarks = whole.remarks if i == 0 else ()
            rows.append(Row(named, whole._replace(wave=part, peak=peak, remarks=remarks), start))
        return rows


def cutting_for(
    recordings: Sequence[Recording], cutting: Cutting, windows: str, workers: int | None
) -> tuple[Cutting | None, list[int]]:
    """Whether recordings are to be packed in windows, see `heard_in_windows`, and how many each has."""
    pieces = any(recording.offset >= 0 for recording in recordings)  # of saved data sets beginnings are heard
    if windows == "off" or (windows == "auto" and pieces):
        return None, []
    seconds = np.array(in_parallel(lambda i: _seconds(recordings[i]), len(recordings), workers))
    unheard = np.maximum(0, seconds - cutting.clip_seconds).sum()
    strong = any(recording.soundings is not None for recording in recordings)
    if not heard_in_windows(windows, strong, unheard, seconds.sum()):
        return None, []
    return cutting, [cutting.count(length) for length in seconds.tolist()]


def _seconds(recording: Recording) -> float:
    try:
        header = read_header(recording.path, recording.stream())
    except UnreadableAudio:
        return 0.0  # said when it is packed
    return header.frames / header.rate_hz


def shared_out(recordings: Sequence[Recording], counts: Sequence[int], most: int) -> list[tuple[Recording, ...]]:
    """Recordings in groups of at most `most` windows; a longer one has a group of its own."""
    groups: list[list[Recording]] = []
    windows = most
    for recording, count in zip(recordings, counts, strict=True):
        if windows + count > most and (not groups or groups[-1]):
            groups.append([])
            windows = 0
        groups[-1].append(recording)
        windows += count
    return [tuple(group) for group in groups]


def columns_of(
    packed: Sequence[Row], classes: Sequence[str], recordings: Sequence[Recording]
) -> dict[str, NDArray[Any]]:
    """The columns that shards of windows have beside the usual ones.

    Args:
        recordings: of the first row of each recording, by its row, with their soundings.
    """
    starts = np.array([row.start for row in packed], np.int64)
    columns: dict[str, NDArray[Any]] = {"start": starts}
    if all(recording.soundings is None for recording in recordings):
        return columns
    index = {label: k for k, label in enumerate(classes)}
    first_rows = np.flatnonzero(starts == 0).tolist()
    events = [
        (row, index[s.label], s.onset_seconds, s.offset_seconds)
        for row, recording in zip(first_rows, recordings, strict=True)
        for s in recording.soundings or ()
    ]
    kinds = (np.int64, np.int32, np.float64, np.float64)
    for name, kind, values in zip(COLUMNS[1:], kinds, zip(*events, strict=True) if events else [()] * 4, strict=True):
        columns[name] = np.array(values, kind)
    return columns
