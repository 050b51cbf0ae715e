"""One shard of a pack: its recordings decoded, resampled and written, whole or not at all."""

import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...files import replaced
from ..recordings.audio import read_clip
from ..recordings.decoding import UnreadableAudio
from ..recordings.recording import Recording
from .cutting import MIN_OVERLAP, Cutting, Row, columns_of
from .shard import COLUMNS_HASH, columns_hash

_PANNS_NAME_BYTES = 20


@dataclass(frozen=True)
class Shard:
    """One shard to write."""

    path: Path
    recordings: tuple[Recording, ...]
    classes: tuple[str, ...]
    sample_rate_hz: int
    clip_seconds: float
    cutting: Cutting | None = None  # into windows; None: a row a recording, its beginning


class WriteError(Exception):
    """A shard could not be written: HDF5's error in a form that pickles."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(number, reason)
        self.errno, self.strerror = number, reason


def write_shard(task: Shard) -> None:
    """Decode and write one shard, whole or not at all.

    Raises:
        WriteError: it cannot be written, e.g. as the disk is full.
    """
    try:
        with replaced(task.path) as temporary:
            _fill_shard(temporary, task)
    except (OSError, RuntimeError) as error:  # HDF5 raises both
        number = getattr(error, "errno", None) or 0
        if "No space left" in str(error) or "errno = 28" in str(error):
            number = errno.ENOSPC
        raise WriteError(number, os.strerror(number) if number else str(error)) from None


def _fill_shard(path: Path, task: Shard) -> None:
    S = round(task.clip_seconds * task.sample_rate_hz)
    rows = len(task.recordings)
    most = rows if task.cutting is None else None
    packed: list[Row] = []
    lengths: list[int] = []
    hashes: list[bytes] = []
    kept: list[Recording] = []
    skipped: list[tuple[str, str]] = []
    with h5py.File(path, "w") as file:
        # A row a chunk lies in one piece, and rows of recordings that turn out bad can be given back.
        waveform = file.create_dataset("waveform", (rows, S), np.int16, chunks=(1, S), maxshape=(most, S))
        for recording in task.recordings:
            try:
                found = _rows(task, recording)
            except UnreadableAudio as error:
                skipped.append((recording.name, error.reason))
                continue
            kept.append(recording)
            if len(packed) + len(found) > waveform.shape[0]:
                waveform.resize(len(packed) + len(found), axis=0)
            for made in found:
                row = made.clip.wave
                if len(row) < S:
                    row = np.zeros(S, np.int16)
                    row[: len(made.clip.wave)] = made.clip.wave
                waveform.id.write_direct_chunk((len(packed), 0), np.ascontiguousarray(row))
                lengths.append(len(made.clip.wave))
                hashes.append(hashlib.sha256(np.ascontiguousarray(made.clip.wave).data).digest())
                packed.append(made._replace(clip=made.clip._replace(wave=row[:0].copy())))
        waveform.resize(len(packed), axis=0)
        remarks = ["; ".join(row.clip.remarks) for row in packed]
        columns = [file.create_dataset(name, data=column) for name, column in _columns(task.classes, packed).items()]
        if task.cutting is not None:
            columns += [file.create_dataset(n, data=c) for n, c in columns_of(packed, task.classes, kept).items()]
            file.attrs[MIN_OVERLAP] = task.cutting.min_overlap_seconds
        columns += [
            file.create_dataset("length", data=np.array(lengths, np.int32)),
            file.create_dataset("sha256", data=np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32)),
            file.create_dataset("classes", data=task.classes, dtype=h5py.string_dtype()),
            file.create_dataset("remarks", (len(packed),), data=remarks or None, dtype=h5py.string_dtype()),
            file.create_dataset("skipped", (len(skipped), 2), data=skipped or None, dtype=h5py.string_dtype()),
        ]
        file.attrs.create("sample_rate", task.sample_rate_hz, dtype=np.int32)
        file.attrs[COLUMNS_HASH] = columns_hash(file)
        # While the columns are held: HDF5 writes the last of a dataset when it is let go, where h5py cannot raise.
        file.flush()


def _rows(task: Shard, recording: Recording) -> list[Row]:
    if task.cutting is not None:
        return task.cutting.rows(recording)
    clip = read_clip(recording.path, task.sample_rate_hz, task.clip_seconds, recording.stream())
    return [Row(recording, clip, 0)]


def _columns(classes: tuple[str, ...], packed: list[Row]) -> dict[str, NDArray[Any]]:
    """What is known of the clips of a shard, a row each."""
    column = {label: k for k, label in enumerate(classes)}
    names = [recording.name.encode() for recording, *_ in packed]
    target = np.zeros((len(packed), len(classes)), np.bool_)
    for row, (recording, *_) in enumerate(packed):
        target[row, [column[label] for label in recording.labels]] = True
    folds = [(recording.fold or "").encode() for recording, *_ in packed]
    return {
        "audio_name": np.array(names, f"S{max([_PANNS_NAME_BYTES, *map(len, names)])}"),
        "target": target,
        "fold": np.array(folds, f"S{max([1, *map(len, folds)])}"),
        "source_rate": np.array([clip.rate_hz for _, clip, _ in packed], np.int32),
        "channels": np.array([clip.channels for _, clip, _ in packed], np.int32),
        "peak": np.array([clip.peak for _, clip, _ in packed], np.float32),
    }
