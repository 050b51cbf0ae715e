"""Thresholds that maximise F1 on evaluation clips, a class at a time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Threshold:
    """The threshold of a class that maximises F1 on evaluation clips, and what it makes of them."""

    threshold: float
    precision: float
    recall: float
    f1: float


def best_thresholds(
    targets: NDArray[np.bool_], probs: NDArray[np.float32], classes: tuple[str, ...]
) -> dict[str, Threshold]:
    """For each class the threshold at which ``F1 = 2 TP / (2 TP + FP + FN)`` of ``probs >= threshold`` is largest.

    The threshold lies half way between the least probability that is taken and the next below it, so that it does not
    hang on one clip's last digit. Of equal F1, the highest threshold. A class without a positive clip or without a
    negative one has no threshold.

    Args:
        targets: [M, L].
        probs: [M, L], in 0..1.
        classes: L names.

    Returns:
        By class; precision, recall and F1 are those on these very clips, so other clips will do a little worse.
    """
    found = {}
    for k, label in enumerate(classes):
        positives = int(targets[:, k].sum())
        if not 0 < positives < len(targets):
            continue
        order = np.argsort(-probs[:, k], kind="stable")
        ranked = probs[order, k].astype(np.float64)
        hits = np.cumsum(targets[order, k])
        taken = np.arange(1, len(ranked) + 1)
        f1 = 2 * hits / (taken + positives)
        f1[:-1][ranked[:-1] == ranked[1:]] = -1  # a threshold cannot part equal probabilities
        best = int(f1.argmax())
        below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
        threshold = max((ranked[best] + below) / 2, np.finfo(np.float32).tiny)
        found[label] = Threshold(
            threshold=float(threshold),
            precision=float(hits[best] / taken[best]),
            recall=float(hits[best] / positives),
            f1=float(f1[best]),
        )
    return found
