"""What an exported file says of itself."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..model import GlobalLocal
from .graph import INPUT, OUTPUTS

FORMAT = 1  # of these entries
MARK = "glat_export"  # the entry that holds it: by its name such a file is known


def describe(
    model: GlobalLocal,
    classes: Sequence[str],
    clip_samples: int,
    frames: int,
    thresholds: NDArray[np.float32],
    tag_thresholds: NDArray[np.float32],
    origin: Mapping[str, Any],
) -> dict[str, Any]:
    """Plain types by name, to be written as JSON; docs/export.md lists them.

    Args:
        model: what is exported.
        classes: L names; the place of a name is the class's index on every axis L.
        clip_samples: S.
        frames: T.
        thresholds, tag_thresholds: [L], as of `Tagger`.
        origin: what the weights are.
    """
    rate, config = model.global_.sample_rate_hz, model.config
    return {
        MARK: FORMAT,
        "glat": version("glat"),
        "torch": torch.__version__,
        "origin": dict(origin),
        "input": {INPUT: "[B, S] float32, full scale ±1, B free"},
        "outputs": dict(OUTPUTS),
        "sample_rate_hz": rate,
        "clip_samples": clip_samples,
        "clip_seconds": clip_samples / rate,
        "frames": frames,
        "frame_seconds": clip_samples / frames / rate,
        "num_crops": config.num_crops,
        "crop_samples": model.crop_samples,
        "crop_seconds": model.crop_samples / rate,
        "crop_pooling": config.crop_pooling,
        "clip_pooling": config.clip_pooling,
        "fusion_weight": config.fusion_weight,
        "rank_by": config.rank_by,
        "suppress": config.suppress,
        "frame_classifier": config.frame_classifier,
        "backbone": config.backbone,
        "local_backbone": config.local_backbone or config.backbone,
        "share": config.share,
        "classes": list(classes),
        "thresholds": _shortest(thresholds),
        "tag_thresholds": _shortest(tag_thresholds),
    }


def _shortest(values: NDArray[np.float32]) -> list[float]:
    """The shortest decimals that are these float32 numbers: .3 and not .30000001192092896."""
    return [float(str(value)) for value in values.astype(np.float32)]
