"""Collect the study's results from its runs' folders: scores with intervals, and differences on the same clips."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glat.costs import count_costs
from glat.errors import UserError
from glat.evaluation.bootstrap import Floats, draw, interval, resample_scores
from glat.evaluation.metrics import evaluate_scores

from .networks import NETWORKS
from .plan import CLAIMS, CONFIRMED, CONFIRMED_OF, JOBS, SETTINGS, SHARED, VARIANTS, WHOLE, Job, Row, prefixed
from .training import CLIP_SECONDS, RESULT, SCORES

RESAMPLES = 1_000
SCORE_NAMES = ("mAP", "mAUC", "d_prime")
Probs = NDArray[np.float32]
Key = tuple[str, str]  # row and stream


@dataclass(frozen=True)
class Run:
    """A job's result with one seed."""

    job: Job
    seed: int
    result: dict[str, Any]
    probs: dict[Key, Probs]  # [M, L]
    targets: NDArray[np.bool_]  # [M, L]

    @classmethod
    def read(cls, job: Job, seed: int, result: dict[str, Any], path: Path) -> "Run":
        """With the scores that lie in a file."""
        with np.load(path) as scores:
            targets = scores["targets"]
            probs: dict[Key, Probs] = {_key(name): scores[name] for name in scores.files if name != "targets"}
        return cls(job, seed, result, probs, targets)


def finished(
    out: Path, of: Callable[[Job], bool] = lambda job: True, may_be_empty: bool = False, jobs: Sequence[Job] = JOBS
) -> list[Run]:
    """The runs of `out` that have ended, of some jobs.

    Raises:
        UserError: there is none, or one of another plan than `jobs`.
    """
    found = []
    for job in filter(of, jobs):
        for seed in job.seeds:
            folder = job.folder(out, seed)
            if not (folder / RESULT).exists():
                continue
            result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
            if not job.is_of(result["plan"]):
                raise UserError(f"{folder} was trained by another plan; remove it, or choose another --out")
            found.append(Run.read(job, seed, result, folder / SCORES))
    if not found and not may_be_empty:
        names = " ".join(job.name for job in [*filter(of, jobs)][:2])
        raise UserError(
            f"{out} holds no run of this part that has ended; train with `python -m bench.study run`, at least "
            f"--only {names}"
        )
    return found


def by_key(runs: Iterable[Run]) -> dict[Key, dict[int, Probs]]:
    """Probabilities by row and stream and by seed, with the ensembles and the other fusions that they allow."""
    found: dict[Key, dict[int, Probs]] = {}
    for run in runs:
        for key, probs in run.probs.items():
            found.setdefault(key, {})[run.seed] = probs
    for prefix in SETTINGS:
        alone = found.get((f"{prefix}alone", "global"), {})
        for size, name in ((2, "two"), (3, "three")):
            of_size = ensembles(alone, size)
            if of_size:
                found[f"{prefix}{name}-alone", "global"] = of_size
    for (row, stream), of_seed in list(found.items()):
        if stream == "local":
            both = {seed: (found[row, "global"][seed], probs) for seed, probs in of_seed.items()}
            for name, fuse in FUSIONS.items():
                found[row, name] = {seed: fuse(*pair) for seed, pair in both.items()}
    return found


def ensembles(alone: Mapping[int, Probs], size: int) -> dict[int, Probs]:
    """Means of `size` networks of different seeds, for every seed one that begins with it.

    Of all the networks that there are only one ensemble can be made: it is then that of every seed, the same array.
    """
    seeds = sorted(alone)
    if len(seeds) < size:
        return {}
    made: dict[frozenset[int], Probs] = {}
    found = {}
    for i, seed in enumerate(seeds):
        group = frozenset(seeds[(i + k) % len(seeds)] for k in range(size))
        if group not in made:
            made[group] = np.mean([alone[each] for each in sorted(group)], axis=0, dtype=np.float32)
        found[seed] = made[group]
    return found


def _mean(global_: Probs, local: Probs) -> Probs:
    return np.asarray(0.5 * (global_ + local), np.float32)


def weighted(global_: Probs, local: Probs, weight: float) -> Probs:
    """Fusion by a weighted mean of logits; `weight` is the local stream's."""

    def logit(p: Probs) -> Floats:
        clipped = p.astype(np.float64).clip(1e-7, 1 - 1e-7)
        return np.asarray(np.log(clipped / (1 - clipped)))

    return np.asarray(1 / (1 + np.exp(-((1 - weight) * logit(global_) + weight * logit(local)))), np.float32)


# Other than the paper's 0.5 (max + mean), which is the stream "fused".
FUSIONS: dict[str, Callable[[Probs, Probs], Probs]] = {"mean": _mean, "mean logit": partial(weighted, weight=0.5)}


# One minus the other, on all seeds that both have.
DIFFERENCES = (
    *(prefixed(prefix, claim) for prefix in SETTINGS for claim in CLAIMS),
    *(prefixed(WHOLE, claim) for claim in CONFIRMED),
    *(f"{row.name}/fused - glat/fused" for row in (SHARED, *VARIANTS)),
)


