"""What a two-stream model says of windows: one call a batch, results on the CPU."""

from contextlib import nullcontext
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UserError
from ..frontend import to_float
from ..inference import for_inference
from ..model import GlobalLocal

Streams = Literal["both", "global"]


class Heard(NamedTuple):
    """What is kept of B windows: all but the crops' audio, which is most of it."""

    streams: NDArray[np.float32]  # [B, 3, L] probabilities: fused, global, local (NaN without a local stream)
    crop_probs: NDArray[np.float32]  # [B, N, L] of the local stream
    frame_logits: NDArray[np.float32]  # [B, T, L]
    frame_probs: NDArray[np.float32]  # [B, T, L]
    classes: NDArray[np.int64]  # [B, N], the class that each crop was cut for
    starts: NDArray[np.int64]  # [B, N], in samples of the window
    peaks: NDArray[np.float32]  # [B, N], the class's frame probability there
    embeddings: NDArray[np.float32]  # [B, C], max + mean over the frames of the global stream's features


class Listener:
    """A model made ready to hear windows; calls from several threads are safe.

    Args:
        model: any `GlobalLocal`; it is copied for inference and left as it is.
        clip_samples: S, what the model was trained on.
        dtype: what the networks compute in: float32, bfloat16 or float16.
        streams: "global" leaves the local stream out: the fused probability is then the global one.
    """

    def __init__(
        self, model: GlobalLocal, clip_samples: int, device: torch.device, dtype: torch.dtype, streams: Streams
    ) -> None:
        model.check_clip(clip_samples)
        self.model = for_inference(model.to(device))
        self.clip_samples, self.device, self.dtype, self.streams = clip_samples, device, dtype, streams
        self.frames = self.hear(np.zeros((1, clip_samples), np.float32), [clip_samples]).frame_logits.shape[1]

    @torch.inference_mode()
    def hear(self, waves: NDArray[np.float32], valid: list[int]) -> Heard:
        """Score B windows.

        Args:
            waves: [B, S], full scale ±1.
            valid: B lengths in samples, before the padding; crops are cut inside them.
        """
        model = self.model
        wave = torch.from_numpy(waves).to(self.device)
        lengths = torch.tensor(valid).to(self.device)
        reduced = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype) if reduced else nullcontext():
            features = model.global_.frame_features(to_float(wave))
            clip_logits = model.global_.clip_logits(features)
            if self.streams == "both":
                scores = model.hear_crops(features, clip_logits, wave, lengths)
                crops, frame_logits = scores.crops, scores.frame_logits
                streams = (scores.fused_probs, scores.global_probs, scores.local_probs)
                crop_probs = scores.crop_logits.float().sigmoid()
            else:
                crops, frame_logits = model.select(features, wave, lengths)
                probs = clip_logits.float().sigmoid()
                streams = (probs, probs, torch.full_like(probs, torch.nan))
                crop_probs = torch.full((*crops.classes.shape, probs.shape[1]), torch.nan)
        logits = frame_logits.float().cpu()
        wide = features.float()
        found = (torch.stack(streams, 1), crop_probs, logits, logits.sigmoid(), crops.classes, crops.starts)
        return Heard(*(_numpy(t) for t in (*found, crops.peaks.float(), wide.amax(1) + wide.mean(1))))


def _numpy(tensor: Tensor) -> NDArray:
    return tensor.cpu().numpy()


def check_finite(name: str, heard: Heard, row: int, streams: Streams) -> None:
    """Raise a UserError where a window's scores are not finite."""
    parts = [heard.streams[row] if streams == "both" else heard.streams[row, :2], heard.frame_probs[row]]
    if streams == "both":
        parts.append(heard.crop_probs[row])
    if not all(np.isfinite(part).all() for part in parts):
        raise UserError(f"{name}: the scores are not finite; the weights are damaged")
