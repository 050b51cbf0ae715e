"""When, not only what: PSDS and F1 of the study's rows, weakly trained, by each kind of evidence.

Thresholds of F1 are chosen, a class at a time, on the study's evaluation clips; all scores are of fresh clips.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glat.data import Clips
from glat.evaluation.bootstrap import draw, interval
from glat.evaluation.events.counts import PSDS, count
from glat.evaluation.events.measures import best_thresholds, f1, psds
from glat.evaluation.events.scores import EVIDENCE
from glat.evaluation.events.timelines import Timeline, stretches, timelines, truths
from glat.evaluation.score import Scored, score
from glat.files import replaced
from glat.frontend import to_float
from glat.inference import for_inference
from glat.machine import versions
from glat.model import GlobalLocal

from .collect import Run, finished
from .page import ROWS, table, value, verdict, write_section
from .plan import FINE, JOBS, OTHER_CROPS, POOLED, Row, Scale
from .report import FRESH_MIX
from .running import note
from .training import EVALUATED_AT_ONCE, Streams, soundscapes, trained

WHEN, RESULTS = "when.npz", "when.json"
METRICS = {"PSDS1": "PSDS1", "PSDS2": "PSDS2", "event": "event F1", "segment": "segment F1"}
RELEASED = "/released"
"""Behind a row: its weights, scored with the released program's suppression."""

SCORED = (*EVIDENCE, "weighted")
OF_FRAMES = ("frames", "weighted")
"""What needs no crops."""

# One minus the other, and what it is to show.
CLAIMS = {
    f"{FINE}glat/sharpened - {FINE}glat/frames": "sharpening improves the frames",
    f"{FINE}glat/sharpened - {FINE}glat/weighted": "its crops improve what its clip's score makes of the frames",
    f"{FINE}glat/sharpened - {FINE}longer/weighted": "sharpened frames beat equal compute: alone, more steps, weighted",
    f"{FINE}glat/crops - {FINE}glat/frames": "crops beat frames",
    f"{FINE}glat{RELEASED}/crops - {FINE}glat/crops": "the released suppression makes better crops",
    f"{FINE}pool-max/sharpened - {FINE}glat/sharpened": "sharpened frames gain where crops are pooled by max",
    f"{FINE}norms/frames - {FINE}glat/frames": "frames gain where the streams share convolutions",
    f"{FINE}norms/sharpened - {FINE}pool-max/sharpened": "sharpened frames gain where the streams share convolutions",
    **{
        f"{FINE}{row.name}/frames - {FINE}glat/frames": f"frames gain where the clip is their {how} pooling"
        for row in POOLED
        for how in [row.clip_pooling]
    },
    f"{FINE}frames-linear/weighted - {FINE}glat/sharpened": "linear pooling, weighted, beats GL-AT sharpened",
    f"{FINE}norms/sharpened - {FINE}frames-linear/weighted": "GL-AT with shared convolutions beats that",
    f"{FINE}linear/sharpened - {FINE}frames-linear/weighted": "GL-AT with linear pooling beats that",
}

Values = dict[str, NDArray[np.float64]]  # by "row/evidence/metric": the score, then those of the resamples


def said_when(run: Run, folder: Path, scale: Scale, chosen_on: Clips, clips: Clips, resamples: int) -> Values:
    """Scores of the rows `FINE` in a run that has ended; kept beside its weights.

    Args:
        chosen_on: clips that the thresholds of F1 are chosen on.
        clips: that are scored.
    """
    path = folder / WHEN
    if path.exists():
        with np.load(path) as kept:
            found = {name: kept[name][: resamples + 1] for name in kept.files}
        if all(len(each) == resamples + 1 for each in found.values()):  # fewer resamples are the first of more
            return found
    streams = trained(run.job, run.seed, scale, len(clips.classes), folder)
    found = {}
    for row in run.job.rows:
        for name, evidence in evidence_of(row):
            sides = [_heard(streams, row, name, side) for side in (chosen_on, clips)]
            for each in evidence:
                lines = [timelines(scored, crop_samples, each) for scored, crop_samples in sides]
                scores = scores_of(lines, (chosen_on, clips), resamples)
                found |= {f"{name}/{each}/{metric}": values for metric, values in scores.items()}
    with replaced(path) as temporary:
        np.savez_compressed(temporary, **found)
    return found


