"""An evaluation with bootstrap intervals: Table 2, each class, and the clips that were scored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import ClipSource
from ..terminal import Table, Text
from .bootstrap import Floats, Resampled, draw, interval, resample_scores
from .score import Evaluation, Scored, evaluation_of

SCORES = {"mAP": "mAP", "mAUC": "mAUC", "d_prime": "d'"}

Interval = tuple[float, float]


@dataclass(frozen=True)
class ScoreReport:
    """An evaluation, with 95 % intervals: where the scores would lie on other clips of the same kind."""

    evaluation: Evaluation
    classes: tuple[str, ...]
    positives: tuple[int, ...]  # clips of each class
    resamples: int
    seed: int
    intervals: dict[str, dict[str, Interval]]  # by stream and score; this and the next two are empty without resamples
    differences: dict[str, Interval]  # fused - global, by score, on the same resamples
    class_intervals: dict[str, dict[str, list[Interval]]]  # by stream and AP or AUC, one interval per class

    def difference(self, score: str) -> float:
        """Fused - global."""
        found = self._scores()
        return found["fused"][score] - found["global"][score]

    def _scores(self) -> dict[str, dict[str, float]]:
        return {stream: m.means() for stream, m in self.evaluation.metrics.items()}

    def table(self) -> Table:
        """The paper's Table 2, with the intervals in brackets."""
        result = Table("stream")
        for name in SCORES.values():
            result.add_column(name, justify="right")
        for stream, scores in self._scores().items():
            intervals = self.intervals.get(stream, {})
            result.add_row(stream, *(_cell(scores[name], intervals.get(name)) for name in SCORES))
        if self.differences:
            result.add_section()
            cells = (_cell(self.difference(name), self.differences[name], "+.3f") for name in SCORES)
            result.add_row("fused - global", *cells)
        return result

    def to_json(self) -> dict[str, Any]:
        """All results as plain types."""
        found = self.evaluation.to_json(self.classes)
        for stream, of_stream in found["streams"].items():
            of_stream["intervals"] = self.intervals.get(stream)
        differences = {
            name: {"value": self.difference(name), "interval": self.differences[name]} for name in self.differences
        }
        return {
            "resamples": self.resamples,
            "seed": self.seed,
            **found,
            "fused_minus_global": differences,
            "per_class": list(self.rows()),
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per class: clips, then AP and AUC of each stream with intervals; None where it cannot be scored."""
        for k, (label, clips) in enumerate(zip(self.classes, self.positives, strict=True)):
            row: dict[str, Any] = {"class": label, "clips": clips}
            for stream, m in self.evaluation.metrics.items():
                for name, values in (("AP", m.ap), ("AUC", m.auc)):
                    row[f"{name}_{stream}"] = _or_none(values[k])
                    if self.class_intervals:
                        low, high = self.class_intervals[stream][name][k]
                        row[f"{name}_{stream}_low"], row[f"{name}_{stream}_high"] = _or_none(low), _or_none(high)
            yield row


def report(scored: Scored, crop_samples: int, resamples: int, seed: int) -> ScoreReport:
    """Score a model's output, with bootstrap intervals.

    An interval lies between percentiles of the resampled scores; all streams use the same resamples. AP rises a little
    when a positive clip is drawn twice, so with a few hundred clips the intervals cover nearer 90 % than 95 %.

    Args:
        resamples: their number; 0: no intervals.
        seed: for the resamples.
    """
    clips = scored.clips
    targets = clips.targets.dense().numpy()
    intervals: dict[str, dict[str, Interval]] = {}
    differences: dict[str, Interval] = {}
    of_classes: dict[str, dict[str, list[Interval]]] = {}
    if resamples:
        found = resample_scores(targets, scored.probs, _drawn(clips, resamples, seed))
        means = {stream: resampled.means() for stream, resampled in found.items()}
        intervals = {stream: {name: interval(values[name]) for name in SCORES} for stream, values in means.items()}
        differences = {name: interval(_less(means["fused"][name], means["global"][name])) for name in SCORES}
        of_classes = {stream: _by_class(resampled) for stream, resampled in found.items()}
    return ScoreReport(
        evaluation=evaluation_of(scored, crop_samples),
        classes=clips.classes,
        positives=tuple(clips.targets.counts().tolist()),
        resamples=resamples,
        seed=seed,
        intervals=intervals,
        differences=differences,
        class_intervals=of_classes,
    )


def independent(clips: ClipSource) -> int:
    """How many things a resample draws: clips, or recordings with all of their windows."""
    return len(clips) if clips.origins is None else len({origin.recording for origin in clips.origins})


def _drawn(clips: ClipSource, resamples: int, seed: int) -> NDArray[np.float32]:
    """How often each clip counts in each resample, [M, R]: windows of one recording are drawn together."""
    if clips.origins is None:
        return draw(len(clips), resamples, seed)
    index = {recording: i for i, recording in enumerate(dict.fromkeys(origin.recording for origin in clips.origins))}
    return draw(len(index), resamples, seed)[[index[origin.recording] for origin in clips.origins]]


def _less(one: Floats, other: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # two infinite d' have no difference
        return np.asarray(one - other)


def _by_class(resampled: Resampled) -> dict[str, list[Interval]]:
    tables: Mapping[str, Floats] = {"AP": resampled.ap, "AUC": resampled.auc}
    return {name: [interval(values) for values in table] for name, table in tables.items()}


def _cell(value: float, bounds: Interval | None, how: str = ".3f") -> Text:
    # Score above interval: side by side, three of them are wider than a terminal.
    return Text(f"{value:{how}}" + (f"\n[{bounds[0]:{how}}, {bounds[1]:{how}}]" if bounds else ""))


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
