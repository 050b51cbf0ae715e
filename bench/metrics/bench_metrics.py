"""The bootstrap over clips, which ranks them once per class, against scikit-learn with each resample as weights."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from glat.evaluation.bootstrap import Resampled, draw, resample_scores

from ..limits import ONE_THREAD
from ..work import bootstrap_work

M, L = 20_371, 4  # AudioSet's evaluation clips, of its 527 classes
LABELS_A_CLIP, CLASSES = 2.7, 527
FEW, MANY = 10, 1000  # resamples


def by_scikit_learn(targets: NDArray[np.bool_], probs: NDArray[np.float32], counts: NDArray[np.float32]) -> Resampled:
    """AP and AUC of each class in each resample; every resample is ranked anew."""
    tables = [
        np.array([[score(targets[:, k], probs[:, k], sample_weight=w) for w in counts.T] for k in range(L)])
        for score in (average_precision_score, roc_auc_score)
    ]
    return Resampled(*tables)


def test_bootstrap(benchmark: Any, race: Any) -> None:
    generator = np.random.default_rng(0)
    targets = generator.random((M, L)) < LABELS_A_CLIP / CLASSES
    probs = ((generator.random((M, L), dtype=np.float32) + targets) / 2).astype(np.float32)
    few, many = draw(M, FEW, seed=0), draw(M, MANY, seed=0)
    wanted_of_many = by_scikit_learn(targets, probs, many[:, [0, -1]])
    for counts, columns, workers, wanted in (
        (few, slice(None), 1, by_scikit_learn(targets, probs, few)),
        (many, [0, -1], None, wanted_of_many),
    ):
        found = resample_scores(targets, {"": probs}, counts, workers=workers)[""]
        np.testing.assert_allclose(found.ap[:, columns], wanted.ap, rtol=1e-9)
        np.testing.assert_allclose(found.auc[:, columns], wanted.auc, rtol=1e-9)
    competitors = {
        "glat": lambda: resample_scores(targets, {"": probs}, few, workers=1),
        "scikit-learn": lambda: by_scikit_learn(targets, probs, few),
    }
    work = bootstrap_work(M, L, FEW)
    finished = race(f"{FEW} resamples, {M} clips, {L} classes", competitors, device=ONE_THREAD, work=work)
    finished.record(benchmark.extra_info)
    larger = race(
        f"{MANY} resamples, {M} clips, {L} classes",
        {"glat": lambda: resample_scores(targets, {"": probs}, many)},
        work=bootstrap_work(M, L, MANY),
    )
    larger.record(benchmark.extra_info)
    benchmark.pedantic(competitors["glat"], rounds=1)
    finished.promise("glat", 2, "scikit-learn")
