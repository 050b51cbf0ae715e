"""A better recipe than the paper's? What was tried on one seed, and what it is worth on others and on fresh clips."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from glat.evaluation.metrics import evaluate_scores
from glat.machine import versions

from .collect import Judged, Key, Probs, Run, finished, weighted
from .fresh import heard_afresh
from .page import ROWS, by_seed_of, table, value, verdict, write_section
from .plan import COUPLED, FINE, FOUND_ON, LINEAR, OTHER_CROPS, POOL_MAX
from .report import FRESH_MIX
from .running import note
from .training import soundscapes

RESULTS = "better.json"

# One minus the other, and what it is to show; on fresh clips, with seeds that nothing was chosen by.
AGAINST = {
    "glat/fused": "the paper's GL-AT",
    "glat/weighted": "the paper's GL-AT, fused by fitted weights",
    "pool-max/fused": "GL-AT, crops pooled by max",
    "alone/global": "the backbone alone (0.4 of its compute)",
    "longer/global": "the backbone with 2.5 × the steps",
    "two-alone/global": "two backbones averaged (0.8 of its compute)",
    "three-alone/global": "three backbones averaged (1.2 of its compute)",
}
TAUGHT_AGAINST = {
    "alone/global": "the backbone alone (as much at inference)",
    "longer/global": "the backbone with 2.5 × the steps (as much in training)",
    "glat/fused": "the paper's GL-AT (2.5 × as much at inference)",
}
"""Of the global stream of a row that teaches it."""


def recipes() -> list[str]:
    """The rows that were tried, in the order of the page."""
    return [POOL_MAX.name, *(row.name for row in (*OTHER_CROPS, *COUPLED, LINEAR))]


def fitted_weight(run: Run, row: str) -> float:
    """The weight, in twentieths, by which the fusion of a row has the best mAP on the clips of a run's scores."""
    weights = np.linspace(0, 1, 21)
    found = [
        evaluate_scores(run.targets, weighted(run.probs[row, "global"], run.probs[row, "local"], weight)).mean_ap
        for weight in weights
    ]
    return float(weights[int(np.argmax(found))])


def write(out: Path, data: Path | None, to: Path, resamples: int) -> None:
    """Put ``study/better.json`` into `to`, and its tables into the page there; takes what `report.write` takes.

    Raises:
        UserError: no run on fine frames has ended.
    """
    scale = note(out, data)
    runs = finished(out, lambda job: job.is_fine)
    clips = soundscapes(data, replace(scale, train_clips=1), mix=FRESH_MIX).evaluation
    rows = {FINE + name for name in ("longer", "glat", *recipes())}

    def wanted(row: str, seed: int) -> bool:
        # A backbone of the seed that was searched on may be one of three that are averaged: no choice is about it.
        return row == f"{FINE}alone" or (row in rows and seed != FOUND_ON)

    fresh = heard_afresh(runs, out, scale, clips, wanted)
    found = summary(runs, fresh, resamples)
    write_section(to, RESULTS, found, blocks)


def summary(runs: Sequence[Run], fresh: Sequence[Run], resamples: int) -> dict[str, Any]:
    """All that the section shows, as plain types.

    Args:
        runs: with their scores of the evaluation clips.
        fresh: those of them with other seeds than `FOUND_ON` (and backbones alone), with their scores of fresh clips.
        resamples: of the bootstrap.
    """
    searched = [run for run in runs if run.seed == FOUND_ON]
    tried = Judged(searched, resamples)
    found: dict[str, Any] = {
        "commits": sorted({commit for run in runs for commit in run.result["commits"]}),
        "scored_at": versions()["commit"],
        "runs": len(runs),
        "training_cpu_seconds": sum(run.result["training_cpu_seconds"] for run in runs),
        "resamples": resamples,
        "tried": {"/".join(key): tried.row(key)["mAP"] for key in tried.probs},
        "tried_differences": {
            name: difference["mAP"]
            for name, difference in tried.differences(
                f"{FINE}{row}/fused - {FINE}{other}/fused"
                for row in recipes()
                for other in ("glat", "pool-max")
                if row != other
            ).items()
        },
    }
    if not fresh:
        return found | {"confirmed": {}, "fresh": {}, "weights": {}}
    weights = {
        (row, run.seed): fitted_weight(run, row)
        for run in runs
        for row, stream in run.probs
        if stream == "local" and run.seed != FOUND_ON
    }
    judged = Judged([_with_weights(run, weights) for run in fresh], resamples)
    names = [f"{FINE}{row}/{stream}" for row in recipes() for stream in ("fused", "weighted")]
    claims = [f"{name} - {FINE}{other}" for name in names for other in AGAINST if f"{FINE}{other}" != name]
    claims += [f"{FINE}{row.name}/global - {FINE}{other}" for row in (*COUPLED, LINEAR) for other in TAUGHT_AGAINST]
    claims += [f"{FINE}{row}/local - {FINE}{row}/global" for row in ("glat", *recipes())]
    claims += [f"{FINE}{row}/weighted - {FINE}{row}/fused" for row in ("glat", *recipes())]
    return found | {
        "confirmed": {name: each["mAP"] for name, each in judged.differences(claims).items()},
        "fresh": {"/".join(key): judged.row(key)["mAP"] for key in judged.probs},
        "weights": {f"{row}/{seed}": weight for (row, seed), weight in sorted(weights.items())},
    }


