"""Tags of recordings, and the seconds that decided them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .data import read_audio
from .errors import UserError
from .model import GlobalLocal, Scores

BATCH = 8  # chunks at a time: of a long recording only the samples and the scores are held whole


@dataclass(frozen=True)
class Crop:
    """A crop that the selector cut, in seconds of the recording."""

    label: str
    start_seconds: float
    end_seconds: float
    peak: float  # the class's frame probability at the peak
    peak_seconds: float


@dataclass(frozen=True)
class Tag:
    """One class in a recording: its probabilities in the chunk where it is the most likely, and what decided it."""

    label: str
    probability: float  # fused
    global_: float
    local_: float
    decided_by: Crop  # the crop in which the local stream heard this class best
    crop_probability: float  # what it heard there


@dataclass(frozen=True)
class Tagged:
    """What GL-AT says of one recording."""

    file: str
    seconds: float
    tags: tuple[Tag, ...]  # the most likely first
    crops: tuple[Crop, ...]  # chunk after chunk, in each the best class first
    crops_per_chunk: int
    wave: NDArray[np.float32]  # [S]
    sample_rate_hz: int
    frame_seconds: NDArray[np.float64]  # [T], where each frame starts
    frame_probs: dict[str, NDArray[np.float32]]  # [T] of each tagged or cropped class

    def to_json(self) -> dict[str, Any]:
        """Plain types, without the wave and the frames."""

        def crop(c: Crop) -> dict[str, Any]:
            rounded = {"start": c.start_seconds, "end": c.end_seconds, "peak_at": c.peak_seconds}
            return {"class": c.label, **{k: round(v, 4) for k, v in rounded.items()}, "peak": round(c.peak, 6)}

        tags = [
            {
                "class": tag.label,
                "probability": round(tag.probability, 6),
                "global": round(tag.global_, 6),
                "local": round(tag.local_, 6),
                "decided_by": crop(tag.decided_by) | {"probability": round(tag.crop_probability, 6)},
            }
            for tag in self.tags
        ]
        crops = [crop(c) for c in self.crops]
        return {"file": self.file, "seconds": round(self.seconds, 4), "tags": tags, "crops": crops}


def tag_file(
    file: Path, model: GlobalLocal, classes: tuple[str, ...], clip_samples: int, top: int, device: torch.device
) -> Tagged:
    """As `tag_wave`, of anything that soundfile reads.

    Raises:
        UnreadableAudio: a recording that cannot be read, or holds nothing to hear.
    """
    wave = read_audio(file, model.global_.sample_rate_hz)
    return tag_wave(str(file), wave, model, classes, clip_samples, top, device)


@torch.inference_mode()
def tag_wave(
    name: str,
    wave: NDArray[np.float32],
    model: GlobalLocal,
    classes: tuple[str, ...],
    clip_samples: int,
    top: int,
    device: torch.device,
) -> Tagged:
    """Tag one recording of any length.

    A recording shorter than a clip is padded, and its crops stay inside it. A longer one is heard in chunks of a clip,
    the last of which ends with the recording; a class is as likely as in the chunk where it is the most likely.

    Args:
        name: of the recording.
        wave: [S], at the model's rate, full scale ±1.
        model: in evaluation mode, on `device`.
        clip_samples: S, what the model was trained on.
        top: how many tags to return, most likely first.

    Raises:
        UserError: scores that are not finite.
    """
    rate = model.global_.sample_rate_hz
    chunks, lengths, offsets = _chunks(wave, clip_samples)
    heard: list[_Chunk] = []
    for first in range(0, len(chunks), BATCH):
        rows = slice(first, first + BATCH)
        heard.append(_Chunk.of(model(chunks[rows].to(device), lengths[rows].to(device))))
    chunk_scores = _Chunk(*(torch.cat(column) for column in zip(*heard, strict=True)))
    fused, global_, local_, crop_probs, frame_logits, *_ = chunk_scores
    if not (fused.isfinite().all() and crop_probs.isfinite().all()):
        raise UserError(f"{name}: the scores are not finite; the weights of this run are damaged")
    frame_probs = frame_logits.sigmoid()
    crops = _crops(chunk_scores, offsets, classes, clip_samples, model.crop_samples, min(len(wave), clip_samples), rate)

    tags = []
    best = fused.max(dim=0)
    for k in best.values.argsort(descending=True, stable=True)[:top].tolist():
        chunk = int(best.indices[k])
        n = int(crop_probs[chunk, :, k].argmax())
        in_chunk = [float(probs[chunk, k]) for probs in (fused, global_, local_)]
        in_crop = float(crop_probs[chunk, n, k])
        tags.append(Tag(classes[k], in_chunk[0], in_chunk[1], in_chunk[2], crops[chunk][n], in_crop))
    flat = tuple(crop for chunk in crops for crop in chunk)
    named = {tag.label for tag in tags} | {crop.label for crop in flat}
    seconds, rows_of_frames = _frame_times(offsets, lengths, frame_probs.shape[1], clip_samples, rate)
    return Tagged(
        file=name,
        seconds=len(wave) / rate,
        tags=tuple(tags),
        crops=flat,
        crops_per_chunk=model.config.num_crops,
        wave=wave,
        sample_rate_hz=rate,
        frame_seconds=seconds,
        frame_probs={
            name: frame_probs.flatten(0, 1)[rows_of_frames, k].numpy()
            for k, name in enumerate(classes)
            if name in named
        },
    )


def _chunks(wave: NDArray[np.float32], clip_samples: int) -> tuple[Tensor, Tensor, list[int]]:
    """Chunks [B, S], their valid samples [B] and where they start in the recording."""
    total = len(wave)
    offsets = list(range(0, max(1, total - clip_samples + 1), clip_samples))
    if total > clip_samples and offsets[-1] + clip_samples < total:
        offsets.append(total - clip_samples)  # real audio to the end, rather than padding
    chunks = torch.zeros(len(offsets), clip_samples)
    lengths = torch.full((len(offsets),), min(total, clip_samples))
    for row, offset in enumerate(offsets):
        part = torch.from_numpy(wave[offset : offset + clip_samples])
        chunks[row, : len(part)] = part
    return chunks, lengths, offsets


def _crops(
    scores: "_Chunk",
    offsets: list[int],
    classes: tuple[str, ...],
    clip_samples: int,
    crop_samples: int,
    valid_samples: int,
    rate: int,
) -> list[list[Crop]]:
    """The crops of every chunk in seconds of the recording."""
    T = scores.frame_logits.shape[1]
    frame_samples = torch.arange(T) * clip_samples // T
    last_start = max(0, valid_samples - crop_samples)
    start_of_frame = (frame_samples - crop_samples // 2).clamp(min=0).clamp(max=last_start)
    result = []
    columns = (scores.classes, scores.starts, scores.peaks)
    for chunk, (offset, labels, starts, peaks) in enumerate(zip(offsets, *columns, strict=True)):
        row = []
        for k, start, peak in zip(labels.tolist(), starts.tolist(), peaks.tolist(), strict=True):
            # The operator returns where a crop starts and how high its class peaks. The frame: of those whose crop
            # would start there, the one of that height, and of equal (saturated) heights the largest logit.
            logits = scores.frame_logits[chunk, :, k]
            fits = (frame_samples < valid_samples) & (start_of_frame == start)
            off_by = (logits.sigmoid() - peak).abs().masked_fill(~fits, torch.inf)
            best = logits.masked_fill(off_by > off_by.min() + 1e-6, -torch.inf)
            peak_sample = int(frame_samples[best.argmax()])
            end = min(start + crop_samples, valid_samples)
            row.append(
                Crop(classes[k], (offset + start) / rate, (offset + end) / rate, peak, (offset + peak_sample) / rate)
            )
        result.append(row)
    return result


class _Chunk(NamedTuple):
    """What is kept of B chunks, on the CPU: all but the crops' audio, which is most of it."""

    fused: Tensor  # [B, L] probabilities, and the next two
    global_: Tensor
    local_: Tensor
    crop_probs: Tensor  # [B, N, L]
    frame_logits: Tensor  # [B, T, L]
    classes: Tensor  # [B, N], and the next two
    starts: Tensor
    peaks: Tensor

    @staticmethod
    def of(scores: Scores) -> "_Chunk":
        """Take what is needed from the model's scores."""
        streams = (scores.fused_probs, scores.global_probs, scores.local_probs)
        frames = (scores.crop_logits.float().sigmoid(), scores.frame_logits.float())
        crops = (scores.crops.classes, scores.crops.starts, scores.crops.peaks)
        return _Chunk(*(tensor.cpu() for tensor in (*streams, *frames, *crops)))


def _frame_times(
    offsets: list[int], lengths: Tensor, frames: int, clip_samples: int, rate: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Where each frame starts in seconds, and its row among all chunks' frames, each moment once and in order."""
    seconds, rows = [], []
    heard = 0  # samples of the recording that an earlier chunk covers
    for chunk, (offset, length) in enumerate(zip(offsets, lengths.tolist(), strict=True)):
        for t in range(frames):
            start = offset + clip_samples * t // frames
            if start >= heard and clip_samples * t // frames < length:
                seconds.append(start / rate)
                rows.append(chunk * frames + t)
        heard = offset + length
    return np.array(seconds), np.array(rows)
