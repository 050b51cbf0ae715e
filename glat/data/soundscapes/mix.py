"""Weakly labelled soundscapes: isolated events mixed at random times and levels over a bed of noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import UserError
from ..clips import Clips, Event
from ..parallel import in_parallel
from ..targets import Targets
from . import events as synthesised_events
from .portable_math import Draw, Floats, fade, gain, rms, smooth

INT16_PEAK = 32_767
SPLITS = ("train", "eval")
RECORDINGS_PER_CLASS = {"train": 40, "eval": 20}  # synthesised

# First word after the seed of every random stream, so that no two streams share a key.
_EVENTS, _BED, _RECORDING = range(3)


@dataclass(frozen=True)
class Mixer:
    """How soundscapes are mixed; every range includes both ends."""

    events: tuple[int, int] = (1, 4)  # events per clip
    level_db: tuple[float, float] = (5.0, 25.0)  # rms of an event relative to the bed's, in steps of 0.1 dB
    event_seconds: tuple[float, float] | None = None  # longer events are cut to a length from this; None: not cut
    bed_dbfs: tuple[float, float] = (-44.0, -34.0)  # rms of the bed, in steps of 0.1 dB

    def __post_init__(self) -> None:
        ranges = {"events": self.events, "level_db": self.level_db, "bed_dbfs": self.bed_dbfs}
        if self.event_seconds is not None:
            ranges["event_seconds"] = self.event_seconds
        for name, (low, high) in ranges.items():
            if not low <= high:
                raise UserError(f"Mixer: {name} is {low, high}; give the smaller number first")
        if self.events[0] < 1:
            raise UserError(f"Mixer: events is {self.events}; every clip needs at least 1")
        if self.event_seconds is not None and self.event_seconds[0] <= 0:
            raise UserError(f"Mixer: event_seconds is {self.event_seconds}; give lengths above 0")


@dataclass(frozen=True)
class Pool:
    """Isolated recordings to mix from, by class."""

    classes: tuple[str, ...]
    sizes: tuple[int, ...]  # number of recordings of each class
    take: Callable[[int, int], tuple[NDArray[np.int16], tuple[int, ...]]]  # (label, index) -> wave [S], its labels


def synthesised(split: str, seed: int, sample_rate_hz: int) -> Pool:
    """The built-in events of one split; each recording is synthesised when it is first used.

    Raises:
        UserError: a rate below 16 000 Hz, where some sounds would alias.
    """
    if sample_rate_hz < synthesised_events.LEAST_RATE_HZ:
        raise UserError(
            f"built-in soundscapes at {sample_rate_hz} Hz; their sounds need {synthesised_events.LEAST_RATE_HZ} Hz, "
            "so give a backbone of a higher rate, or --data"
        )
    which = SPLITS.index(split)

    @cache
    def take(label: int, index: int) -> tuple[NDArray[np.int16], tuple[int, ...]]:
        draw = Draw(seed, _RECORDING, which, label, index)
        return synthesised_events.synthesise(label, draw, sample_rate_hz), (label,)

    classes = synthesised_events.CLASSES
    return Pool(classes, (RECORDINGS_PER_CLASS[split],) * len(classes), take)


def recorded(clips: Clips) -> Pool:
    """The recordings in `clips`, without the digital silence at their ends."""
    rows = [clips_of.tolist() for clips_of in clips.targets.by_class()]
    present = clips.targets.dense()

    def take(label: int, index: int) -> tuple[NDArray[np.int16], tuple[int, ...]]:
        row = rows[label][index]
        wave = clips.waves[row, : int(clips.lengths[row])].numpy()
        return trim(wave), tuple(present[row].nonzero()[:, 0].tolist())

    return Pool(clips.classes, tuple(map(len, rows)), take)


def mix(
    pool: Pool,
    mixer: Mixer,
    count: int,
    *,
    split: str,
    sample_rate_hz: int,
    clip_seconds: float = 10.0,
    seed: int = 0,
    workers: int | None = None,
) -> Clips:
    """Mix `count` soundscapes from the recordings of `pool`.

    Classes, recordings, levels and times of a clip's events are drawn uniformly. A clip is a pure function of (pool,
    mixer, split, seed, its index), so `count` and `workers` do not change it. Clips of synthesised events have the same
    bytes on every machine.

    Args:
        pool: the events, from `synthesised` or `recorded`.
        split: "train" or "eval"; each has its own random numbers.

    Returns:
        Clips of ``round(clip_seconds * sample_rate_hz)`` samples, scaled down where they would exceed full scale, with
        the events' times.
    """
    S = round(clip_seconds * sample_rate_hz)
    which = SPLITS.index(split)
    waves = torch.zeros(count, S, dtype=torch.int16)
    rows = waves.numpy()

    def fill(index: int) -> tuple[Event, ...]:
        event_draw, bed_draw = (Draw(seed, kind, which, 0, index) for kind in (_EVENTS, _BED))
        rows[index], events = _soundscape(pool, mixer, event_draw, bed_draw, S, sample_rate_hz)
        return events

    events = tuple(in_parallel(fill, count, workers))
    return Clips(
        waves=waves,
        lengths=np.full(count, S, np.int64),
        clip_samples=S,
        targets=Targets.from_labels(([event.label for event in present] for present in events), len(pool.classes)),
        names=tuple(f"soundscape-{split}-{index:06d}" for index in range(count)),
        classes=pool.classes,
        sample_rate_hz=sample_rate_hz,
        events=events,
    )


def _soundscape(
    pool: Pool, mixer: Mixer, draw: Draw, bed_draw: Draw, S: int, rate: int
) -> tuple[NDArray[np.int16], tuple[Event, ...]]:
    bed_rms = INT16_PEAK * gain(_decibels(bed_draw, mixer.bed_dbfs))
    total = _bed(bed_draw, S, rate, bed_rms)
    events: list[Event] = []
    filled = [label for label, size in enumerate(pool.sizes) if size]
    for _ in range(draw.integer(*mixer.events)):
        label = filled[draw.integer(0, len(filled) - 1)]
        wave, labels = pool.take(label, draw.integer(0, pool.sizes[label] - 1))
        low, high = mixer.event_seconds or (S / rate, S / rate)
        sound = _cut(wave, min(S, max(1, int(draw.uniform(low, high) * rate))), draw, rate)
        start = draw.integer(0, S - len(sound))
        level = gain(_decibels(draw, mixer.level_db)) * bed_rms / rms(sound)
        total[start : start + len(sound)] += sound * level
        events.extend(Event(each, start / rate, (start + len(sound)) / rate) for each in labels)
    peak = float(np.abs(total).max())
    if peak > INT16_PEAK:
        total *= INT16_PEAK / peak
    return total.astype(np.int16), tuple(events)


def _decibels(draw: Draw, limits: tuple[float, float]) -> float:
    return draw.integer(round(10 * limits[0]), round(10 * limits[1])) / 10


def _bed(draw: Draw, S: int, rate: int, target_rms: float) -> Floats:
    """White noise and low-passed noise in random proportion; [S]."""
    width = max(2, int(draw.uniform(8, 64) * rate / 32_000))
    low_part = draw.uniform(0.2, 0.9)
    low = smooth(draw.noise(S + width - 1), width) * (low_part / math.sqrt(width))
    noise = (low + draw.noise(S) * (1 - low_part)).astype(np.int64)
    return np.asarray(noise * (target_rms / rms(noise)))


def _cut(wave: NDArray[np.int16], samples: int, draw: Draw, rate: int) -> NDArray[np.int16]:
    """The loudest of four random cuts of `samples`, with ramps of 5 ms; shorter recordings stay whole."""
    if len(wave) <= samples:
        return wave
    sounding = np.flatnonzero(wave)
    cuts = []
    for _ in range(4):  # one alone may hit the pause between two barks; each holds a sample that is not 0
        at = int(sounding[draw.integer(0, len(sounding) - 1)]) - draw.integer(0, samples - 1)
        start = min(max(at, 0), len(wave) - samples)
        cuts.append(wave[start : start + samples])
    ramp = rate // 200
    loudest = max(cuts, key=rms)
    faded = (loudest * fade(samples, ramp, ramp)).astype(np.int16)
    return trim(faded if faded.any() else loudest)


def trim(wave: NDArray[np.int16]) -> NDArray[np.int16]:
    """Remove zeros at both ends; recordings that were padded to equal length have seconds of them."""
    sounding = np.flatnonzero(wave)
    return wave[sounding[0] : sounding[-1] + 1]
