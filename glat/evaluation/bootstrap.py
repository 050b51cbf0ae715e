"""Bootstrap over clips: how much would the scores differ on other clips of the same kind?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from ..data.parallel import in_parallel
from .metrics import d_prime

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Resampled:
    """AP and AUC of L classes in each of R resamples; NaN where a resample has no positive or no negative clip."""

    ap: Floats  # [L, R]
    auc: Floats  # [L, R]

    def means(self) -> dict[str, Floats]:
        """mAP, mAUC and d' of each resample, [R] each, over the classes that can be scored in it."""
        mean_ap, mean_auc = (_mean(table) for table in (self.ap, self.auc))
        return {"mAP": mean_ap, "mAUC": mean_auc, "d_prime": np.array([d_prime(auc) for auc in mean_auc])}


def draw(clips: int, resamples: int, seed: int) -> NDArray[np.float32]:
    """Draw resamples: for each of them, how often each clip is drawn in ``clips`` draws with replacement.

    Returns:
        [M, R] whole numbers; each column sums to M.
    """
    rng = np.random.default_rng(seed)
    counts = np.empty((clips, resamples), np.float32)
    for r in range(resamples):
        counts[:, r] = np.bincount(rng.integers(clips, size=clips), minlength=clips)
    return counts


def resample_scores(
    targets: NDArray[np.bool_],
    probs: Mapping[str, NDArray[np.float32]],
    counts: NDArray[np.float32],
    workers: int | None = None,
) -> dict[str, Resampled]:
    """AP and AUC of each class in each resample; all streams are scored on the same resamples.

    A clip that was drawn twice counts twice, like a ``sample_weight`` of 2 in scikit-learn. Clips are ranked once per
    class, not once per resample: AP and AUC need, for each score of a positive clip, the number of clips above it and
    at it. These numbers are sums over the ranked clips, computed for all resamples at once.

    Args:
        targets: [M, L] bool.
        probs: by stream, [M, L], finite.
        counts: [M, R] of `draw`; M is below 2**24, up to which float32 adds whole numbers exactly.
        workers: threads; None: one per core. Does not change the result.
    """
    L, R = targets.shape[1], counts.shape[1]
    names = list(probs)
    found = {name: Resampled(np.full((L, R), np.nan), np.full((L, R), np.nan)) for name in names}
    positives = targets.sum(0)
    scored = np.flatnonzero((positives > 0) & (positives < len(targets)))

    def work(i: int) -> None:
        k, name = scored[i // len(names)], names[i % len(names)]
        found[name].ap[k], found[name].auc[k] = _ap_and_auc(targets[:, k], probs[name][:, k], counts)

    in_parallel(work, len(scored) * len(names), workers)
    return found


def _ap_and_auc(
    target: NDArray[np.bool_], scores: NDArray[np.float32], counts: NDArray[np.float32]
) -> tuple[Floats, Floats]:
    """AP and AUC [R] of one class."""
    levels = np.unique(scores[target])  # [G], ascending: the scores at which recall rises
    G = len(levels)
    # Segment 2g: scores between levels g - 1 and g. Segment 2g + 1: scores at level g.
    segment = np.searchsorted(levels, scores, "left") + np.searchsorted(levels, scores, "right")
    sums = _sums(segment, 2 * G + 1, counts)  # [2G + 1, R]
    from_above = sums[::-1].cumsum(0)
    above, down_to = from_above[0:-1:2], from_above[1::2]  # [G, R], the highest level first
    hits = _sums(segment[target] // 2, G, counts[target])[::-1]  # positives at each level
    hits_down_to = hits.cumsum(0)
    positives = hits_down_to[-1]
    negatives = from_above[-1] - positives
    with np.errstate(invalid="ignore"):  # 0 / 0: no clip at or above a level, or no positive or no negative clip
        precision = np.where(down_to > 0, hits_down_to / down_to, 0.0)
        ap = (hits * precision).sum(0) / positives
        negatives_above = above - (hits_down_to - hits)
        negatives_down_to = down_to - hits_down_to
        below = negatives - 0.5 * (negatives_above + negatives_down_to)  # negatives at the level count half
        auc = (hits * below).sum(0) / (positives * negatives)
    undefined = (positives == 0) | (negatives == 0)
    ap[undefined] = auc[undefined] = np.nan
    return ap, auc


def _sums(segment: NDArray[np.int64], segments: int, counts: NDArray[np.float32]) -> Floats:
    """Sums of the rows of `counts` by segment; [segments, R]."""
    rows = np.arange(len(segment))
    member = csr_matrix((np.ones(len(segment), np.float32), (segment, rows)), shape=(segments, len(segment)))
    return np.asarray(member @ counts, np.float64)


def _mean(table: Floats) -> Floats:
    """Mean of each resample over its classes that are not NaN, [R]; NaN where all are."""
    known = np.isfinite(table)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, table, 0.0).sum(0) / known.sum(0))


def interval(values: Floats, share: float = 0.95) -> tuple[float, float]:
    """The interval that holds the middle `share` of the resampled values; NaN where all of them are NaN."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - share) / 2, (1 + share) / 2], method="nearest")
    return float(low), float(high)