def evidence_of(row: Row) -> Iterator[tuple[str, Sequence[str]]]:
    """What is scored of a row, and by which evidence.

    The global stream of a seed, and so its frames, are the same alone and beside any local stream that does not reach
    it: scored once.
    """
    if row.name == f"{FINE}glat":
        yield row.name, SCORED
        yield row.name + RELEASED, ("crops", "sharpened")
    elif row.name in {FINE + other.name for other in OTHER_CROPS}:
        return  # crops of several lengths, or features of all together, are no evidence of this kind
    elif row.reaches_the_global_stream or row.clip_pooling != "own":
        yield row.name, SCORED if row.two_streams else OF_FRAMES
    elif row.two_streams:
        yield row.name, ("crops", "sharpened")
    elif row.name != f"{FINE}alone":
        yield row.name, OF_FRAMES


@torch.inference_mode()
def _heard(streams: Streams, row: Row, name: str, clips: Clips) -> tuple[Scored, int]:
    """What a row says of clips, and the samples of its crops."""
    if row.two_streams:
        model = streams.models[row.name]
        assert isinstance(model, GlobalLocal)
        usual = model.config
        model.config = replace(usual, suppress="released" if name.endswith(RELEASED) else usual.suppress)
        scored = score(model, clips, EVALUATED_AT_ONCE, torch.device("cpu"), nullcontext, in_time=True)
        model.config = usual
        assert scored is not None
        return scored, model.crop_samples
    alone = for_inference(streams.global_)
    batches = torch.arange(len(clips)).split(EVALUATED_AT_ONCE)
    parts = [alone.frame_features(to_float(clips.waves[rows])) for rows in batches]
    logits = torch.cat([alone.frame_logits(part).float() for part in parts]).numpy()
    probs = torch.cat([alone.clip_logits(part) for part in parts]).sigmoid().numpy()
    M, T, L = logits.shape
    none = np.zeros((M, 0), np.int64)
    highest, crop_logits = np.zeros((M, L), np.float32), np.zeros((M, 0, L), np.float32)
    return Scored(clips, {"global": probs}, none, none, T, highest, logits, crop_logits), 0


def scores_of(lines: Sequence[Iterator[Timeline]], clips: Sequence[Clips], resamples: int) -> Values:
    """By `METRICS`, of the second clips, F1 at the best thresholds of the first; then of resamples."""
    true = [truths(side, stretches(side)) for side in clips]
    labels = sorted(set.intersection(*({event.label for clip in side for event in clip.events} for side in true)))
    counts = [count(said, side, labels) for said, side in zip(lines, true, strict=True)]
    weights = np.column_stack([np.ones(len(clips[1])), draw(len(clips[1]), resamples, seed=0)]).astype(np.float64)
    found = {metric: psds(counts[1], metric, weights)[1] for metric in PSDS}
    for kind in ("event", "segment"):
        found[kind] = np.nanmean(f1(counts[1], kind, best_thresholds(counts[0], kind), weights), axis=0)
    return found


def on_the_grid(clips: Clips, frames: int) -> Iterator[Timeline]:
    """The events themselves on frames of equal length: what any network with these frames could say at best."""
    for clip in truths(clips, stretches(clips)):
        edges = np.linspace(0, clip.seconds, frames + 1)
        middles = (edges[:-1] + edges[1:]) / 2
        probs = np.zeros((frames, len(clips.classes)))
        for event in clip.events:
            probs[(middles >= event.onset_seconds) & (middles < event.offset_seconds), event.label] = 1
        yield Timeline(edges, probs)


