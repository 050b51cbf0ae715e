"""Recordings opened to be cut into windows: decoded and held, or left encoded."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..parallel import in_parallel
from ..recordings.audio import Clip, read_clip
from ..recordings.decoding import UnreadableAudio
from ..recordings.encoded import EncodedClips
from ..recordings.recording import Recording, Sounding
from ..recordings.resample import resampled_length
from ..recordings.stretch import StretchedFile
from ..targets import Targets
from .source import Opened, Windows, WindowsInMemory, WindowsOfFiles
from .timeline import Timeline


def totals_of(encoded: EncodedClips) -> NDArray[np.int64]:
    """Samples of whole recordings at the source's rate, as their headers say."""
    return resampled_length(encoded.frames, encoded.rates_hz.astype(np.int64), encoded.sample_rate_hz)


def open_windows(
    recordings: Sequence[Recording],
    encoded: EncodedClips,
    *,
    min_overlap_seconds: float,
    in_memory: bool,
    workers: int | None,
) -> tuple[Opened, dict[int, str]]:
    """Open recordings, to be cut into windows.

    Args:
        recordings: [R], those that `encoded` holds, in its order.
        encoded: what their headers say.
        in_memory: decode all of them now, and hold them as int16.

    Returns:
        The recordings that can be read, and {index: why not} of the others.
    """
    rate, classes = encoded.sample_rate_hz, encoded.classes
    min_overlap_seconds = min(min_overlap_seconds, encoded.clip_samples / rate)
    reasons: dict[int, str] = {}
    kind: type[Windows]
    samples: dict[str, Any]
    if in_memory:
        clips = _decoded(recordings, rate, workers)
        reasons = {i: clip for i, clip in enumerate(clips) if isinstance(clip, str)}
        good = [clip for clip in clips if not isinstance(clip, str)]
        kind, samples = WindowsInMemory, {"waves": tuple(clip.wave for clip in good)}
        totals = np.array([len(clip.wave) for clip in good], np.int64)
        remarks = tuple(clip.remarks for clip in good)
    else:
        columns = zip(encoded.rates_hz, encoded.frames, encoded.sizes, encoded.is_plain, strict=True)
        files = tuple(
            StretchedFile(recording.path, int(hz), int(frames), int(size), bool(is_plain))
            for recording, (hz, frames, size, is_plain) in zip(recordings, columns, strict=True)
        )
        kind, samples, totals, remarks = WindowsOfFiles, {"files": files}, totals_of(encoded), encoded.remarks or ()
    kept = [recording for i, recording in enumerate(recordings) if i not in reasons]
    column = {label: k for k, label in enumerate(classes)}
    strong = any(recording.soundings is not None for recording in kept)
    outside = (_outside(recording, total / rate) for recording, total in zip(kept, totals.tolist(), strict=True))
    remarks = tuple((*of_recording, *more) for of_recording, more in zip(remarks, outside, strict=True))
    base = samples | {
        "recordings": tuple(recording.name for recording in kept),
        "totals": totals,
        "timeline": Timeline.of(map(_soundings, kept), classes, min_overlap_seconds) if strong else None,
        "classes": classes,
        "sample_rate_hz": rate,
        "clip_samples": encoded.clip_samples,
    }
    weak = Targets.from_labels(([column[label] for label in r.labels] for r in kept), len(classes))
    return Opened(kind, base, weak, min_overlap_seconds, remarks=remarks), reasons


def _outside(recording: Recording, seconds: float) -> tuple[str, ...]:
    """What to say of events outside of their recording; within() leaves them out, or cuts them."""
    late = [s for s in recording.soundings or () if s.is_outside(seconds)]
    if not late:
        return ()
    which = "1 event" if len(late) == 1 else f"{len(late)} events"
    return (f"{which} outside of it ({late[0].label} at {late[0].onset_seconds:g} s of {seconds:g} s)",)


def _soundings(recording: Recording) -> tuple[Sounding, ...]:
    """What sounds when; of a recording without times, beside others that have some, its labels throughout."""
    if recording.soundings is not None:
        return recording.soundings
    return tuple(Sounding(label, 0.0, math.inf) for label in recording.labels)


def _decoded(recordings: Sequence[Recording], rate: int, workers: int | None) -> list[Clip | str]:
    """Whole recordings, or the reason why not."""

    def read(i: int) -> Clip | str:
        try:
            return read_clip(recordings[i].path, rate, None, recordings[i].stream())
        except UnreadableAudio as error:
            return error.reason

    return in_parallel(read, len(recordings), workers)
