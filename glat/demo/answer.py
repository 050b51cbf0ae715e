"""What the page is told of one sound: tags, crops, frames, the spectrogram, and the samples that the model heard."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.recordings.audio import hear, to_int16
from ..data.recordings.decoding import UnreadableAudio, read_header
from ..errors import UserError
from ..files import to_json_text
from ..plots.spectrogram import HOP_SAMPLES, RANGE_DB, frequency_ticks, spectrogram_db
from ..tagging.reading import ArraySource
from ..tagging.tagger import Tagger
from ..tagging.tags import Tags
from ..text import shown

_BLOCK_COLUMNS = 6_000  # of the spectrogram that are computed at a time: a minute, 70 MB
_MARGIN_COLUMNS = 4  # more than a window of the Fourier transform reaches
_LONGEST_NAME = 200
_MORE_SECONDS = 1.0  # decoded beyond the limit, to know that there is more


@dataclass(frozen=True)
class Limits:
    """What the page takes."""

    most_bytes: int  # of a file
    most_seconds: float  # of a recording


@dataclass(frozen=True)
class Answer:
    """What the page is told: a line of JSON, `head`, and behind it the bytes of `parts`, whose sizes `head` names."""

    head: dict[str, Any]
    parts: dict[str, NDArray[Any]]

    def pieces(self) -> Iterator[bytes]:
        """The answer as it is sent. Numbers are little endian."""
        data = {name: part.astype(part.dtype.newbyteorder("<"), copy=False) for name, part in self.parts.items()}
        layout = [[name, part.dtype.name, part.size] for name, part in data.items()]
        yield to_json_text({"result": self.head | {"parts": layout}}).encode() + b"\n"
        for part in data.values():
            yield np.ascontiguousarray(part).tobytes()


def answer(tagger: Tagger, name: str, sound: BytesIO, limits: Limits, report: Callable[[float, float], None]) -> Answer:
    """Decode and tag one sound.

    Args:
        name: of the file; it is only shown.
        sound: the file's bytes.
        report: told how many seconds are heard, and of how many. What it raises ends the work.

    Raises:
        UserError: a sound that cannot be read, is silent or is too long.
    """
    name = shown(name)[:_LONGEST_NAME]
    wave, remarks = _decode(name, sound, tagger.sample_rate_hz, limits)
    seconds, done = len(wave) / tagger.sample_rate_hz, 0.0
    report(0.0, seconds)

    def add(more: float) -> None:
        nonlocal done
        done += more
        report(done, seconds)

    source = ArraySource(wave, tagger.sample_rate_hz, name)
    (outcome,) = tagger.hear([source], lambda _: tagger.recording(name, keep=True), report=add)
    if outcome.error is not None:
        raise outcome.error
    assert outcome.recording is not None
    tags, _ = outcome.recording.finish(outcome.samples, tagger.thresholds)
    return _answer(tags, wave, remarks)


def _decode(name: str, sound: BytesIO, rate_hz: int, limits: Limits) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """The whole sound [S] at the model's rate, and what is odd about it."""
    path, most = Path(name), limits.most_seconds
    try:
        header = read_header(path, sound)
        seconds = header.frames / header.rate_hz
        if seconds > most and not header.format.startswith("MP"):  # whose length is guessed until it is decoded
            raise _too_long(name, f"is {_duration(seconds)} long", limits)
        sound.seek(0)
        heard = hear(path, rate_hz, max_seconds=most + _MORE_SECONDS, stream=sound)
    except UnreadableAudio as error:
        raise UserError(f"{name}: {str(error).removeprefix(f'{path}: ')}") from None
    if len(heard.samples) > most * rate_hz:
        raise _too_long(name, f"is longer than {_duration(most)}", limits)
    return heard.samples, heard.remarks


