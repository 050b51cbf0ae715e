"""The report of a check: findings, and the recordings in numbers."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..clips import Skipped, fingerprint
from ..windows.grid import heard_in_windows
from .events import CLIP_SECONDS, Annotated, facts_of
from .sounds import Sound, usable


@dataclass(frozen=True)
class Finding:
    """Something to know about some recordings."""

    hurts: bool  # training
    what: str
    mend: str
    where: tuple[str, ...] = ()  # names of recordings or classes

    def to_json(self) -> dict[str, Any]:
        return vars(self)


@dataclass(frozen=True)
class Report:
    """What was found in the recordings for training and for the evaluation."""

    classes: tuple[str, ...]
    train: tuple[Sound, ...]
    evaluation: tuple[Sound, ...]
    findings: tuple[Finding, ...]
    left_out: tuple[Skipped, ...] = field(default=())  # before anything was decoded
    windows: str = "auto"  # whether long recordings are to be heard whole

    def sides(self) -> tuple[tuple[Sound, ...], tuple[Sound, ...]]:
        return self.train, self.evaluation

    @property
    def hurts(self) -> bool:
        """Whether one of the findings would hurt training."""
        return any(finding.hurts for finding in self.findings)

    def annotated(self) -> tuple[list[Annotated], list[Annotated]] | None:
        """The recordings of both sides with their events; None where no times are known."""
        sides = [usable(side) for side in self.sides()]
        if all(sound.soundings is None for side in sides for sound in side):
            return None
        train, evaluation = ([Annotated(s.name, s.seconds, s.soundings or ()) for s in side] for side in sides)
        return train, evaluation

    def in_windows(self) -> bool:
        """Whether long recordings are heard whole, as `load` decides it."""
        seconds = [sound.seconds for side in self.sides() for sound in usable(side)]
        unheard = sum(max(0.0, s - CLIP_SECONDS) for s in seconds)
        return heard_in_windows(self.windows, self.annotated() is not None, unheard, sum(seconds))

    def counts(self) -> dict[str, tuple[int, int]]:
        """Usable clips for training and for the evaluation by class."""
        train, evaluation = (Counter(c for s in usable(side) for c in s.labels) for side in self.sides())
        return {label: (train[label], evaluation[label]) for label in self.classes}

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        sounds = [sound for side in self.sides() for sound in usable(side)]
        seconds = [sound.seconds for sound in sounds] or [0.0]
        annotated = self.annotated()
        events = annotated and {n: facts_of(s).to_json() for n, s in zip(("train", "eval"), annotated, strict=True)}
        return {
            "hurts": self.hurts,
            "findings": [finding.to_json() for finding in self.findings],
            "clips": {
                name: {"count": len(usable(side)), "names_sha256": fingerprint(s.name for s in usable(side))}
                for name, side in zip(("train", "eval"), self.sides(), strict=True)
            },
            "events": events,
            "in_windows": self.in_windows(),
            "rates_hz": dict(Counter(sound.rate_hz for sound in sounds)),
            "channels": dict(Counter(sound.channels for sound in sounds)),
            "seconds": {
                "least": min(seconds),
                "median": float(np.median(seconds)),
                "most": max(seconds),
                "total": sum(seconds),
            },
            "classes": {label: dict(zip(("train", "eval"), n, strict=True)) for label, n in self.counts().items()},
            "left_out": [vars(skip) for skip in self.left_out],
            "recordings": {
                name: [sound.to_json() for sound in side]
                for name, side in zip(("train", "eval"), self.sides(), strict=True)
            },
        }
