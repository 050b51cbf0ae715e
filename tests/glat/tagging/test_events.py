"""Frame probabilities to events, whole or in blocks."""

from itertools import pairwise

import numpy as np
import pytest

from glat.errors import UserError
from glat.tagging.events import EventFinder, EventRules, thresholds_of
from glat.tagging.frames import Frames
from glat.tagging.windows import Grid

GRID = Grid.of(100, 10, 100, 0.0)  # frames of 0.1 s


def events(probs, blocks=None, threshold=0.5, seconds=None, **rules):
    probs = np.asarray(probs, np.float32)
    if probs.ndim == 1:
        probs = probs[:, None]
    classes = tuple("abcdef"[: probs.shape[1]])
    streams = np.repeat(np.arange(len(probs), dtype=np.float32)[:, None, None], probs.shape[1], axis=2).repeat(3, 1)
    finder = EventFinder(EventRules(thresholds_of(threshold, classes), **rules), GRID)
    edges = [0, *(blocks or ()), len(probs)]
    for start, end in pairwise(edges):
        finder.add(Frames(start, probs[start:end], streams[start:end]))
    return finder.finish("x.wav", seconds or len(probs) / 10, classes, probs.max(axis=0))


def times(found):
    return [(round(e.onset_seconds, 3), round(e.offset_seconds, 3)) for e in found]


def test_an_event_lasts_from_its_first_to_its_last_frame_above_the_threshold():
    (event,) = events([0, 0.5, 0.9, 0.6, 0.4])
    assert times([event]) == [(0.1, 0.4)]
    assert event.peak_seconds == pytest.approx(0.25)
    assert event.probability == pytest.approx(0.9)
    assert event.fused == 2  # of the window at the peak


def test_events_end_with_the_recording():
    (event,) = events([0, 1, 1], seconds=0.26)
    assert event.offset_seconds == 0.26


@pytest.mark.parametrize(
    ("gap", "wanted"), [(0, [(0, 0.1), (0.3, 0.4), (0.7, 0.8)]), (0.2, [(0, 0.4), (0.7, 0.8)]), (0.3, [(0, 0.8)])]
)
def test_near_events_are_one(gap, wanted):
    assert times(events([1, 0, 0, 1, 0, 0, 0, 1], merge_gap_seconds=gap)) == wanted


def test_short_events_are_left_out_after_merging():
    probs = [1, 0, 1, 0, 0, 0, 1, 0]
    assert times(events(probs, min_seconds=0.3, merge_gap_seconds=0.1)) == [(0, 0.3)]


def test_each_class_has_its_threshold():
    probs = [[0.4, 0.4], [0.4, 0.4]]
    assert [e.label for e in events(probs, threshold={"b": 0.3})] == ["b"]
    for bad in ({"z": 0.3}, 0.0, 1.5, float("nan")):
        with pytest.raises(UserError):
            events(probs, threshold=bad)


def test_top_keeps_the_likeliest_classes():
    assert {e.label for e in events([[0.6, 0.9, 0.7]], top=2)} == {"b", "c"}


def test_blocks_change_nothing():
    random = np.random.default_rng(0)
    for trial in range(30):
        probs = random.random((60, 4))
        blocks = sorted(set(random.integers(1, 60, 5).tolist()))
        rules = {"merge_gap_seconds": trial % 4 / 10, "min_seconds": trial % 3 / 10, "threshold": 0.7}
        assert events(probs, blocks, **rules) == events(probs, **rules)