def _too_long(name: str, what: str, limits: Limits) -> UserError:
    return UserError(
        f"{name} {what}, and this page takes up to {_duration(limits.most_seconds)}; cut it, start glat demo with a "
        "larger --max-minutes, or use glat tag, which takes any length"
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.3g} minutes" if seconds >= 120 else f"{seconds:.3g} s"


def _answer(tags: Tags, wave: NDArray[np.float32], remarks: tuple[str, ...]) -> Answer:
    rate = tags.grid.sample_rate_hz
    column = {label: k for k, label in enumerate(tags.classes)}
    number = {crop: i for i, crop in reversed(list(enumerate(tags.crops)))}
    spectrogram = _spectrogram(wave, rate)
    windows = tags.windows
    head = {
        "name": tags.file,
        "seconds": tags.seconds,
        "remarks": [shown(remark) for remark in remarks],
        "rate": rate,
        "frame_seconds": tags.grid.frame_seconds,
        "tags": [
            {
                "class": column[tag.label],
                "fused": tag.probability,
                "global": tag.global_,
                "local": None if math.isnan(tag.local_) else tag.local_,
                "crop": None if tag.decided_by is None else number[tag.decided_by],
                "crop_probability": None if tag.decided_by is None else tag.crop_probability,
            }
            for tag in tags.tags
        ],
        "crops": [
            {
                "class": column[crop.label],
                "start": crop.start_seconds,
                "end": crop.end_seconds,
                "peak": crop.peak,
                "peak_seconds": crop.peak_seconds,
            }
            for crop in tags.crops
        ],
        "bins": spectrogram.shape[1],
        "column_seconds": HOP_SAMPLES / rate,
        "ticks_khz": frequency_ticks(rate, spectrogram.shape[1]),
    }
    parts: dict[str, NDArray[Any]] = {
        "frames": tags.frames.probs,  # [T, L]
        "windows": np.stack([windows.fused, windows.global_, windows.local_], axis=1),  # [K, 3, L]
        "window_of_frame": window_of_frame(tags),  # [T]
        "spectrogram": spectrogram,  # [H, F]
        "samples": to_int16(wave),  # [S]
    }
    return Answer(head, parts)


def window_of_frame(tags: Tags) -> NDArray[np.int32]:
    """[T], for each frame the window in whose middle it lies, whose scores its events have; see `JoinedFrames`."""
    grid, frames = tags.grid, len(tags.frames.probs)
    t = np.arange(grid.frames)
    centrality = np.minimum(t, grid.frames - 1 - t) + 1
    largest, found = np.zeros(frames, np.int64), np.zeros(frames, np.int32)
    for k, seconds in enumerate(tags.windows.seconds.tolist()):
        first = grid.nearest_frame(round(seconds * grid.sample_rate_hz))
        here = slice(first, first + grid.frames)
        nearer = centrality[: len(largest[here])] > largest[here]
        found[here][nearer] = k
        largest[here] = np.maximum(largest[here], centrality[: len(largest[here])])
    return found


def _spectrogram(wave: NDArray[np.float32], rate_hz: int) -> NDArray[np.uint8]:
    """[H, F], low frequencies first; 255 is the loudest bin, 0 what is `RANGE_DB` below it and more.

    It is computed in stretches of columns: the Fourier transform of ten minutes at once would take gigabytes.
    """
    hop = HOP_SAMPLES
    columns = len(wave) // hop + 1
    found = []
    for first in range(0, columns, _BLOCK_COLUMNS):
        begin = max(0, first - _MARGIN_COLUMNS)
        end = first + _BLOCK_COLUMNS + _MARGIN_COLUMNS
        db = spectrogram_db(wave[begin * hop : end * hop], rate_hz).T
        found.append(db[first - begin :][: min(_BLOCK_COLUMNS, columns - first)])
    db = np.concatenate(found)
    scaled = (db - (db.max() - RANGE_DB)) * (255 / RANGE_DB)
    return scaled.clip(0, 255).round().astype(np.uint8)