class Judged:
    """Scores of rows and streams, the mean over seeds, with bootstrap intervals over clips."""

    def __init__(self, runs: Sequence[Run], resamples: int = RESAMPLES) -> None:
        targets = runs[0].targets
        assert all(np.array_equal(run.targets, targets) for run in runs), "runs of other clips"
        self.probs = by_key(runs)
        labelled = {(*key, seed): p for key, of_seed in self.probs.items() for seed, p in of_seed.items()}
        names = {"/".join(map(str, label)): label for label in labelled}
        counts = draw(len(targets), resamples, seed=0)
        found = resample_scores(targets, {name: labelled[label] for name, label in names.items()}, counts)
        self._resampled = {names[name]: each.means() for name, each in found.items()}
        self._scores = {label: evaluate_scores(targets, p).means() for label, p in labelled.items()}

    def seeds(self, key: Key) -> tuple[int, ...]:
        """Of a row and stream; empty where there is none."""
        return tuple(sorted(self.probs.get(key, {})))

    def row(self, key: Key) -> dict[str, Any]:
        """By score: the mean over seeds, the standard deviation between them, the interval of the mean, every seed."""
        different = {id(self.probs[key][seed]): seed for seed in reversed(self.seeds(key))}
        chosen = sorted(different.values())
        found: dict[str, Any] = {"seeds": list(chosen)}
        for name in SCORE_NAMES:
            values = [self._scores[(*key, seed)][name] for seed in chosen]
            resampled = np.mean([self._resampled[(*key, seed)][name] for seed in chosen], axis=0)
            found[name] = _summary(values, resampled)
        return found

    def differences(self, names: Iterable[str]) -> dict[str, Any]:
        """Those that can be made of some, called ``one - other``."""
        found = {name: self.difference(*map(_key, name.split(" - "))) for name in names}
        return {name: difference for name, difference in found.items() if difference is not None}

    def difference(self, one: Key, other: Key) -> dict[str, Any] | None:
        """`one` minus `other`, seed by seed and resample by resample; None where they share no seed."""
        shared = [seed for seed in self.seeds(one) if seed in self.seeds(other)]
        if not shared:
            return None
        found: dict[str, Any] = {"seeds": shared}
        for name in SCORE_NAMES:
            values = [self._scores[(*one, seed)][name] - self._scores[(*other, seed)][name] for seed in shared]
            resampled = np.mean(
                [self._resampled[(*one, seed)][name] - self._resampled[(*other, seed)][name] for seed in shared], axis=0
            )
            found[name] = _summary(values, resampled)
        return found


def _summary(values: Sequence[float], resampled: Floats) -> dict[str, Any]:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {
        "mean": float(np.mean(values)),
        "deviation": spread,
        "interval": list(interval(resampled)),
        "by_seed": list(map(float, values)),
    }


def summarise(runs: Sequence[Run], fresh: Sequence[Run], resamples: int = RESAMPLES) -> dict[str, Any]:
    """All that the page shows, as plain types.

    Args:
        runs: with their scores of the evaluation clips.
        fresh: some of them, with their scores of fresh clips.
        resamples: of the bootstrap.
    """
    rows = {row.name: row for run in runs for row in run.job.rows}
    judged = judge(runs, DIFFERENCES, resamples)
    first = runs[0].result
    return {
        **conditions_of(runs, resamples),
        "device": first["device"],
        "precision": first["precision"],
        "runs": [_run(run) for run in runs],
        **judged,
        "fresh": judge(fresh, (prefixed(prefix, claim) for prefix in CONFIRMED_OF for claim in CONFIRMED), resamples),
        "costs": costs_of(rows.values(), first["scale"]["width"], len(first["classes"])),
    }


def conditions_of(runs: Sequence[Run], resamples: int) -> dict[str, Any]:
    """What runs of one study have in common, and the commits that they were trained at."""
    first = runs[0].result
    return {
        "scale": first["scale"],
        "classes": first["classes"],
        "resamples": resamples,
        "versions": first["versions"],
        "commits": sorted({commit for run in runs for commit in run.result["commits"]}),
    }


def judge(runs: Sequence[Run], differences: Iterable[str], resamples: int) -> dict[str, Any]:
    """Scores and differences of runs, those of the same clips together."""
    found: dict[str, Any] = {"rows": {}, "differences": {}}
    wanted = tuple(differences)
    for sounds in sorted({run.job.first.sounds for run in runs}):
        judged = Judged([run for run in runs if run.job.first.sounds == sounds], resamples)
        found["rows"] |= {f"{row}/{stream}": judged.row((row, stream)) for row, stream in sorted(judged.probs)}
        found["differences"] |= judged.differences(wanted)
    return found


def _key(name: str) -> Key:
    row, _, stream = name.partition("/")
    return row, stream


def _run(run: Run) -> dict[str, Any]:
    kept = ("seed", "steps", "training_cpu_seconds", "curve", "hits", "training_hits", "training_rows")
    return {"job": run.job.name} | {name: run.result[name] for name in kept}


def costs_of(rows: Iterable[Row], width: float, num_classes: int) -> dict[str, Any]:
    """GFLOP of a clip's forward pass, by row: training takes three times as many a clip and step."""
    found = {}
    for row in rows:
        network = NETWORKS[row.network]
        costs = count_costs(
            f"{network.__module__}:{network.__name__}",
            width,
            num_classes,
            row.num_crops,
            row.crop_seconds,
            CLIP_SECONDS,
        )
        flops = costs.two_stream_flops if row.two_streams else costs.clip_flops
        found[row.name] = {"gflop": flops / 1e9}
    return found
