"""What frames, crops and both say of a clip, and its true events, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from glat.data import Clips, Event, Targets
from glat.data.clips import Origin
from glat.evaluation.events.scores import EVIDENCE
from glat.evaluation.events.timelines import Truth, joined, stretches, timelines, truths
from glat.evaluation.score import Scored
from glat.sharpening import sharpened


def clips(events, lengths):
    """Clips of 10 s at 100 Hz."""
    import torch

    labels = [sorted({event.label for event in of_clip}) for of_clip in events]
    return Clips(
        waves=torch.zeros(len(events), 1_000, dtype=torch.int16),
        lengths=np.array(lengths),
        clip_samples=1_000,
        targets=Targets.from_labels(labels, 2),
        names=tuple(map(str, range(len(events)))),
        classes=("a", "b"),
        sample_rate_hz=100,
        events=events,
    )


def logit(p):
    return np.log(p / (1 - np.asarray(p, np.float64)))


def scored(lengths=(1_000,)):
    """Five frames of 2 s. Crops of 3 s: of class 0 at 0 s (0.6) and at 2 s (0.9), of class 1 at 7 s (0.2)."""
    M = len(lengths)
    frames = np.array([[0.5, 0.5], [0.5, 0.5], [0.1, 0.1], [0.1, 0.8], [0.9, 0.8]])
    crops = np.array([[0.6, 0.3], [0.9, 0.3], [0.3, 0.2]])
    streams = np.tile(np.array([0.6, 0.5], np.float32), (M, 1))
    return Scored(
        clips=clips(((Event(0, 1.0, 2.0),),) * M, lengths),
        probs=dict.fromkeys(("global", "local", "fused"), streams),
        crop_classes=np.tile([0, 0, 1], (M, 1)),
        crop_starts=np.minimum([0, 200, 700], np.maximum(0, np.array(lengths)[:, None] - 300)),  # as selected
        frames=5,
        highest=streams,
        frame_logits=np.tile(logit(frames), (M, 1, 1)).astype(np.float32),
        crop_logits=np.tile(logit(crops), (M, 1, 1)).astype(np.float32),
    )


def test_frames_are_spans_of_equal_length_up_to_the_end_of_the_recording():
    whole, part = timelines(scored((1_000, 450)), 300, "frames")
    np.testing.assert_allclose(whole.edges, [0, 2, 4, 6, 8, 10])
    np.testing.assert_allclose(whole.probs[:, 1], [0.5, 0.5, 0.1, 0.8, 0.8], rtol=1e-6)
    np.testing.assert_allclose(part.edges, [0, 2, 4, 4.5])
    np.testing.assert_allclose(part.probs, whole.probs[:3])


def test_crops_speak_for_their_own_class_from_start_to_end_and_the_larger_counts():
    (found,) = timelines(scored(), 300, "crops")
    np.testing.assert_allclose(found.edges, [0, 2, 3, 5, 7, 10])
    np.testing.assert_allclose(found.probs[:, 0], [0.6, 0.9, 0.9, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(found.probs[:, 1], [0, 0, 0, 0, 0.2], rtol=1e-6)
    (short,) = timelines(scored((950,)), 300, "crops")
    assert short.edges[-1] == 9.5


def test_a_frame_is_weighted_by_the_clip_and_sharpened_by_the_crops_that_hold_its_middle():
    (weighted,) = timelines(scored(), 300, "weighted")
    np.testing.assert_allclose(weighted.probs[:, 0] ** 2, [0.3, 0.3, 0.06, 0.06, 0.54], rtol=1e-6)
    (found,) = timelines(scored(), 300, "sharpened")
    # The clip says 0.6 and 0.5. Frame 0 (middle at 1 s) is in the first crop, 1 (3 s) in the second, 2 (5 s) in none: a
    # crop ends before its end. 3 (7 s) and 4 (9 s) are in the third.
    np.testing.assert_allclose(found.probs[:, 0] ** 2, [0.5 * 0.6, 0.5 * 0.75, 0.06, 0.1 * 0.45, 0.9 * 0.45], rtol=1e-6)
    np.testing.assert_allclose(found.probs[:, 1] ** 2, [0.5 * 0.4, 0.5 * 0.4, 0.05, 0.8 * 0.35, 0.8 * 0.35], rtol=1e-6)


def test_where_crops_overlap_the_larger_counts_whatever_their_order():
    frames, clip = np.ones((4, 1), np.float32), np.array([0.5], np.float32)
    for crops, starts in (([0.9, 0.1], [0, 1]), ([0.1, 0.9], [1, 0])):
        found = sharpened(frames, clip, np.array(crops, np.float32)[:, None], np.array(starts), 2, 4)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[:, 0] ** 2, [0.7, 0.7, 0.3, 0.5], rtol=1e-6)


@pytest.mark.parametrize("evidence", EVIDENCE)
def test_every_clip_is_said_of_from_its_beginning_to_its_end(evidence):
    for line, length in zip(timelines(scored((1_000, 450, 120)), 300, evidence), (10, 4.5, 1.2), strict=True):
        assert (line.edges[0], line.edges[-1]) == (0, length)
        assert (np.diff(line.edges) > 0).all()
        assert line.probs.shape == (len(line.edges) - 1, 2)


def test_events_of_a_class_that_touch_are_one_and_end_with_the_clip():
    events = (Event(0, 4.0, 5.0), Event(1, 2.0, 9.0), Event(0, 1.0, 3.0), Event(0, 2.0, 4.0), Event(0, 7.0, 7.0))
    data = clips((events, events), (1_000, 450))
    assert stretches(data) == [[0], [1]]
    whole, part = truths(data, stretches(data))
    assert whole == Truth(10, (Event(0, 1.0, 5.0), Event(1, 2.0, 9.0)))
    assert part == Truth(4.5, (Event(0, 1.0, 4.5), Event(1, 2.0, 4.5)))


def test_windows_that_follow_each_other_are_one_so_that_no_event_ends_between_them():
    at_the_end, at_the_start = (Event(0, 8.0, 10.0),), (Event(0, 0.0, 1.5), Event(1, 2.0, 3.0))
    events = (at_the_end, at_the_start, at_the_start, at_the_start)
    origins = (Origin("a", 0.0), Origin("a", 10.0), Origin("b", 0.0), Origin("b", 20.0))  # one window of b is missing
    output = scored((1_000, 450, 1_000, 1_000))
    data = replace(output.clips, events=events, origins=origins)
    rows = stretches(data)
    assert rows == [[0, 1], [2], [3]]
    assert truths(data, rows)[0] == Truth(14.5, (Event(0, 8.0, 11.5), Event(1, 12.0, 13.0)))
    first, second, third = joined(timelines(output, 300, "frames"), rows)
    np.testing.assert_allclose(first.edges, [0, 2, 4, 6, 8, 10, 12, 14, 14.5])
    np.testing.assert_allclose(first.probs, np.concatenate([second.probs, second.probs[:3]]))
    assert third.edges[-1] == 10