def _with_weights(run: Run, weights: Mapping[tuple[str, int], float]) -> Run:
    """With the stream "weighted": the fusion by the weight that fits the evaluation clips of the same run."""
    added: dict[Key, Probs] = {
        (row, "weighted"): weighted(run.probs[row, "global"], probs, weights[row, run.seed])
        for (row, stream), probs in run.probs.items()
        if stream == "local"
    }
    return replace(run, probs=run.probs | added)


def blocks(found: Mapping[str, Any]) -> dict[str, str]:
    """What stands between the page's comments, by name."""
    conditions = (
        f"{found['runs']} runs, {found['training_cpu_seconds'] / 3600:.1f} hours of one core, at commit "
        f"{', '.join(found['commits'])}; fresh clips scored at {found['scored_at']}; {found['resamples']} resamples."
    )
    return {
        "better-conditions": textwrap.fill(conditions, 120),
        "better-tried": _tried(found),
        "better-confirmed": _claims(found["confirmed"], "fused", recipes(), AGAINST),
        "better-weighted": _claims(found["confirmed"], "weighted", [POOL_MAX.name], AGAINST),
        "better-taught": _claims(
            found["confirmed"], "global", [row.name for row in (*COUPLED, LINEAR)], TAUGHT_AGAINST
        ),
        "better-local": _local(found),
        "better-fusion": _fusion(found),
    }


def _tried(found: Mapping[str, Any]) -> str:
    lines = []
    for name in ("alone", "longer", "glat", *recipes()):
        if f"{FINE}{name}/global" not in found["tried"]:
            continue
        streams = [found["tried"].get(f"{FINE}{name}/{stream}") for stream in ("global", "local", "fused")]
        less = [
            found["tried_differences"].get(f"{FINE}{name}/fused - {FINE}{other}/fused")
            for other in ("glat", "pool-max")
        ]
        cells = ["" if each is None else f"{each['mean']:.3f}" for each in streams]
        lines.append([ROWS[FINE + name].title, *cells, *("" if each is None else value(each, "+.3f") for each in less)])
    return table(
        ("row, seed 0", "global mAP", "local mAP", "fused mAP", "against GL-AT", "against pooled by max"), lines
    )


def _claims(confirmed: Mapping[str, Any], stream: str, rows: Iterable[str], against: Mapping[str, str]) -> str:
    lines = []
    for row in rows:
        for other, title in against.items():
            if (difference := confirmed.get(f"{FINE}{row}/{stream} - {FINE}{other}")) is not None:
                by_seed = by_seed_of(difference)
                lines.append([ROWS[FINE + row].title, title, value(difference, "+.3f"), by_seed, verdict(difference)])
    return table((f"{stream} mAP of", "against", "difference", "by seed", "better"), lines)


def _local(found: Mapping[str, Any]) -> str:
    lines = []
    for row in ("glat", *recipes()):
        if (difference := found["confirmed"].get(f"{FINE}{row}/local - {FINE}{row}/global")) is not None:
            by_seed = by_seed_of(difference)
            lines.append([ROWS[FINE + row].title, value(difference, "+.3f"), by_seed, verdict(difference)])
    return table(("row", "local mAP - global mAP", "by seed", "local beats global"), lines)


def _fusion(found: Mapping[str, Any]) -> str:
    lines = []
    for row in ("glat", *recipes()):
        if (difference := found["confirmed"].get(f"{FINE}{row}/weighted - {FINE}{row}/fused")) is not None:
            of_row = [f"{w:.2f}" for name, w in found["weights"].items() if name.startswith(f"{FINE}{row}/")]
            scores = [value(found["fresh"][f"{FINE}{row}/{stream}"]) for stream in ("fused", "weighted")]
            by_seed = by_seed_of(difference)
            lines.append([ROWS[FINE + row].title, ", ".join(of_row), *scores, value(difference, "+.3f"), by_seed])
    head = ("row", "fitted weights of the local stream", "fused mAP", "by fitted weights", "difference", "by seed")
    return table(head, lines)
