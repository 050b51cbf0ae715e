"""Packs: clips in HDF5 files with the layout of PANNs, an uncompressed row each, read without the HDF5 library.

``audio_name`` bytes [M], ``waveform`` int16 [M, S], ``target`` bool [M, L] and the attribute ``sample_rate`` are those
of PANNs. `glat pack` adds ``length``, ``classes`` and ``fold``, which its programs do not look at.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO, FileIO
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ..clips import ClipSource, Data, Origin, Skipped
from ..recordings.audio import to_int16
from ..recordings.audioset import read_class_labels
from ..recordings.decoding import UnreadableAudio
from ..recordings.level import SILENT_IN_16_BITS, wrong_peak
from ..recordings.manifest import split
from ..recordings.recording import Recording, Sounding
from ..remote import children, is_folder, is_remote, opened, read_range
from ..targets import Targets
from ..windows.grid import recording_of
from ..windows.timeline import Timeline
from .shard import Shard, read_shard

SUFFIXES = (".h5", ".hdf5")
MANIFEST = "manifest.json"


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedClips(ClipSource):
    """A source in HDF5 files.

    The offset of every row is looked up once, so that reading one is one read of its bytes: no open HDF5 file is
    shared with a forked process, threads read at once, and the object can be pickled.
    """

    shards: tuple[Path, ...]
    shard: NDArray[np.int32]  # [M], index into shards
    index: NDArray[np.int64]  # [M], row in the shard
    offsets: NDArray[np.int64]  # [M], of the row's first sample in the shard, in bytes
    sample_dtype: np.dtype[Any]  # int16, or float32 of early versions of PANNs
    starts: NDArray[np.int64]  # [M], of windows, in samples of their recordings; of whole clips 0
    timeline: Timeline | None = None  # of recordings in windows, whose times are known; those behind the first row on
    skipped: tuple[Skipped, ...] = ()

    storage = "pack"
    row_arrays = ("shard", "index", "offsets", "starts")

    def subset(self, rows: NDArray[np.int64]) -> Self:
        """The clips of some rows; of windows, those of whole recordings."""
        if self.timeline is None:
            return super().subset(rows)
        kept = (np.cumsum(self.starts == 0) - 1)[rows[self.starts[rows] == 0]]
        return replace(super().subset(rows), timeline=self.timeline.subset(kept))

    def locate(self, row: int) -> tuple[Path, int]:
        """The file of a clip and its row there."""
        return self.shards[self.shard[row]], int(self.index[row])

    def read(self, row: int) -> NDArray[np.int16]:
        """The valid samples of a clip.

        Raises:
            UnreadableAudio: the file is gone, cut off or cannot be read; samples that are silent, constant, NaN or on
                another scale than ±1.
        """
        path = self.shards[self.shard[row]]
        if is_remote(path):
            size = int(self.lengths[row]) * self.sample_dtype.itemsize
            return self._read(BytesIO(read_range(path, int(self.offsets[row]), size)), row, 0)
        try:
            with FileIO(path) as file:
                return self._read(file, row, int(self.offsets[row]))
        except OSError as error:
            raise UnreadableAudio(path, f"row {self.index[row]} cannot be read ({error.strerror})") from error

    def _read(self, file: FileIO | BytesIO, row: int, offset: int) -> NDArray[np.int16]:
        samples = np.empty(self.lengths[row], self.sample_dtype)
        file.seek(offset)
        if file.readinto(samples.data.cast("B")) != samples.nbytes:
            path, index = self.locate(row)
            raise UnreadableAudio(path, f"is cut off before the end of row {index}")
        least, most = samples.min(), samples.max()
        full = 32_767 if samples.dtype.kind == "i" else 1
        reason = wrong_peak(max(float(most), -float(least)) / full)
        reason = reason if np.isfinite(least) and np.isfinite(most) else "holds NaN or infinite samples"
        if self.origins is not None:  # a silent window of a recording that is not
            reason, least = None if reason == SILENT_IN_16_BITS else reason, most - 1
        if reason or (least == most and len(samples) > 1):
            path, index = self.locate(row)
            raise UnreadableAudio(path, f"row {index} {(reason or 'is constant').partition('; ')[0]}")
        return to_int16(samples) if samples.dtype.kind == "f" else samples


def is_pack(path: Path) -> bool:
    """Whether `open_packs` is for this path: an HDF5 file, or a folder with some."""
    if is_remote(path):
        return path.suffix in SUFFIXES or (is_folder(path) and any(x.suffix in SUFFIXES for x in children(path)))
    if path.is_dir():
        return (path / MANIFEST).is_file() or any(file.suffix in SUFFIXES for file in path.iterdir())
    return path.suffix in SUFFIXES


def load_packs(
    data: Path,
    eval_data: Path | None = None,
    *,
    eval_folds: tuple[str, ...] = (),
    seed: int = 0,
    labels: Path | None = None,
    label_threshold: float | None = None,
) -> Data[PackedClips]:
    """Open packs for training and evaluation.

    Args:
        data: as `open_packs` takes it; all for training where `eval_data` is given, else split as recordings are.
        eval_data: packs for the evaluation.
        eval_folds, seed: of the split, as of `glat.data.recordings.manifest.split`.
        labels, label_threshold: as of `open_packs`.

    Raises:
        UserError: as of `open_packs` and `split`; two packs of different classes, rates or lengths; `eval_data` with
            `eval_folds`.
    """
    packed = open_packs(data, labels, label_threshold)
    if eval_data is None:
        is_eval = np.array(split_rows(packed, eval_folds, seed))
        train, evaluation = (packed.subset(np.flatnonzero(side)) for side in (~is_eval, is_eval))
        return Data(train, evaluation, packed.skipped)
    if eval_folds:
        raise UserError(f"--eval-folds {' '.join(eval_folds)} and --eval-data {eval_data} exclude each other; give one")
    evaluation = open_packs(eval_data, labels, label_threshold)
    for what in ("classes", "sample_rate_hz", "clip_samples"):
        ours, theirs = getattr(packed, what), getattr(evaluation, what)
        if ours != theirs:
            seen = f"{theirs} and {ours}" if what != "classes" else f"{len(theirs)} and {len(ours)}, or in other order"
            raise UserError(f"--eval-data {eval_data} and --data {data} differ in {what} ({seen}); pack both alike")
    return Data(packed, evaluation, packed.skipped + evaluation.skipped)


def recordings(packed: PackedClips) -> list[Recording]:
    """The clips as a list of recordings; each path is that of the shard."""
    present = [
        tuple(sorted(packed.classes[label] for label in np.flatnonzero(row))) for row in packed.targets.dense().numpy()
    ]
    folds = packed.folds or ("",) * len(packed)
    return [
        Recording(name, packed.shards[shard], labels, fold or None)
        for name, shard, labels, fold in zip(packed.names, packed.shard, present, folds, strict=True)
    ]


def split_rows(packed: PackedClips, eval_folds: tuple[str, ...], seed: int) -> list[bool]:
    """Which rows are for the evaluation, as `split` says; the windows of a recording are on one side."""
    listed = recordings(packed)
    if packed.origins is None:
        return split(listed, eval_folds, seed)
    labels: dict[str, set[str]] = {}
    for origin, row in zip(packed.origins, listed, strict=True):
        labels.setdefault(origin.recording, set()).update(row.labels)
    firsts = [row for row, start in zip(listed, packed.starts, strict=True) if not start]
    whole = [
        replace(first, name=name, labels=tuple(sorted(found)))
        for first, (name, found) in zip(firsts, labels.items(), strict=True)
    ]
    side = dict(zip(labels, split(whole, eval_folds, seed), strict=True))
    return [side[origin.recording] for origin in packed.origins]


def open_packs(path: Path, labels: Path | None = None, label_threshold: float | None = None) -> PackedClips:
    """Open one HDF5 file, or a folder of them; reads everything but the audio.

    Args:
        path: what `glat pack` wrote, or a file or folder of PANNs' programs. Rows without a name, which PANNs leaves
            where a recording is missing, are dropped and reported in `skipped`; rows without a length are all valid.
        labels: AudioSet's class_labels_indices.csv, for packs that name no classes.
        label_threshold: soft labels, which other programs write, count as present from this probability on; None: they
            are refused.

    Raises:
        UserError: no such path; a folder without packs, or whose packing was not finished; files of another layout,
            of compressed rows, or that do not belong together; unknown classes; no clip.
    """
    skipped: list[Skipped] = []
    if path.is_dir() or (is_remote(path) and is_folder(path)):
        there = children(path) if is_remote(path) else list(path.iterdir())
        files = sorted(file for file in there if file.suffix in SUFFIXES and not file.name.startswith("."))
        if path / MANIFEST in there:
            files, left_out = _listed(path)
            if left_out:
                why = f"{left_out} recordings were left out of the pack; its skipped.csv says why"
                skipped.append(Skipped(str(path), why))
    elif is_remote(path) or path.is_file():
        files = [path]
    else:
        raise UserError(f"--data {path}: no such file or folder; give what glat pack wrote")
    if not files:
        raise UserError(f"--data {path}: no HDF5 files ({' or '.join(SUFFIXES)}); give what glat pack wrote")
    shards = [read_shard(file, label_threshold) for file in files]
    first = shards[0]
    for file, shard in zip(files, shards, strict=True):
        for what in ("sample_rate_hz", "clip_samples", "sample_dtype", "num_classes", "classes", "of_windows"):
            if getattr(shard, what) != getattr(first, what):
                raise UserError(f"--data {path}: {file.name} and {files[0].name} differ in {what}; open them apart")
        if shard.nameless:
            skipped.append(Skipped(str(file), f"{shard.nameless} rows without a name (recordings that were missing)"))
    classes = first.classes
    if classes is None:
        if labels is None:
            raise UserError(
                f"--data {path}: names none of its {first.num_classes} classes; "
                "give --labels class_labels_indices.csv (AudioSet's)"
            )
        classes = read_class_labels(labels).names
    if len(classes) != first.num_classes:  # of --labels: a shard's own names were counted
        raise UserError(f"--labels {labels}: {len(classes)} classes, and {path} has {first.num_classes}; give its own")
    names = tuple(name for shard in shards for name in shard.names)
    if not names:
        raise UserError(f"--data {path}: holds no clip; pack it again")
    lengths = np.concatenate([shard.lengths for shard in shards])
    return PackedClips(
        **_windows(shards, names, classes, lengths),
        shards=tuple(files),
        shard=np.repeat(np.arange(len(shards), dtype=np.int32), [len(shard.names) for shard in shards]),
        index=np.concatenate([shard.index for shard in shards]),
        offsets=np.concatenate([shard.offsets for shard in shards]),
        sample_dtype=first.sample_dtype,
        lengths=lengths,
        targets=Targets(np.concatenate([shard.targets.packed for shard in shards]), first.num_classes),
        names=names,
        folds=tuple(f for s in shards for f in s.folds) if any(f for s in shards for f in s.folds) else None,
        remarks=tuple(remark for shard in shards for remark in shard.remarks),
        classes=classes,
        sample_rate_hz=first.sample_rate_hz,
        clip_samples=first.clip_samples,
        skipped=tuple(skipped),
    )


def _windows(
    shards: Sequence[Shard], names: tuple[str, ...], classes: tuple[str, ...], lengths: NDArray[np.int64]
) -> dict[str, Any]:
    """Where rows lie in their recordings, and what sounds in them."""
    if not shards[0].of_windows:
        return {"starts": np.zeros(len(names), np.int64)}
    rate = shards[0].sample_rate_hz
    starts = np.concatenate([shard.starts for shard in shards if shard.starts is not None])
    recording = np.cumsum(starts == 0) - 1
    origins = tuple(
        Origin(recording_of(name), start / rate) for name, start in zip(names, starts.tolist(), strict=True)
    )
    found: dict[str, Any] = {"starts": starts, "origins": origins}
    if any(shard.events is not None for shard in shards):
        soundings: list[list[Sounding]] = [[] for _ in range(int(recording[-1]) + 1)]
        first = 0
        for shard in shards:
            for row, label, onset, offset in zip(*(column.tolist() for column in shard.events or ()), strict=True):
                soundings[recording[first + row]].append(Sounding(classes[label], onset, offset))
            first += len(shard.names)
        timeline = Timeline.of(soundings, classes, shards[0].min_overlap_seconds)
        ends = ((starts + lengths) / rate).tolist()
        spans = zip(recording.tolist(), (starts / rate).tolist(), ends, strict=True)
        found |= {"timeline": timeline, "events": tuple(timeline.within(*span) for span in spans)}
    return found


def _listed(folder: Path) -> tuple[list[Path], int]:
    """The shards of a finished packing, and how many recordings it left out."""
    try:
        with opened(folder / MANIFEST) as file:
            manifest = json.loads(file.read().decode())
        if manifest["complete"]:
            return [folder / shard["file"] for shard in manifest["shards"]], manifest["skipped"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder / MANIFEST} is no manifest of glat pack ({error!r}); pack into a new folder"
        ) from error
    raise UserError(f"--data {folder}: not packed to the end; give the same glat pack again to finish it")
