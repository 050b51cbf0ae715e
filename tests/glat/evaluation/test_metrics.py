"""mAP, mAUC and d-prime: values worked by hand, and classes that cannot be scored."""

import math

import numpy as np
import pytest

from glat.evaluation.metrics import evaluate_scores


def test_values_worked_by_hand():
    targets = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], bool)
    probs = np.array([[0.9, 0.2], [0.8, 0.9], [0.7, 0.8], [0.1, 0.1]], np.float32)
    m = evaluate_scores(targets, probs)
    # Class 0 ranks + - + -: AP (1/1 + 2/3) / 2, AUC 3/4. Class 1 ranks + + - -: 1 and 1.
    assert m.ap.tolist() == pytest.approx([5 / 6, 1.0])
    assert m.auc.tolist() == pytest.approx([0.75, 1.0])
    assert m.mean_ap == pytest.approx(11 / 12)
    # Of the mean AUC, 0.875, whose normal quantile is 1.150349; not the mean of the classes' d'.
    assert m.d_prime == pytest.approx(math.sqrt(2) * 1.1503494, rel=1e-6)
    assert m.left_out == ()


def test_the_papers_rows_are_consistent():
    # Table 1: mAUC .974 stands beside d' 2.742 to 2.748.
    from glat.evaluation.metrics import d_prime

    assert d_prime(0.974) == pytest.approx(2.748, abs=1e-3)


def test_classes_that_cannot_be_scored_are_left_out_and_named():
    targets = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]], bool)
    m = evaluate_scores(targets, np.random.default_rng(0).random((3, 3)).astype(np.float32))
    assert m.left_out == (1, 2)
    assert np.isnan(m.ap[1])
    assert np.isnan(m.auc[2])
    assert m.mean_ap == m.ap[0]


def test_nothing_to_score_is_nan_not_zero():
    m = evaluate_scores(np.ones((3, 2), bool), np.zeros((3, 2), np.float32))
    assert math.isnan(m.mean_ap)
    assert math.isnan(m.d_prime)
    assert m.left_out == (0, 1)


def test_perfect_scores_have_infinite_d_prime():
    targets = np.array([[1], [0]], bool)
    assert evaluate_scores(targets, targets.astype(np.float32)).d_prime == math.inf


@pytest.mark.parametrize(
    ("targets", "probs", "said"),
    [
        (np.zeros((2, 3), bool), np.zeros((2, 2), np.float32), r"\(2, 3\) and \(2, 2\)"),
        (np.zeros((0, 3), bool), np.zeros((0, 3), np.float32), "M > 0"),
        (np.zeros((2, 1), bool), np.array([[0], [np.nan]], np.float32), "1 clips are not finite, first clip 1"),
    ],
)
def test_bad_input_is_named(targets, probs, said):
    with pytest.raises(ValueError, match=said):
        evaluate_scores(targets, probs)
