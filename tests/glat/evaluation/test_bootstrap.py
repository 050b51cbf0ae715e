"""The bootstrap: every resample scored as scikit-learn scores the clips drawn, ties and rare classes included."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from glat.evaluation.bootstrap import draw, interval, resample_scores
from glat.evaluation.metrics import d_prime, evaluate_scores


def scores(clips=60, classes=4, seed=0, levels=None):
    """Targets and probs that rank better than chance; `levels` makes ties."""
    rng = np.random.default_rng(seed)
    targets = rng.random((clips, classes)) < [0.03, 0.2, 0.5, 0.9][:classes]
    targets[0], targets[1] = True, False
    probs = rng.random((clips, classes)) + 0.3 * targets
    if levels:
        probs = np.round(probs * levels) / levels
    return targets, probs.astype(np.float32)


@pytest.mark.parametrize("levels", [None, 3])
def test_every_resample_is_scored_as_scikit_learn_scores_the_drawn_clips(levels):
    targets, probs = scores(levels=levels)
    counts = draw(len(targets), 40, seed=1)
    found = resample_scores(targets, {"a": probs}, counts)["a"]
    undefined = 0
    for r in range(40):
        rows = np.repeat(np.arange(len(targets)), counts[:, r].astype(int))
        for k in range(targets.shape[1]):
            drawn, ranked = targets[rows, k], probs[rows, k]
            if drawn.all() or not drawn.any():
                undefined += 1
                assert np.isnan(found.ap[k, r])
                assert np.isnan(found.auc[k, r])
            else:
                assert found.ap[k, r] == pytest.approx(average_precision_score(drawn, ranked), abs=1e-12)
                assert found.auc[k, r] == pytest.approx(roc_auc_score(drawn, ranked), abs=1e-12)
    assert undefined, "no resample without a positive clip was tried"


def test_every_clip_drawn_once_gives_the_plain_metrics():
    targets, probs = scores()
    plain, found = (
        evaluate_scores(targets, probs),
        resample_scores(targets, {"a": probs}, np.ones((60, 1), np.float32))["a"],
    )
    np.testing.assert_allclose(found.ap[:, 0], plain.ap)
    np.testing.assert_allclose(found.auc[:, 0], plain.auc)
    means = found.means()
    assert means["mAP"][0] == pytest.approx(plain.mean_ap)
    assert means["mAUC"][0] == pytest.approx(plain.mean_auc)
    assert means["d_prime"][0] == pytest.approx(plain.d_prime)


def test_a_mean_is_over_the_classes_that_a_resample_can_score():
    targets, probs = scores()
    counts = draw(60, 40, seed=1)
    found = resample_scores(targets, {"a": probs}, counts)["a"]
    lacking = np.isnan(found.ap).any(0)
    assert lacking.any()
    assert np.isfinite(found.means()["mAP"]).all()
    r = int(np.flatnonzero(lacking)[0])
    assert found.means()["mAP"][r] == pytest.approx(np.nanmean(found.ap[:, r]))
    assert found.means()["d_prime"][r] == pytest.approx(d_prime(np.nanmean(found.auc[:, r])))


def test_a_class_that_cannot_be_scored_and_no_class_at_all():
    targets, probs = scores()
    targets[:, 2] = True
    found = resample_scores(targets, {"a": probs}, draw(60, 5, seed=0))["a"]
    assert np.isnan(found.ap[2]).all()
    none = resample_scores(np.zeros_like(targets), {"a": probs}, draw(60, 5, seed=0))["a"]
    assert np.isnan(none.means()["mAP"]).all()
    assert all(np.isnan(interval(none.means()["mAP"])))


def test_streams_share_their_resamples_so_that_differences_are_paired():
    targets, probs = scores()
    counts = draw(60, 200, seed=0)
    found = resample_scores(targets, {"global": probs, "fused": probs * 0.5, "other": scores(seed=5)[1]}, counts)
    assert np.array_equal(found["global"].ap, found["fused"].ap, equal_nan=True), "the same ranking"
    assert not np.array_equal(found["global"].ap, found["other"].ap, equal_nan=True)


def test_draws_are_of_all_clips_with_replacement_and_seeded():
    counts = draw(1000, 50, seed=3)
    assert (counts.sum(0) == 1000).all()
    assert np.mean(counts == 0) == pytest.approx(np.exp(-1), abs=0.01)
    assert np.array_equal(counts, draw(1000, 50, seed=3))
    assert not np.array_equal(counts, draw(1000, 50, seed=4))


def test_threads_change_nothing():
    targets, probs = scores()
    counts = draw(60, 20, seed=0)
    one, three = (resample_scores(targets, {"a": probs}, counts, workers)["a"] for workers in (1, 3))
    assert np.array_equal(one.ap, three.ap, equal_nan=True)


def test_the_interval_is_the_middle_95_percent():
    assert interval(np.arange(1001.0)) == (25.0, 975.0)
    assert interval(np.array([np.nan, 2.0, np.inf, 1.0])) == (1.0, np.inf)
