"""mAP and mAUC of AudioSet's evaluation clips against scikit-learn's loops over the classes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from glat.metrics import evaluate_scores

M, L = 20_371, 527  # AudioSet's evaluation clips and classes
LABELS_A_CLIP = 2.7


def by_scikit_learn(targets: NDArray[np.bool_], probs: NDArray[np.float32]) -> tuple[float, float]:
    """What PANNs' evaluation calls."""
    aps = average_precision_score(targets, probs, average=None)
    aucs = roc_auc_score(targets, probs, average=None)
    return float(np.mean(aps)), float(np.mean(aucs))


def test_metrics(benchmark: Any, race: Any) -> None:
    generator = np.random.default_rng(0)
    targets = generator.random((M, L)) < LABELS_A_CLIP / L
    targets[0], targets[1] = True, False  # every class can be scored
    probs = (generator.random((M, L), dtype=np.float32) + targets).astype(np.float32) / 2

    def ours() -> tuple[float, float]:
        found = evaluate_scores(targets, probs)
        return found.mean_ap, found.mean_auc

    competitors: dict[str, Callable[[], Any]] = {
        "glat": ours,
        "scikit-learn": lambda: by_scikit_learn(targets, probs),
    }
    np.testing.assert_allclose(ours(), competitors["scikit-learn"](), rtol=1e-9)
    finished = race(f"mAP and mAUC, {M} clips, {L} classes", competitors)
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors["glat"], rounds=1)
