"""Clips to compare an exported model on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..config import DataConfig
from ..data import ClipSource, load, load_for_evaluation, read_audio
from ..errors import UserError, first_line

Item = TypeVar("Item")

MOST = 8  # clips


@dataclass(frozen=True)
class Sounds:
    """Clips with their names, and in words what they are."""

    what: str
    names: tuple[str, ...]
    waves: NDArray[np.float32]  # [M, S], full scale ±1; shorter ones end in zeros

    @staticmethod
    def of(what: str, clips: Sequence[tuple[str, NDArray[np.float32]]], clip_samples: int) -> "Sounds":
        """Clips [n], padded or cut to S samples, and behind them a clip of silence."""
        waves = np.zeros((len(clips) + 1, clip_samples), np.float32)
        for row, (_, wave) in zip(waves, clips, strict=False):
            row[: len(wave)] = wave[:clip_samples]
        return Sounds(f"{what} and a clip of silence", (*(name for name, _ in clips), "silence"), waves)


def of_files(files: Sequence[Path], sample_rate_hz: int, clip_samples: int) -> Sounds:
    """The beginnings of recordings, of some that lie evenly among them where there are many.

    Raises:
        UserError: one that cannot be read.
    """
    some = _evenly(files)
    seconds = clip_samples / sample_rate_hz
    clips = [(str(file), read_audio(file, sample_rate_hz, max_seconds=seconds)) for file in some]
    return Sounds.of(_counted(len(some), len(files), "recording"), clips, clip_samples)


def of_run(config: DataConfig, seed: int, sample_rate_hz: int, clip_samples: int) -> Sounds:
    """Clips of a run's own data; where these cannot be had, synthesised soundscapes, and it says why."""
    if config.data is None:
        return synthesised(sample_rate_hz, clip_samples)
    try:
        source = _opened(config, seed, sample_rate_hz)
        rows = _evenly(range(len(source)))
        clips = [(source.names[row], _samples(source, row)) for row in rows]
    except (UserError, OSError) as error:
        found = synthesised(sample_rate_hz, clip_samples)
        return Sounds(f"{found.what}; the run's data cannot be had: {first_line(error)}", found.names, found.waves)
    return Sounds.of(f"{_counted(len(rows), len(source), 'clip')} of the run's data", clips, clip_samples)


def synthesised(sample_rate_hz: int, clip_samples: int) -> Sounds:
    """The built-in soundscapes."""
    config = DataConfig(clip_seconds=clip_samples / sample_rate_hz, train_clips=1, eval_clips=MOST)
    source = load(config, sample_rate_hz).evaluation
    clips = [(source.names[row], _samples(source, row)) for row in range(len(source))]
    return Sounds.of(f"{len(clips)} synthesised soundscapes", clips, clip_samples)


def _opened(config: DataConfig, seed: int, sample_rate_hz: int) -> ClipSource:
    """The recordings that a run was evaluated on where it names them, else all; they are read when they are asked for.

    Soundscapes that the run mixed are not mixed again: the events that they are made of are sounds enough.
    """
    asked = replace(
        config,
        data=config.eval_data or config.data,
        eval_data=None,
        eval_folds=() if config.eval_data else config.eval_folds,
        negatives=None,
        mix=False,
        train_clips=DataConfig.train_clips,
        eval_clips=DataConfig.eval_clips,
    )
    return load_for_evaluation(asked, sample_rate_hz, loader="soundfile", seed=seed)[0]


def _samples(source: ClipSource, row: int) -> NDArray[np.float32]:
    samples = source.read_samples(row)
    scale = np.float32(32767 if samples.dtype == np.int16 else 1)
    return np.divide(samples, scale, dtype=np.float32)


def _evenly(items: Sequence[Item]) -> list[Item]:
    count = min(MOST, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _counted(some: int, of: int, what: str) -> str:
    return f"{some} {what}{'s' * (some != 1)}" + (f" of {of}" if some < of else "")
