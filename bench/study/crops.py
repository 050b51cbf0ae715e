"""What the local stream says of single crops: whether a class is heard where its event is, or all over the clip."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glat.data import Clips, Data
from glat.files import write_json
from glat.inference import for_inference
from glat.model import GlobalLocal

from .plan import Job, Scale
from .training import EVALUATED_AT_ONCE, WEIGHTS, Streams, prepare

CROPS = "crops.json"


def said_of_crops(folder: Path, job: Job, seed: int, scale: Scale, clips: Data[Clips]) -> dict[str, Any]:
    """By row of a run: the mean probability of a present class in crops with an event of it, and in crops without.

    And ``auc``: how likely a crop with an event scores above one without, of the same clip and class. Kept beside the
    run's weights.
    """
    path = folder / CROPS
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    streams = Streams(job, len(clips.evaluation.classes), scale.width, seed)
    streams.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True))
    found = {}
    for row in job.rows:
        if row.two_streams:
            model = streams.models[row.name]
            assert isinstance(model, GlobalLocal)
            prepare(model, row, clips)
            found[row.name] = _of_model(model, clips.evaluation)
    write_json(path, found)
    return found


@torch.inference_mode()
def _of_model(model: GlobalLocal, clips: Clips) -> dict[str, float]:
    model = for_inference(model)
    assert clips.events is not None
    with_event, without, above = [], [], []
    seconds = model.crop_samples / clips.sample_rate_hz
    for rows in torch.arange(len(clips)).split(EVALUATED_AT_ONCE):
        scores = model(clips.waves[rows])
        probs = scores.crop_logits.float().sigmoid().numpy()  # [B, N, L]
        onsets = scores.crops.starts.numpy() / clips.sample_rate_hz  # [B, N]
        for row, of_clip, first in zip(rows.tolist(), probs, onsets, strict=True):
            for label in {event.label for event in clips.events[row]}:
                times = [(e.onset_seconds, e.offset_seconds) for e in clips.events[row] if e.label == label]
                hit = np.any([(first < off) & (first + seconds > on) for on, off in times], axis=0)
                heard, unheard = of_clip[hit, label], of_clip[~hit, label]
                with_event.extend(heard.tolist())
                without.extend(unheard.tolist())
                if len(heard) and len(unheard):
                    difference = heard[:, None] - unheard
                    above.append(float(((difference > 0) + 0.5 * (difference == 0)).mean()))
    return {"with_event": float(np.mean(with_event)), "without": float(np.mean(without)), "auc": float(np.mean(above))}
