"""Packing against its unavoidable part, decoding with soundfile and resampling with soxr: CPU time on one core."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from glat.data.packs.filling import Shard, write_shard
from glat.data.packs.read import open_packs
from glat.data.recordings.audio import to_int16
from glat.data.recordings.recording import Recording

from ..limits import ONE_THREAD
from ..work import clip_work

FILES, REPEATS = 10, 2
SECONDS, RATE = 10.0, 32_000


def recordings(folder: Path, suffix: str, rate: int, channels: int) -> tuple[Recording, ...]:
    """Red and white noise, so that lossless codecs find something to predict."""
    draw = np.random.default_rng(0)
    listed = []
    for i in range(FILES):
        steps = draw.standard_normal((round(SECONDS * rate), channels))
        red = np.cumsum(steps, axis=0)
        path = folder / f"{i}.{suffix}"
        soundfile.write(path, 0.5 * red / np.abs(red).max() + 0.02 * steps, rate)
        listed.append(Recording(path.name, path, ("noise",)))
    return tuple(listed)


def alone(path: Path) -> Any:
    samples, rate = soundfile.read(path, dtype="float32")
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    return soxr.resample(mono, rate, RATE, quality="HQ")


@pytest.mark.guarded
@pytest.mark.parametrize(
    ("suffix", "rate", "channels"),
    [
        ("wav", 44_100, 1),
        ("wav", 44_100, 2),
        ("wav", 48_000, 2),
        ("flac", 44_100, 1),
        ("flac", 44_100, 2),
        ("ogg", 44_100, 1),
    ],
)
def test_packing(suffix: str, rate: int, channels: int, tmp_path: Path, benchmark: Any, race: Any) -> None:
    listed = recordings(tmp_path, suffix, rate, channels)
    shard = Shard(tmp_path / "shard.h5", listed * REPEATS, ("noise",), RATE, SECONDS)
    write_shard(shard)
    packed = open_packs(shard.path)
    for row, recording in enumerate(shard.recordings):
        np.testing.assert_array_equal(packed.read(row), to_int16(alone(recording.path)))
    count = len(shard.recordings)
    file_bytes = sum(recording.path.stat().st_size for recording in shard.recordings) / count
    samples = round(SECONDS * RATE), round(SECONDS * rate)
    works = [clip_work(file_bytes, samples[0], size, source_samples=samples[1], clips=count) for size in (2, 4)]
    competitors: dict[str, Callable[[], Any]] = {
        "glat": lambda: write_shard(shard),
        "decoding and resampling alone": lambda: [alone(recording.path) for recording in shard.recordings],
    }
    case = f"packing {count} clips, {suffix} {rate} Hz x{channels}, CPU time"
    finished = race(
        case,
        competitors,
        device=ONE_THREAD,
        work=works[0],
        others={"decoding and resampling alone": works[1]},
        clock=time.process_time,
    )
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors["glat"], rounds=1)
