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
    by_class = targets.by_class()
    assert [rows.tolist() for rows in by_class] == [np.flatnonzero(column).tolist() for column in dense.T]
    assert {rows.dtype for rows in by_class} == {np.dtype(np.int32)}


def test_a_class_beyond_the_last_and_no_clip_at_all():
    nobody = Targets.from_labels([], 3)
    assert len(nobody) == 0
    assert [len(rows) for rows in nobody.by_class()] == [0, 0, 0]
    with pytest.raises(AssertionError):
        Targets.from_labels([[3]], 3)
