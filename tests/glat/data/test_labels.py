"""Labels of other recordings as the classes of a run: columns, events and clips follow their names."""

import numpy as np
import pytest
import torch

from glat.data import Clips, Event, Targets
from glat.data.labels import relabelled
from glat.errors import UserError


def clips():
    targets = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1], [1, 1, 0]], bool)
    events = tuple(tuple(Event(int(k), row, row + 1.0) for k in np.flatnonzero(of)) for row, of in enumerate(targets))
    return Clips(
        waves=torch.arange(8, dtype=torch.int16).reshape(4, 2),
        lengths=np.array([2, 1, 2, 1]),
        clip_samples=2,
        targets=Targets.from_dense(targets),
        names=("a", "b", "c", "d"),
        classes=("cat", "dog", "eel"),
        sample_rate_hz=1_000,
        events=events,
    )


def test_columns_and_events_follow_the_names_in_the_order_asked_for():
    found = relabelled(clips(), ("eel", "ant", "dog", "cat"))
    assert found.clips.classes == ("eel", "ant", "dog", "cat")
    expected = [[1, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 1]]
    assert found.clips.targets.dense().int().tolist() == expected
    assert [[e.label for e in events] for events in found.clips.events or ()] == [[3, 0], [2], [0], [3, 2]]
    assert (found.unknown, found.dropped) == ((), 0)


def test_unknown_labels_go_and_with_them_clips_that_have_no_other():
    found = relabelled(clips(), ("dog", "eel"))
    assert found.unknown == ("cat",)
    found = relabelled(clips(), ("dog",))
    assert (found.unknown, found.dropped) == (("cat", "eel"), 2)
    assert found.clips.names == ("b", "d")
    assert found.clips.waves.tolist() == [[2, 3], [6, 7]]
    assert found.clips.lengths.tolist() == [1, 1]
    assert [[(e.label, e.onset_seconds) for e in events] for events in found.clips.events or ()] == [[(0, 1)], [(0, 3)]]


def test_no_label_in_common_is_an_error_that_shows_both():
    with pytest.raises(UserError, match="seen cat, dog, eel; wanted some of Cat"):
        relabelled(clips(), ("Cat",))
