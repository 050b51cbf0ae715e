"""True and false positives of every clip at every threshold, counted by sed_scores_eval."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from .timelines import Timeline, Truth

ONSET_COLLAR_SECONDS, OFFSET_COLLAR_SECONDS, OFFSET_COLLAR_SHARE = 0.2, 0.2, 0.2
SEGMENT_SECONDS = 1.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Psds:
    """Parameters of a polyphonic sound detection score."""

    dtc: float  # detection tolerance: share of a detection that must lie on events of its class
    gtc: float  # ground truth intersection: share of an event that must be detected
    cttc: float | None  # cross-trigger tolerance: share of a detection on another class's events that makes it one
    alpha_ct: float  # weight of cross triggers
    alpha_st: float  # weight of the deviation between classes
    max_efpr: float = 100.0  # effective false positives an hour, up to where the area is taken


# Of DCASE's task 4, from 2021 on: the first wants exact times, the second that classes are not confused.
PSDS = {
    "PSDS1": Psds(dtc=0.7, gtc=0.7, cttc=None, alpha_ct=0.0, alpha_st=1.0),
    "PSDS2": Psds(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5, alpha_st=1.0),
}


@dataclass(frozen=True)
class ClassCounts:
    """How the counts of one class change, clip by clip, where a threshold falls below a score; G such changes.

    A detection is a run of spans whose scores are above the threshold. At a threshold z the counts of a clip are the
    sums over its changes with ``scores > z``.
    """

    scores: Floats  # [G], descending
    clips: NDArray[np.int64]  # [G]
    true: Floats  # [G], change of the true positives
    false: Floats  # [G], of the false positives
    cross: Floats  # [G, L], of the cross triggers with each class; [G, 0] where they are not counted
    wanted: Floats  # [M], of each clip the events of the class (of segments: those that hold one)


@dataclass(frozen=True)
class Counts:
    """Counts of M clips and the L classes that were counted, by metric: the names of `PSDS`, "event" and "segment"."""

    classes: dict[str, tuple[ClassCounts, ...]]
    clip_seconds: Floats  # [M]
    sounding_seconds: Floats  # [M, L], of the events


def count(timelines: Iterable[Timeline], truths: Sequence[Truth], labels: Sequence[int]) -> Counts:
    """Count with sed_scores_eval, which knows at which scores the counts of a clip change: of all thresholds at once.

    Args:
        timelines, truths: of M clips.
        labels: of the classes to count, each with an event; others are left out as if the model did not know them.

    Raises:
        UserError: sed_scores_eval is not installed.

    Source: Ebbers, Serizel and Haeb-Umbach, "Threshold-independent evaluation of sound event detection scores", 2022,
    and their library; PSDS: Bilen et al., "A framework for the robust evaluation of sound event detection", 2020; F1:
    Mesaros, Heittola and Virtanen, "Metrics for polyphonic sound event detection", 2016. Deviation: none.
    """
    library = sed_scores_eval()
    names = [str(label) for label in labels]  # not of the classes: the library asks things of a name
    keys = [f"{i:09d}" for i in range(len(truths))]
    scores = {key: _as_scores(line, names, labels) for key, line in zip(keys, timelines, strict=True)}
    truth: dict[str, list[tuple[float, float, str]]] = {}
    number, sounding = np.zeros((len(truths), len(names))), np.zeros((len(truths), len(names)))
    column = {label: k for k, label in enumerate(labels)}
    for i, (key, clip) in enumerate(zip(keys, truths, strict=True)):
        truth[key] = []
        for event in clip.events:
            if (k := column.get(event.label)) is not None:
                truth[key].append((event.onset_seconds, event.offset_seconds, names[k]))
                number[i, k] += 1
                sounding[i, k] += event.offset_seconds - event.onset_seconds
    seconds = {key: clip.seconds for key, clip in zip(keys, truths, strict=True)}
    found: dict[str, tuple[ClassCounts, ...]] = {}

    def gather(metric: str, deltas: dict[str, Any], wanted: Floats, crossed: Sequence[str] = ()) -> None:
        found[metric] = tuple(_of_class(deltas, keys, name, wanted[:, k], crossed) for k, name in enumerate(names))

    for metric, psds in PSDS.items():
        crossing = psds.cttc is not None and len(names) > 1  # the library stumbles over cross triggers of one class
        deltas = library.intersection_based.intermediate_statistics.intermediate_statistics_deltas(
            scores,
            truth,
            dtc_threshold=psds.dtc,
            gtc_threshold=psds.gtc,
            cttc_threshold=psds.cttc if crossing else None,
        )
        gather(metric, deltas, number, names if crossing else ())
    deltas = library.collar_based.intermediate_statistics.intermediate_statistics_deltas(
        scores, truth, ONSET_COLLAR_SECONDS, OFFSET_COLLAR_SECONDS, OFFSET_COLLAR_SHARE
    )
    gather("event", deltas, number)
    deltas = library.segment_based.intermediate_statistics.intermediate_statistics_deltas(
        scores, truth, seconds, segment_length=SEGMENT_SECONDS
    )
    gather("segment", deltas, np.array([[deltas[key][name][1]["tps"].sum() for name in names] for key in keys], float))
    return Counts(found, np.array([clip.seconds for clip in truths]), sounding)


def sed_scores_eval() -> ModuleType:
    """The library, which takes seconds to import.

    Raises:
        UserError: it is not installed.
    """
    try:
        with warnings.catch_warnings():  # of a package that it imports: how setuptools is used is no user's business
            warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
            import sed_scores_eval
    except ImportError as error:
        raise UserError(f"event metrics need sed_scores_eval ({error}); pip install 'glat[events]'") from None
    return sed_scores_eval


def _as_scores(timeline: Timeline, names: Sequence[str], labels: Sequence[int]) -> Any:
    """The library's form of a timeline: a DataFrame with the columns onset, offset and one a class."""
    table = np.column_stack([timeline.edges[:-1], timeline.edges[1:], timeline.probs[:, labels]])
    scores = _tables()(table, columns=["onset", "offset", *names])
    scores.values_of = {"onset": table[:, 0], "offset": table[:, 1], "\n".join(names): table[:, 2:]}
    return scores


