"""Packed labels say what a dense table says."""

import numpy as np
import pytest
import torch

from glat.data import Targets


@pytest.mark.parametrize("num_classes", [1, 7, 8, 9, 527])
def test_packed_labels_say_what_a_dense_table_says(num_classes):
    dense = np.random.default_rng(0).random((30, num_classes)) < 0.2
    targets = Targets.from_labels([np.flatnonzero(row).tolist() for row in dense], num_classes)
    assert np.array_equal(targets.packed, Targets.from_dense(dense).packed)
    assert targets.packed.nbytes == 30 * -(-num_classes // 8)
    assert torch.equal(targets.dense(), torch.from_numpy(dense))
    rows = torch.tensor([29, 0, 0, 7])
    assert torch.equal(targets.dense(rows), torch.from_numpy(dense)[rows])
    assert np.array_equal(targets.counts(), dense.sum(0))
    for label in {0, num_classes - 1}:
        assert np.array_equal(targets.clips_of(label), np.flatnonzero(dense[:, label]))


def test_a_class_beyond_the_last_and_no_clip_at_all():
    assert len(Targets.from_labels([], 3)) == 0
    with pytest.raises(AssertionError):
        Targets.from_labels([[3]], 3)
