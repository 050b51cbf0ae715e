"""The local stream's scores of single crops: is a class heard where its event is, and how should crops be pooled?"""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glat.data import Clips
from glat.evaluation.metrics import evaluate_scores
from glat.evaluation.score import overlap
from glat.files import write_json
from glat.inference import for_inference
from glat.machine import versions
from glat.model import GlobalLocal
from glat.pooling import max_mean, pool_logits

from .plan import WHOLE, Job, Scale
from .training import EVALUATED_AT_ONCE, trained

CROPS = "crops.json"
ROWS = ("glat", "pool-max", f"{WHOLE}glat", f"{WHOLE}pool-max")
POOLINGS = ("max_mean", "max", "linear", "average")


def said_of_crops(folder: Path, job: Job, seed: int, scale: Scale, clips: Clips) -> dict[str, Any]:
    """By row of `ROWS` in a run that has ended, what its local stream says of the crops of the evaluation clips.

    ``crops_with_event``: of a class of the clip, the share of all its N crops that hold an event of it, whatever they
    were cut for; ``with_event`` and ``without``: its mean probability in crops that do, and in crops that do not;
    ``auc``: how likely one of the former scores above one of the latter, of the same clip and class; ``scored_by``: mAP
    of the local stream and of the fusion where the same crops are pooled otherwise; ``batch_statistics``: mAP of the
    local stream where its batch norm takes the statistics of the crops at hand, not those that training kept. All is
    kept beside the run's weights.
    """
    path = folder / CROPS
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    streams = trained(job, seed, scale, len(clips.classes), folder)
    found: dict[str, Any] = {}
    for row in job.rows:
        if row.name in ROWS:
            model = streams.models[row.name]
            assert isinstance(model, GlobalLocal)
            found[row.name] = _of_model(model, clips) | {"commit": versions()["commit"]}
    write_json(path, found)
    return found


@torch.inference_mode()
def _of_model(model: GlobalLocal, clips: Clips) -> dict[str, Any]:
    rows_of = torch.arange(len(clips)).split(EVALUATED_AT_ONCE)
    learning = deepcopy(model).eval()
    learning.local_.train()  # of all that this changes, only batch norm is there: neither dropout nor SpecAugment
    probs = torch.cat([learning(clips.waves[rows]).local_probs for rows in rows_of])
    batch_statistics = evaluate_scores(clips.targets.dense().numpy(), probs.numpy()).mean_ap
    model = for_inference(model)
    batches = [model(clips.waves[rows]) for rows in rows_of]
    crop_logits = torch.cat([scores.crop_logits.float() for scores in batches])  # [M, N, L]
    global_probs = torch.cat([scores.global_probs for scores in batches])
    starts = torch.cat([scores.crops.starts for scores in batches]) / clips.sample_rate_hz
    seconds = model.crop_samples / clips.sample_rate_hz
    scored_by = {pooling: _scored(crop_logits, global_probs, pooling, clips) for pooling in POOLINGS}
    heard = _heard(crop_logits.sigmoid(), starts, seconds, clips)
    return heard | {"scored_by": scored_by, "batch_statistics": batch_statistics}


def _scored(crop_logits: Tensor, global_probs: Tensor, pooling: str, clips: Clips) -> dict[str, float]:
    targets = clips.targets.dense().numpy()
    local = pool_logits(crop_logits, pooling).sigmoid()
    fused = max_mean(torch.stack([global_probs, local]), dim=0)
    return {name: evaluate_scores(targets, p.numpy()).mean_ap for name, p in (("local", local), ("fused", fused))}


def _heard(probs: Tensor, starts: Tensor, seconds: float, clips: Clips) -> dict[str, float]:
    assert clips.events is not None
    with_event: list[float] = []
    without: list[float] = []
    above = []
    for events, of_clip, first in zip(clips.events, probs.numpy(), starts.numpy(), strict=True):
        for label in {event.label for event in events}:
            hit = overlap([event for event in events if event.label == label], first, seconds)
            heard, unheard = of_clip[hit, label], of_clip[~hit, label]
            with_event.extend(heard.tolist())
            without.extend(unheard.tolist())
            if len(heard) and len(unheard):
                difference = heard[:, None] - unheard
                above.append(float(((difference > 0) + 0.5 * (difference == 0)).mean()))
    share = len(with_event) / (len(with_event) + len(without))
    return {"crops_with_event": share} | {
        name: _mean(values) for name, values in (("with_event", with_event), ("without", without), ("auc", above))
    }


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