@cache
def _tables() -> Any:
    import pandas

    class Scores(pandas.DataFrame):
        """A table that hands out its times and its classes' scores itself.

        The library asks for them over and over, which is two fifths of all counting's time by pandas' own way, and
        pandas 3 hands out read-only arrays, which the library's compiled part refuses up to 0.0.4 (its PR 17).
        """

        _metadata = ("values_of",)

        def __getitem__(self, key: Any) -> Any:
            values = self.values_of.get(key if isinstance(key, str) else "\n".join(key))
            return super().__getitem__(key) if values is None else _Values(values)

    return Scores


class _Values:
    def __init__(self, values: Floats) -> None:
        self._values = values

    def to_numpy(self) -> Floats:
        return self._values.copy()


def _of_class(
    deltas: dict[str, Any], keys: Sequence[str], name: str, wanted: Floats, crossed: Sequence[str]
) -> ClassCounts:
    """One class's changes out of the library's, which are by clip and class (scores, changes by name)."""
    of_clips = [deltas[key][name] for key in keys]
    sizes = [len(scores) for scores, _ in of_clips]
    order = np.argsort(-np.concatenate([scores for scores, _ in of_clips]), kind="stable")

    def column(statistic: str) -> Floats:
        return np.concatenate([changes[statistic] for _, changes in of_clips]).astype(np.float64)[order]

    total = len(order)
    cross = np.zeros((total, len(crossed)))
    for k, other in enumerate(crossed):
        if other != name:
            cross[:, k] = column(f"cts\\{other}")
    return ClassCounts(
        scores=np.concatenate([scores for scores, _ in of_clips]).astype(np.float64)[order],
        clips=np.repeat(np.arange(len(keys)), sizes)[order],
        true=column("tps"),
        false=column("fps"),
        cross=cross,
        wanted=wanted,
    )
