"""GL-AT with random crops and with crops at the true events: the least and the most that selection could bring."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glat.backbones import Backbone
from glat.config import ModelConfig
from glat.data import ClipSource
from glat.frontend import to_float
from glat.kernels import Crops
from glat.model import GlobalLocal

Placement = tuple[list[int], list[int]]  # classes and starts in samples, N each


class Drawn(GlobalLocal):
    """Crops with something random; what is drawn is the same with every seed of the study, in the same order."""

    calls: Tensor  # in the state dict: a run that goes on draws what it would have drawn

    def __init__(self, global_: Backbone, local_: Backbone, config: ModelConfig) -> None:
        super().__init__(global_, local_, config)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def draw(self) -> np.random.Generator:
        """Of this call."""
        self.calls += 1
        return np.random.default_rng([self.training, int(self.calls)])


class RandomCrops(Drawn):
    """Crops of the selected classes, each anywhere in the clip with equal chance; other places at each hearing."""

    @torch.no_grad()
    def select(self, features: Tensor, wave: Tensor, lengths: Tensor | None) -> tuple[Crops, Tensor]:
        crops, frame_logits = super().select(features, wave, lengths)
        starts = self.draw().integers(0, wave.shape[1] - self.crop_samples + 1, crops.starts.shape)
        return cut(wave, crops.classes, torch.from_numpy(starts).to(wave.device), self.crop_samples), frame_logits


class EventCrops(GlobalLocal):
    """Crops around the true events of the clips, in the order of their onsets and over again until there are N."""

    placements: Mapping[bytes, Placement]  # by clip

    @torch.no_grad()
    def select(self, features: Tensor, wave: Tensor, lengths: Tensor | None) -> tuple[Crops, Tensor]:
        _, frame_logits = super().select(features, wave, lengths)
        found = [self.placements[_key(clip)] for clip in wave.cpu().numpy()]
        classes, starts = (torch.tensor(column, device=wave.device) for column in zip(*found, strict=True))
        return cut(wave, classes, starts, self.crop_samples), frame_logits


def placements(clips: ClipSource, num_crops: int, crop_samples: int) -> dict[bytes, Placement]:
    """Where `EventCrops` cuts the crops of some clips, which it knows by their samples."""
    assert clips.events is not None
    found = {}
    for row, events in enumerate(clips.events):
        wave = np.zeros(clips.clip_samples, np.int16)
        samples = clips.read(row)
        wave[: len(samples)] = samples
        in_order = sorted(events, key=lambda event: event.onset_seconds)
        chosen = [in_order[n % len(in_order)] for n in range(num_crops)]
        centres = [(event.onset_seconds + event.offset_seconds) / 2 * clips.sample_rate_hz for event in chosen]
        last = clips.clip_samples - crop_samples
        starts = [min(max(round(centre) - crop_samples // 2, 0), last) for centre in centres]
        found[_key(wave)] = [event.label for event in chosen], starts
    return found


def _key(wave: NDArray[np.int16]) -> bytes:
    assert wave.dtype == np.int16
    return hashlib.blake2b(np.ascontiguousarray(wave).data, digest_size=16).digest()


def cut(wave: Tensor, classes: Tensor, starts: Tensor, crop_samples: int) -> Crops:
    """Crops of waves [B, S] at given starts [B, N], whose peaks are not known."""
    source = starts[:, :, None] + torch.arange(crop_samples, device=wave.device)
    audio = to_float(wave[:, None].expand(-1, starts.shape[1], -1).gather(2, source))
    return Crops(audio, classes, starts, torch.full(starts.shape, torch.nan, device=wave.device))
