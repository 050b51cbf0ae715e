"""What a model says of when a class sounds in a clip, as scores of consecutive spans; and what is true."""

from collections.abc import Iterable, Iterator
from dataclasses import astuple, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...data import ClipSource, Event
from ...sharpening import sharpened
from ..score import Scored

_SAME = 1e-5  # seconds: less than a sample, more than times are rounded by

Floats = NDArray[np.float64]


class Timeline(NamedTuple):
    """Scores of L classes in n consecutive spans of a clip."""

    edges: Floats  # [n + 1], seconds, from 0 to the clip's end
    probs: Floats  # [n, L]


class Truth(NamedTuple):
    """The events of a clip, or of windows in a row; those of one class neither overlap nor touch."""

    seconds: float
    events: tuple[Event, ...]


def stretches(clips: ClipSource) -> list[list[int]]:
    """The rows of clips that follow each other in one recording, and every other row alone.

    Where windows meet an event goes on: counted window by window, it would begin and end there.
    """
    if clips.origins is None:
        return [[row] for row in range(len(clips))]
    found: list[list[int]] = []
    for row, origin in enumerate(clips.origins):
        before = clips.origins[row - 1] if row else None
        ends = before.start_seconds + clips.lengths[row - 1] / clips.sample_rate_hz if before is not None else 0.0
        if before is not None and before.recording == origin.recording and abs(ends - origin.start_seconds) < _SAME:
            found[-1].append(row)
        else:
            found.append([row])
    return found


def truths(clips: ClipSource, rows: Iterable[list[int]]) -> list[Truth]:
    """What sounds when in each stretch.

    Events are cut at the end, and events of one class that overlap or touch are one: detections of a class, which are
    runs of spans, cannot tell them apart. Events without length are left out.
    """
    assert clips.events is not None
    found = []
    for of_stretch in rows:
        seconds, events = 0.0, []
        for row in of_stretch:
            length = clips.lengths[row] / clips.sample_rate_hz
            for label, onset, offset in map(astuple, clips.events[row]):
                events.append(Event(label, seconds + max(0.0, onset), seconds + min(offset, length)))
            seconds += length
        found.append(Truth(seconds, tuple(_joined(events))))
    return found


def _joined(events: Iterable[Event]) -> Iterator[Event]:
    open_: Event | None = None
    for event in sorted(events, key=lambda event: (event.label, event.onset_seconds)):
        if event.offset_seconds <= event.onset_seconds:
            continue
        if open_ is None:
            open_ = event
        elif open_.label == event.label and event.onset_seconds <= open_.offset_seconds + _SAME:
            open_ = replace(open_, offset_seconds=max(open_.offset_seconds, event.offset_seconds))
        else:
            yield open_
            open_ = event
    if open_ is not None:
        yield open_


def joined(lines: Iterator[Timeline], rows: Iterable[list[int]]) -> Iterator[Timeline]:
    """The timelines of stretches, of those of all rows in order."""
    for of_stretch in rows:
        parts = [next(lines) for _ in of_stretch]
        edges, end = [np.zeros(1)], 0.0
        for part in parts:
            edges.append(end + part.edges[1:])
            end = edges[-1][-1]
        yield Timeline(np.concatenate(edges), np.concatenate([part.probs for part in parts]))


def timelines(scored: Scored, crop_samples: int, evidence: str) -> Iterator[Timeline]:
    """What a model says of each clip, one after the other.

    - "frames": the global stream's frame probabilities. Frame t of T begins at S t / T; those that begin behind the
      end of a clip that was padded are left out.
    - "crops": a crop speaks for the class that it was cut for, from its start to its end, with the local stream's
      probability of that class in it; where crops of a class overlap, the larger. Elsewhere, and of classes without a
      crop, 0. So above a threshold every crop whose probability passes it is an event, crops that overlap one.
    - "sharpened": the frames, each averaged with what both streams say of the clip and of the crops; see
      `glat.sharpening.sharpened`.
    - "weighted": the geometric mean of the frames' probabilities and the clip's, of the global stream alone: what of
      "sharpened" needs no crops.

    Args:
        scored: of clips whose events are known, with `Scored.frame_logits` and `Scored.crop_logits`.
        crop_samples: W.
        evidence: one of `EVIDENCE`, or "weighted".
    """
    assert scored.frame_logits is not None
    assert scored.crop_logits is not None
    S, rate = scored.clips.clip_samples, scored.clips.sample_rate_hz
    T = scored.frames
    starts_of_frames = np.arange(T) * S // T
    for row, valid in enumerate(scored.clips.lengths.tolist()):
        crop_probs = _sigmoid(scored.crop_logits[row])
        starts = scored.crop_starts[row]
        if evidence == "crops":
            yield _of_crops(crop_probs, scored.crop_classes[row], starts, crop_samples, valid, rate)
            continue
        probs = _sigmoid(scored.frame_logits[row])
        if evidence == "sharpened":
            clip_probs = scored.probs["global"][row]
            probs = np.asarray(sharpened(probs, clip_probs, crop_probs, starts, crop_samples, S), np.float64)
        elif evidence == "weighted":
            probs = np.sqrt(probs * scored.probs["global"][row])
        kept = starts_of_frames < valid
        yield Timeline(np.append(starts_of_frames[kept], valid) / rate, probs[kept])


def _of_crops(
    probs: Floats, classes: NDArray[np.int64], starts: NDArray[np.int64], crop_samples: int, valid: int, rate: int
) -> Timeline:
    ends = np.minimum(starts + crop_samples, valid)
    edges = np.unique(np.concatenate([[0, valid], starts, ends]))
    spans = np.zeros((len(edges) - 1, probs.shape[1]))
    for n, (k, start, end) in enumerate(zip(classes, starts, ends, strict=True)):
        inside = (edges[:-1] >= start) & (edges[:-1] < end)
        spans[inside, k] = np.maximum(spans[inside, k], probs[n, k])
    return Timeline(edges / rate, spans)


def _sigmoid(logits: NDArray[np.float32]) -> Floats:
    with np.errstate(over="ignore"):  # exp(inf): a probability of 0
        return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))))
