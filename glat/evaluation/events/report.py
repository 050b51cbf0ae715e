"""Event metrics of a model with bootstrap intervals: a table, each class, and curves."""

from collections.abc import Callable, Iterator, Sequence
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
from .timelines import EVIDENCE, joined, stretches, timelines, truths

Floats = NDArray[np.float64]
Interval = tuple[float, float]

F1 = ("event", "segment")
METRICS = {
    "PSDS1": "PSDS1",
    "PSDS2": "PSDS2",
    "event_F1": "event F1",
    "event_F1_best": "  its best",
    "segment_F1": "segment F1",
    "segment_F1_best": "  its best",
}
COMPARED = ("sharpened", "frames")  # one minus the other


@dataclass(frozen=True)
class EventReport:
    """PSDS and F1 by evidence (`EVIDENCE`) and metric (`METRICS`); means are over the classes that have an event."""

    classes: tuple[str, ...]
    events: tuple[int, ...]  # of each class
    scores: dict[str, dict[str, float]]
    class_scores: dict[str, dict[str, Floats]]  # [L], NaN for a class without an event
    thresholds: dict[str, dict[str, Floats]]  # [L] each of "event" and "segment": those of the best F1
    intervals: dict[str, dict[str, Interval]]  # this and the next are empty without resamples
    differences: dict[str, Interval]  # of `COMPARED`, on the same resamples
    curves: dict[str, dict[str, tuple[Floats, Floats]]]  # by PSDS, as of `measures.curve`
    at: str  # the thresholds of the F1 that is not the best, in words

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
        """Lines below the table."""
        known = sum(events > 0 for events in self.events)
        lines = [
            f"{sum(self.events)} events of {known} classes; F1 {self.at}, and at the best threshold of each class",
            "event F1: onsets within 0.2 s, offsets within 0.2 s or 20 %; segment F1: 1 s",
        ]
        if self.differences:
            less = ", ".join(
                f"{METRICS[metric]} {self.difference(metric):+.3f} [{low:+.3f}, {high:+.3f}]"
                for metric, (low, high) in self.differences.items()
                if not metric.endswith("_best")
            )
            lines.append(f"{' - '.join(COMPARED)}: {less}")
        if known < len(self.events):
            lines.append(f"{len(self.events) - known} of {len(self.events)} classes have no event and are left out")
        return lines

    def to_json(self) -> dict[str, Any]:
        """All results but the classes', as plain types."""
        differences = {
            metric: {"value": self.difference(metric), "interval": bounds}
            for metric, bounds in self.differences.items()
        }
        of_evidence = {
            evidence: {
                "scores": self.scores[evidence],
                "intervals": self.intervals.get(evidence),
                "best_thresholds": {
                    kind: {label: z for label, z in zip(self.classes, found.tolist(), strict=True) if not np.isnan(z)}
                    for kind, found in self.thresholds[evidence].items()
                },
            }
            for evidence in EVIDENCE
        }
        return {"at": self.at, "evidence": of_evidence, "_minus_".join(COMPARED): differences}

    def rows(self) -> Iterator[dict[str, Any]]:
        """By class: its events, then every metric of every evidence; None where it has no event."""
        for k, events in enumerate(self.events):
            row: dict[str, Any] = {"events": events}
            for evidence in EVIDENCE:
                for metric in METRICS:
                    value = self.class_scores[evidence][metric][k]
                    row[f"{metric}_{evidence}"] = None if np.isnan(value) else float(value)
            yield row


def event_report(
    scored: Scored, crop_samples: int, thresholds: Floats | None, resamples: int, seed: int
) -> EventReport:
    """Say how well a model knows when a class sounds, by each kind of evidence.

    Args:
        scored: of clips whose events are known, with the logits of frames and crops.
        crop_samples: W.
        thresholds: [L], of the frames as they are, those of the run; None: 0.5. All else is taken from 0.5 on.
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
    curves: dict[str, dict[str, tuple[Floats, Floats]]] = {}
    for evidence in EVIDENCE:
        counts = count(joined(timelines(scored, crop_samples, evidence), rows), known, labels)
        found = {kind: best_thresholds(counts, kind) for kind in F1}
        best[evidence] = {kind: _of_all(z, labels, L) for kind, z in found.items()}
        usual = half if thresholds is None or evidence != "frames" else thresholds
        measure = _measures(counts, usual[labels], found)
        ones = measure(np.ones((len(known), 1)))
        of_classes[evidence] = {metric: _of_all(each[:, 0], labels, L) for metric, (each, _) in ones.items()}
        scores[evidence] = {metric: float(mean[0]) for metric, (_, mean) in ones.items()}
        curves[evidence] = {metric: curve(counts, metric) for metric in PSDS}
        if weights is not None:
            resampled[evidence] = {metric: mean for metric, (_, mean) in measure(weights).items()}
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
        curves=curves,
        at="at 0.5" if thresholds is None else "at the run's thresholds of frames, else at 0.5",
    )


def _of_all(values: Floats, labels: Sequence[int], num_classes: int) -> Floats:
    """[L], NaN for the classes without an event."""
    found = np.full(num_classes, np.nan)
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


def _cell(value: float, bounds: Interval | None) -> Text:
    return Text(f"{value:.3f}" + (f"\n[{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""))