def write(out: Path, data: Path | None, to: Path, resamples: int) -> None:
    """Put ``study/when.json`` into `to`, and its tables into the page there; as `report.write`, of which it is a part.

    Raises:
        UserError: no run on fine frames has ended.
    """
    scale = note(out, data)
    runs = finished(out, lambda job: job.is_fine)
    small = replace(scale, train_clips=1)  # a clip does not depend on how many there are
    chosen_on, clips = (soundscapes(data, small, mix=mix).evaluation for mix in (0, FRESH_MIX))
    of_seed = {
        (run.job.name, run.seed): said_when(run, run.job.folder(out, run.seed), scale, chosen_on, clips, resamples)
        for run in runs
    }
    by_seed: dict[str, dict[int, NDArray[np.float64]]] = {}
    for (_, seed), values in of_seed.items():
        for name, each in values.items():
            by_seed.setdefault(name, {})[seed] = each
    frames = round(chosen_on.clip_samples / chosen_on.sample_rate_hz / FRAME_SECONDS)
    grid = scores_of([on_the_grid(side, frames) for side in (chosen_on, clips)], (chosen_on, clips), 1)
    found = {
        "clips": len(clips),
        "resamples": resamples,
        "commit": versions()["commit"],
        "training_cpu_seconds": sum(run.result["training_cpu_seconds"] for run in runs),
        "runs": len(runs),
        "grid": {metric: float(values[0]) for metric, values in grid.items()},
        "rows": {name: _summary(of_row) for name, of_row in sorted(by_seed.items())},
        "differences": {
            f"{claim}/{metric}": difference
            for claim in CLAIMS
            for metric in METRICS
            if (difference := _difference(by_seed, claim, metric)) is not None
        },
    }
    write_section(to, RESULTS, found, blocks)


FRAME_SECONDS = 0.16  # of `networks.FineCNN10`


def _difference(
    by_seed: Mapping[str, Mapping[int, NDArray[np.float64]]], claim: str, metric: str
) -> dict[str, Any] | None:
    one, other = (by_seed.get(f"{name}/{metric}", {}) for name in claim.split(" - "))
    shared = sorted(set(one) & set(other))
    return _summary({seed: one[seed] - other[seed] for seed in shared}) if shared else None


def _summary(of_seed: Mapping[int, NDArray[np.float64]]) -> dict[str, Any]:
    """As `collect.Judged.row` has it."""
    values = [of_seed[seed] for seed in sorted(of_seed)]
    first = [float(each[0]) for each in values]
    return {
        "seeds": sorted(of_seed),
        "mean": float(np.mean(first)),
        "deviation": float(np.std(first, ddof=1)) if len(first) > 1 else None,
        "interval": list(interval(np.mean([each[1:] for each in values], axis=0))),
        "by_seed": first,
    }


def blocks(found: Mapping[str, Any]) -> dict[str, str]:
    """What stands between the page's comments, by name."""
    names = [row.name for job in JOBS for row in job.rows if row.name.startswith(FINE)]
    order = [name for row in dict.fromkeys(names) for name in (row, row + RELEASED)]
    lines = []
    for name in order:
        for evidence in SCORED:
            of_row = [found["rows"].get(f"{name}/{evidence}/{metric}") for metric in METRICS]
            if all(each is not None for each in of_row):
                title = ROWS[name.removesuffix(RELEASED)].title + (", suppress = released" if RELEASED in name else "")
                lines.append([title, evidence, *map(value, of_row), str(len(of_row[0]["seeds"]))])
    lines.append(["the true events on these frames", "", *(f"{found['grid'][metric]:.3f}" for metric in METRICS), ""])
    claims = []
    for claim, title in CLAIMS.items():
        of_claim = [found["differences"].get(f"{claim}/{metric}") for metric in METRICS]
        if all(each is not None for each in of_claim):
            cells = [f"{value(each, '+.3f')}: {verdict(each)}" for each in of_claim]
            claims.append([title, *cells, str(len(of_claim[0]["seeds"]))])
    conditions = (
        f"{found['runs']} runs, {found['training_cpu_seconds'] / 3600:.1f} hours of one core, scored at "
        f"{found['commit']} on {found['clips']} fresh clips, {found['resamples']} resamples of them."
    )
    return {
        "when": table(("row", "evidence", *METRICS.values(), "seeds"), lines),
        "when-claims": table(("claim, and whether it holds", *METRICS.values(), "seeds"), claims),
        "when-conditions": textwrap.fill(conditions, 120),
    }
