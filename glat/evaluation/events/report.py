"""Event metrics of a model with bootstrap intervals: a table, each class, and curves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...terminal import Table, Text
from ..bootstrap import draw, interval
from ..score import Scored
from .counts import PSDS, Counts, count
from .measures import best_thresholds, curve, f1, psds
from .scores import EVIDENCE, METRICS, SHORT, EventScores
from .timelines import joined, stretches, timelines, truths

Floats = NDArray[np.float64]
Interval = tuple[float, float]

F1 = ("event", "segment")
COMPARED = ("sharpened", "frames")  # one minus the other


@dataclass(frozen=True)
class EventReport:
    """PSDS and F1 by evidence (`EVIDENCE`) and metric (`METRICS`); means are over the classes that have an event."""

    classes: tuple[str, ...]
    events: tuple[int, ...]  # of each class
    scores: dict[str, dict[str, float]]
    class_scores: dict[str, dict[str, Floats]]  # [L], NaN for a class without an event
    thresholds: dict[str, dict[str, Floats]]  # [L] each of "event" and "segment": those of the best F1
    intervals: dict[str, dict[str, Interval]]  # this and the next two are empty without resamples
    differences: dict[str, Interval]  # of `COMPARED`, on the same resamples
    class_intervals: dict[str, dict[str, list[Interval]]]  # one a class, NaN for a class without an event
    curves: dict[str, dict[str, tuple[Floats, Floats]]]  # by PSDS, as of `measures.curve`
    at: str  # the thresholds of the F1 that is not the best, in words

    def short(self) -> EventScores:
        """What a run's end prints and keeps of it."""
        known = sum(events > 0 for events in self.events)
        return EventScores(sum(self.events), known, self.at, self.scores)

    def difference(self, metric: str) -> float:
        """Of `COMPARED`."""
        one, other = COMPARED
        return self.scores[one][metric] - self.scores[other][metric]

    def table(self) -> Table:
        """A line a metric, with the intervals in brackets."""
        result = Table("when")
        for evidence in EVIDENCE:
            result.add_column(evidence, justify="right")
        for metric, title in METRICS.items():
            cells = [
                _cell(self.scores[evidence][metric], self.intervals.get(evidence, {}).get(metric))
                for evidence in EVIDENCE
            ]
            result.add_row(Text(title), *cells)
        return result

    def remarks(self) -> list[str]:
        """Lines below the table, of at most 80 columns."""
        short = self.short()
        lines = [
            f"{short.events} events of {short.classes} classes; F1 {self.at}",
            "its best: at the threshold of each class that is best on these very clips",
            "event F1: onsets within 0.2 s, offsets within 0.2 s or 20 %; segment F1: 1 s",
        ]
        if self.differences:
            lines.append(f"{' - '.join(COMPARED)}, on the same resamples:")
            for metric in SHORT:
                low, high = self.differences[metric]
                lines.append(f"  {METRICS[metric]:<10}  {self.difference(metric):+.3f} [{low:+.3f}, {high:+.3f}]")
        if short.classes < len(self.events):
            left_out = len(self.events) - short.classes
            lines.append(f"{left_out} of {len(self.events)} classes have no event and are left out")
        return lines

    def to_json(self) -> dict[str, Any]:
        """All results but the classes', as plain types."""
        differences = {
            metric: {"value": self.difference(metric), "interval": bounds}
            for metric, bounds in self.differences.items()
        }
        found = self.short().to_json()
        for evidence, of_evidence in found["evidence"].items():
            of_evidence |= {
                "intervals": self.intervals.get(evidence),
                "best_thresholds": {
                    kind: {label: z for label, z in zip(self.classes, best.tolist(), strict=True) if not np.isnan(z)}
                    for kind, best in self.thresholds[evidence].items()
                },
            }
        return found | {"_minus_".join(COMPARED): differences}

    def rows(self) -> Iterator[dict[str, Any]]:
        """By class: its events, then every metric of every evidence with its interval; None where it has no event."""
        for k, events in enumerate(self.events):
            row: dict[str, Any] = {"events": events}
            for evidence in EVIDENCE:
                for metric in METRICS:
                    name = f"{metric}_{evidence}"
                    row[name] = _or_none(self.class_scores[evidence][metric][k])
                    if self.class_intervals:
                        low, high = self.class_intervals[evidence][metric][k]
                        row[f"{name}_low"], row[f"{name}_high"] = _or_none(low), _or_none(high)
            yield row


