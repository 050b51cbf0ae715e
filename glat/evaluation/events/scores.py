"""How well a model knows when: PSDS and F1 by evidence, as a run's end prints and keeps them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...terminal import Table

EVIDENCE = ("frames", "crops", "sharpened")
METRICS = {
    "PSDS1": "PSDS1",
    "PSDS2": "PSDS2",
    "event_F1": "event F1",
    "event_F1_best": "  its best",
    "segment_F1": "segment F1",
    "segment_F1_best": "  its best",
}
SHORT = tuple(metric for metric in METRICS if not metric.endswith("_best"))
FLAT = tuple(f"{metric}_{evidence}" for evidence in EVIDENCE for metric in SHORT)


@dataclass(frozen=True)
class EventScores:
    """PSDS and F1 by evidence (`EVIDENCE`) and metric (`METRICS`); means over the classes that have an event."""

    events: int
    classes: int  # that have an event
    at: str  # the thresholds of the F1 that is not the best, in words
    scores: dict[str, dict[str, float]]

    def table(self) -> Table:
        """A line for each metric of `SHORT`."""
        result = Table("when")
        for evidence in EVIDENCE:
            result.add_column(evidence, justify="right")
        for metric in SHORT:
            result.add_row(METRICS[metric], *(f"{self.scores[evidence][metric]:.3f}" for evidence in EVIDENCE))
        return result

    def remark(self) -> str:
        """What stands below the table."""
        return f"{self.events} events of {self.classes} classes, F1 {self.at}; glat evaluate says more"

    def flat(self) -> dict[str, float]:
        """The metrics of `SHORT` by the names of `FLAT`, such as PSDS1_frames."""
        return dict(
            zip(FLAT, (self.scores[evidence][metric] for evidence in EVIDENCE for metric in SHORT), strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        """As plain types; `event_scores` takes them back."""
        evidence = {name: {"scores": scores} for name, scores in self.scores.items()}
        return {"events": self.events, "classes": self.classes, "at": self.at, "evidence": evidence}


def event_scores(found: Mapping[str, Any]) -> EventScores:
    """What `EventScores.to_json` wrote; KeyError, TypeError or ValueError where it is something else."""
    scores = {
        evidence: {metric: _number(found["evidence"][evidence]["scores"][metric]) for metric in METRICS}
        for evidence in EVIDENCE
    }
    return EventScores(int(found["events"]), int(found["classes"]), str(found["at"]), scores)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
