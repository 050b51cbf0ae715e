"""PSDS and F1 of counts, of all clips or of resamples of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .counts import PSDS, Counts, Psds

Floats = NDArray[np.float64]
Weights = NDArray[Any]  # floating

_AT_ONCE = 2_000_000  # numbers in a table of thresholds and resamples


def psds(counts: Counts, metric: str, weights: Weights) -> tuple[Floats, Floats]:
    """PSDS of each class and of all.

    Of a class, the curve of its share of detected events (the true-positive ratio) against its effective false
    positives an hour, ``FP + alpha_ct * mean cross triggers``; the score of a class is the area below the curve up to
    ``max_efpr``, divided by it; that of all is the area below the mean of the curves minus ``alpha_st`` times their
    deviation, where that is above 0. Classes without an event in a resample are left out of it.

    Args:
        metric: a name of `PSDS`.
        weights: [M, R], how often each clip counts, float64; float32 takes half the time and is good to six digits.

    Returns:
        [L, R], NaN where the class has no event, and [R].

    Source: as of `count`. Deviation: none; sed_scores_eval makes the same numbers of all clips, and of a resample whose
    clips are given to it as often as they were drawn.
    """
    L, R = len(counts.classes[metric]), weights.shape[1]
    of_classes, of_all = np.full((L, R), np.nan), np.full(R, np.nan)
    most = max(len(each.scores) for each in counts.classes[metric])
    step = max(1, _AT_ONCE // max(1, most))
    for first in range(0, R, step):
        part = slice(first, min(first + step, R))
        of_classes[:, part], of_all[part] = _psds(counts, metric, weights[:, part])
    return of_classes, of_all


def curve(counts: Counts, metric: str) -> tuple[Floats, Floats]:
    """What PSDS is the area of, of all clips and classes: effective false positives an hour, ascending from 0 to
    ``max_efpr``, and the effective true-positive ratio from each on to the next."""
    rules = PSDS[metric]
    ones = np.ones((len(counts.clip_seconds), 1))
    curves = [_curves(counts, metric, k, rules, ones)[0] for k in range(len(counts.classes[metric]))]
    at, rates = _on_one_axis([each for each in curves if each is not None])
    effective = _effective(rates, rules)
    return np.concatenate([[0.0], at, [rules.max_efpr]]), np.concatenate([[0.0], effective, effective[-1:]])


def _psds(counts: Counts, metric: str, weights: Weights) -> tuple[Floats, Floats]:
    rules = PSDS[metric]
    curves = [_curves(counts, metric, k, rules, weights) for k in range(len(counts.classes[metric]))]
    L, R = len(curves), weights.shape[1]
    of_classes, of_all = np.full((L, R), np.nan), np.full(R, np.nan)
    for r in range(R):
        known = {k: each[r] for k, each in enumerate(curves)}
        drawn = {k: each for k, each in known.items() if each is not None}
        if drawn:
            at, rates = _on_one_axis(list(drawn.values()))
            widths = np.diff(at, append=rules.max_efpr) / rules.max_efpr
            of_classes[list(drawn), r] = rates @ widths
            of_all[r] = _effective(rates, rules) @ widths
    return of_classes, of_all


Curve = tuple[Floats, Floats]  # effective false positives an hour, ascending, and the largest true-positive ratio there


def _on_one_axis(curves: Sequence[Curve]) -> tuple[Floats, Floats]:
    """Where any of some staircases rises, [n], and the height of each there, [len(curves), n]."""
    at = np.unique(np.concatenate([false for false, _ in curves]))
    return at, np.stack([np.append(0.0, true)[np.searchsorted(false, at, "right")] for false, true in curves])


def _effective(rates: Floats, rules: Psds) -> Floats:
    return np.asarray(np.maximum(rates.mean(0) - rules.alpha_st * rates.std(0), 0.0))


def _curves(counts: Counts, metric: str, k: int, rules: Psds, weights: Weights) -> list[Curve | None]:
    """Of class k by resample, R; None where it has no event."""
    of_class = counts.classes[metric][k]
    wanted = of_class.wanted @ weights  # [R]
    hours = counts.clip_seconds @ weights / 3600
    drawn = weights[of_class.clips]  # [G, R]
    changes = of_class.false[:, None].astype(weights.dtype) * drawn
    changes /= hours.astype(weights.dtype)
    if rules.alpha_ct and of_class.cross.shape[1]:
        # Of each other class, how many cross triggers there are an hour of its events.
        sounding = np.maximum(counts.sounding_seconds.T @ weights, 1e-12) / 3600  # [L, R]
        others = np.arange(len(sounding)) != k
        factors = rules.alpha_ct / others.sum() / sounding[others]
        changes += (of_class.cross[:, others] @ factors) * drawn
    # Rows: above all scores, then above each different one, from the highest on.
    last = np.flatnonzero(np.diff(of_class.scores, append=-np.inf))
    false = np.concatenate([np.zeros_like(changes[:1]), changes.cumsum(0, out=changes)[last]])
    near = np.flatnonzero((false <= rules.max_efpr).any(1))
    found = np.flatnonzero(of_class.true)  # few of all changes
    true = np.concatenate([np.zeros_like(changes[:1]), (of_class.true[found, None] * drawn[found]).cumsum(0)])
    true = true[np.searchsorted(found, np.append(-1, last)[near], "right")] / np.maximum(wanted, 1)
    false = false[near]
    return [_staircase(false[:, r], true[:, r], rules.max_efpr) if wanted[r] else None for r in range(len(wanted))]


def _staircase(false: Floats, true: Floats, most: float) -> Curve:
    order = np.lexsort((-true, false))
    order = order[false[order] <= most]
    rising = np.maximum.accumulate(true[order])
    steps = np.append(True, np.diff(rising) > 0)
    return false[order][steps], rising[steps]


def f1(counts: Counts, metric: str, thresholds: Floats, weights: Weights) -> Floats:
    """``2 TP / (2 TP + FP + FN)`` of each class, "event"- or "segment"-based; [L, R], NaN without such an event.

    Args:
        thresholds: [L]; a class sounds where its score is at least this.
        weights: [M, R], as of `psds`.
    """
    found = np.full((len(counts.classes[metric]), weights.shape[1]), np.nan)
    for k, of_class in enumerate(counts.classes[metric]):
        above = of_class.scores >= thresholds[k]
        true, false = (
            np.bincount(of_class.clips[above], column[above], len(weights)) @ weights
            for column in (of_class.true, of_class.false)
        )
        wanted = of_class.wanted @ weights
        with np.errstate(invalid="ignore"):  # 0 / 0: no event, and none detected
            found[k] = np.where(wanted > 0, 2 * true / (true + false + wanted), np.nan)
    return found


def best_thresholds(counts: Counts, metric: str) -> Floats:
    """[L], for each class the threshold of its largest F1 on these clips; 1 where nothing is gained by any."""
    found = np.ones(len(counts.classes[metric]))
    for k, of_class in enumerate(counts.classes[metric]):
        wanted = of_class.wanted.sum()
        if not wanted or not len(of_class.scores):
            continue
        true, false = of_class.true.cumsum(), of_class.false.cumsum()
        scores = 2 * true / (true + false + wanted)
        # A threshold cannot part equal scores.
        scores[np.append(np.diff(of_class.scores) == 0, False)] = -1
        best = int(scores.argmax())
        below = of_class.scores[best + 1] if best + 1 < len(scores) else 0.0
        if scores[best] > 0:
            found[k] = (of_class.scores[best] + below) / 2
    return found
