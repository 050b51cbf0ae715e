"""The tagger that the flags of a command ask for, where they say how recordings are heard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch

from .. import machine
from ..config import CropPooling
from ..sharpening import EventsBy
from ..tagging.hearing import Streams
from ..tagging.loading import load
from ..tagging.tagger import Tagger


class Hearing(Protocol):
    """Flags of `glat tag` and `glat demo`."""

    @property
    def labels(self) -> Path | None: ...
    @property
    def best(self) -> bool: ...
    @property
    def streams(self) -> Streams: ...
    @property
    def crop_pooling(self) -> CropPooling | None: ...
    @property
    def events_by(self) -> EventsBy | None: ...
    @property
    def overlap(self) -> float: ...
    @property
    def batch_size(self) -> int | None: ...
    @property
    def amp(self) -> bool: ...
    @property
    def allow_code(self) -> str | None: ...


def load_tagger(command: Hearing, source: Path, normalise_with: Sequence[Path]) -> Tagger:
    """`glat.load` with a command's flags, on the device that is there."""
    device = machine.pick_device()
    return load(
        source,
        labels=command.labels,
        best=command.best,
        crop_pooling=command.crop_pooling,
        streams=command.streams,
        overlap=command.overlap,
        device=device,
        dtype=machine.pick_precision(command.amp, device).dtype or torch.float32,
        batch_size=command.batch_size,
        allow_code=command.allow_code.split(",") if command.allow_code else (),
        normalise_with=normalise_with,
        events_by=command.events_by,
    )
