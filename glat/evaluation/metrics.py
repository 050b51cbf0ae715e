"""mAP, mAUC and d-prime of multi-label scores."""

import math
import statistics
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score


@dataclass(frozen=True)
class Metrics:
    """Means over the classes that could be scored; NaN where none could."""

    mean_ap: float
    mean_auc: float
    d_prime: float
    ap: NDArray[np.float64]  # [L], NaN for a class that was left out
    auc: NDArray[np.float64]  # [L], likewise
    left_out: tuple[int, ...]  # classes without a positive, or without a negative clip

    def means(self) -> dict[str, float]:
        """The three means by their names in files."""
        return {"mAP": self.mean_ap, "mAUC": self.mean_auc, "d_prime": self.d_prime}


def evaluate_scores(targets: NDArray[np.bool_], probs: NDArray[np.float32]) -> Metrics:
    """Score clips per class and average.

    ``d' = sqrt(2) Phi^-1(mean AUC)``: d' of the mean AUC, not the mean of the classes' d'. A class without a positive
    clip has no AP, one without a negative clip no AUC. Such classes are left out of all three means and listed in
    `left_out`; they are never counted as 0.

    Args:
        targets: [M, L] bool.
        probs: [M, L], any scores that rank the clips.

    Raises:
        ValueError: shapes that differ, no clip, scores that are not finite.

    Source: PANNs' evaluation, which GL-AT and TALNet share. Deviation: PANNs counts a class it cannot score as NaN.
    """
    if targets.shape != probs.shape or targets.ndim != 2 or len(targets) == 0:
        raise ValueError(f"wanted targets and probs [M, L] with M > 0, got {targets.shape} and {probs.shape}")
    if not np.isfinite(probs).all():
        bad = np.flatnonzero(~np.isfinite(probs).all(1))
        raise ValueError(f"probs of {len(bad)} clips are not finite, first clip {bad[0]}; the weights may be damaged")
    L = targets.shape[1]
    ap, auc = np.full(L, np.nan), np.full(L, np.nan)
    positives = targets.sum(0)
    scored = (positives > 0) & (positives < len(targets))
    for k in np.flatnonzero(scored):
        ap[k] = average_precision_score(targets[:, k], probs[:, k])
        auc[k] = roc_auc_score(targets[:, k], probs[:, k])
    mean_ap, mean_auc = (float(x[scored].mean()) if scored.any() else math.nan for x in (ap, auc))
    left_out = tuple(int(k) for k in np.flatnonzero(~scored))
    return Metrics(mean_ap, mean_auc, d_prime(mean_auc), ap, auc, left_out)


def d_prime(mean_auc: float) -> float:
    """``sqrt(2) Phi^-1(mean_auc)``; infinite at 0 and 1, NaN outside."""
    if not 0 < mean_auc < 1:
        return {0.0: -math.inf, 1.0: math.inf}.get(mean_auc, math.nan)
    return math.sqrt(2) * statistics.NormalDist().inv_cdf(mean_auc)