def event_report(
    scored: Scored, crop_samples: int, thresholds: Mapping[str, Floats], resamples: int, seed: int
) -> EventReport:
    """Say how well a model knows when a class sounds, by each kind of evidence.

    Args:
        scored: of clips whose events are known, with the logits of frames and crops.
        crop_samples: W.
        thresholds: [L] by evidence, those that the run keeps; any other evidence is taken from 0.5 on.
        resamples: of the clips (of windows in a row: of their recordings), the same as `report` draws; 0: no
            intervals.
        seed: for the resamples.

    Raises:
        UserError: sed_scores_eval is not installed; the clips hold no event.
    """
    clips = scored.clips
    rows = stretches(clips)
    known = truths(clips, rows)
    L = len(clips.classes)
    events = np.bincount([event.label for clip in known for event in clip.events], minlength=L)
    labels = np.flatnonzero(events).tolist()
    if not labels:
        raise UserError("the clips hold no event of a class of the run")
    half = np.full(L, 0.5)
    weights = draw(len(known), resamples, seed) if resamples else None
    scores: dict[str, dict[str, float]] = {}
    of_classes: dict[str, dict[str, Floats]] = {}
    best: dict[str, dict[str, Floats]] = {}
    resampled: dict[str, dict[str, Floats]] = {}
    of_class_resampled: dict[str, dict[str, list[Interval]]] = {}
    curves: dict[str, dict[str, tuple[Floats, Floats]]] = {}
    for evidence in EVIDENCE:
        counts = count(joined(timelines(scored, crop_samples, evidence), rows), known, labels)
        found = {kind: best_thresholds(counts, kind) for kind in F1}
        best[evidence] = {kind: _of_all(z, labels, L) for kind, z in found.items()}
        measure = _measures(counts, thresholds.get(evidence, half)[labels], found)
        ones = measure(np.ones((len(known), 1)))
        of_classes[evidence] = {metric: _of_all(each[:, 0], labels, L) for metric, (each, _) in ones.items()}
        scores[evidence] = {metric: float(mean[0]) for metric, (_, mean) in ones.items()}
        curves[evidence] = {metric: curve(counts, metric) for metric in PSDS}
        if weights is not None:
            drawn = measure(weights)
            resampled[evidence] = {metric: mean for metric, (_, mean) in drawn.items()}
            of_class_resampled[evidence] = {
                metric: [interval(values) for values in _of_all(each, labels, L)] for metric, (each, _) in drawn.items()
            }
    one, other = COMPARED
    less = {metric: resampled[one][metric] - resampled[other][metric] for metric in METRICS} if resampled else {}
    return EventReport(
        classes=clips.classes,
        events=tuple(events.tolist()),
        scores=scores,
        class_scores=of_classes,
        thresholds=best,
        intervals={
            evidence: {metric: interval(values) for metric, values in of_metric.items()}
            for evidence, of_metric in resampled.items()
        },
        differences={metric: interval(values) for metric, values in less.items()},
        class_intervals=of_class_resampled,
        curves=curves,
        at=f"at the run's thresholds for {' and '.join(thresholds)}, else at 0.5" if thresholds else "at 0.5",
    )


def _of_all(values: Floats, labels: Sequence[int], num_classes: int) -> Floats:
    """[L, ...], NaN for the classes without an event."""
    found = np.full((num_classes, *values.shape[1:]), np.nan)
    found[labels] = values
    return found


Measure = Callable[[Any], dict[str, tuple[Floats, Floats]]]


def _measures(counts: Counts, usual: Floats, best: dict[str, Floats]) -> Measure:
    """What makes of weights [M, R] every metric of the classes, [L, R], and its mean over them, [R]."""

    def measure(weights: Any) -> dict[str, tuple[Floats, Floats]]:
        found = {metric: psds(counts, metric, weights) for metric in PSDS}
        for kind in F1:
            for suffix, thresholds in (("", usual), ("_best", best[kind])):
                values = f1(counts, kind, thresholds, weights)
                found[f"{kind}_F1{suffix}"] = values, _mean(values)
        return {metric: found[metric] for metric in METRICS}

    return measure


def _mean(values: Floats) -> Floats:
    """Over the classes that are not NaN, [R]; NaN where all are."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(0) / known.sum(0))


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _cell(value: float, bounds: Interval | None) -> Text:
    return Text(f"{value:.3f}" + (f"\n[{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""))
