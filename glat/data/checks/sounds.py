"""Recordings and rows of packs, decoded whole, and what each holds."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..packs.read import PackedClips, recordings
from ..parallel import in_parallel
from ..recordings.decoding import Header, UnreadableAudio, decode_mono
from ..recordings.level import Meter
from ..recordings.recording import Recording, Sounding


@dataclass(frozen=True)
class Sound:
    """What one recording holds, or why it holds nothing."""

    name: str
    labels: tuple[str, ...]
    reason: str | None = None  # why it makes no clip; all below is then 0
    rate_hz: int = 0
    channels: int = 0
    seconds: float = 0.0
    peak: float = 0.0  # of full scale
    clipped: float = 0.0  # share of samples at full scale or above
    sha256: str = ""  # of the samples
    remarks: tuple[str, ...] = ()  # what is odd about what is heard
    soundings: tuple[Sounding, ...] | None = None  # what sounds when; None: the labels are of all of it

    def to_json(self) -> dict[str, Any]:
        soundings = self.soundings and [vars(sounding) for sounding in self.soundings]
        return vars(self) | {"soundings": soundings if self.soundings is not None else None}


def usable(sounds: Iterable[Sound]) -> list[Sound]:
    """Those that make a clip."""
    return [sound for sound in sounds if sound.reason is None]


def divide(sounds: Sequence[Sound], is_eval: Sequence[bool]) -> tuple[list[Sound], list[Sound]]:
    """Those for training and those for the evaluation."""
    return (
        [sound for sound, side in zip(sounds, is_eval, strict=True) if not side],
        [sound for sound, side in zip(sounds, is_eval, strict=True) if side],
    )


def listen(listed: Sequence[Recording], workers: int | None = None) -> list[Sound]:
    """Decode every recording whole; one that cannot be decoded gets a reason.

    Args:
        workers: threads; None: one a core.
    """

    def look(i: int) -> Sound:
        recording = listed[i]
        digest = hashlib.sha256()

        def begin(_: Header) -> Callable[[NDArray[np.float32]], None]:
            nonlocal digest
            digest = hashlib.sha256()
            return lambda mono: digest.update(np.ascontiguousarray(mono).data)

        try:
            facts = decode_mono(recording.path, begin, stream=recording.stream())
        except UnreadableAudio as error:
            return Sound(recording.name, recording.labels, error.reason)
        return Sound(
            recording.name,
            recording.labels,
            None,
            facts.header.rate_hz,
            facts.header.channels,
            facts.samples / facts.header.rate_hz,
            facts.peak,
            facts.clipped,
            digest.hexdigest(),
            facts.remarks,
            recording.soundings,
        )

    return in_parallel(look, len(listed), workers)


def listen_to_packs(packed: PackedClips, workers: int | None = None) -> list[Sound]:
    """Read every row of the packs; a row whose samples differ from what was packed gets a reason."""
    listed = [
        replace(recording, soundings=soundings)
        for recording, soundings in zip(recordings(packed), _soundings(packed), strict=True)
    ]
    facts = [_recorded(path) for path in packed.shards]

    def look(i: int) -> Sound:
        shard, index = packed.shard[i], packed.index[i]
        is_window = packed.origins is not None
        try:
            wave = packed.read(i)
        except UnreadableAudio as error:
            return Sound(listed[i].name, listed[i].labels, error.reason)
        if facts[shard] is None:  # packed by PANNs' programs
            sound = _sound(listed[i], wave, packed.sample_rate_hz, 1, packed.sample_rate_hz, False)
            return replace(sound, remarks=(*sound.remarks, *(packed.remarks or {i: ()})[i]))  # on its name
        hashes, rates, channels = facts[shard]
        if hashlib.sha256(wave.data).digest() != hashes[index].tobytes():
            return Sound(listed[i].name, listed[i].labels, "is not what was packed: the file is damaged")
        return _sound(listed[i], wave, int(rates[index]), int(channels[index]), packed.sample_rate_hz, is_window)

    return in_parallel(look, len(packed), workers)


def _soundings(packed: PackedClips) -> Iterable[tuple[Sounding, ...] | None]:
    """What sounds in each row, where packs of long recordings say so; an event that two rows hold is in both."""
    if packed.events is None:
        return (None for _ in packed.names)
    names = packed.classes
    return (tuple(Sounding(names[e.label], e.onset_seconds, e.offset_seconds) for e in row) for row in packed.events)


def _sound(
    recording: Recording, wave: NDArray[np.int16], rate_hz: int, channels: int, sample_rate_hz: int, is_window: bool
) -> Sound:
    """Of a packed clip, at the pack's rate; the file it was packed from had a rate and channels of its own."""
    meter = Meter()
    meter.mono((wave / np.float32(32_767)).astype(np.float32, copy=False)[:, None])
    refusal = None if is_window else meter.refusal()  # its recording was judged when it was packed
    return Sound(
        recording.name,
        recording.labels,
        refusal,
        rate_hz,
        channels,
        len(wave) / sample_rate_hz,
        meter.peak,
        meter.clipped_share,
        hashlib.sha256(wave.tobytes()).hexdigest(),
        meter.remarks() if refusal is None and not is_window else (),
        recording.soundings,
    )


def _recorded(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]] | None:
    """What `glat pack` noted of the rows of a shard: hashes, rates and channels of the files."""
    with h5py.File(path, "r") as file:
        return (file["sha256"][:], file["source_rate"][:], file["channels"][:]) if "sha256" in file else None
