"""Packs: clips in HDF5 files with the layout of PANNs, an uncompressed row each, read without the HDF5 library.

``audio_name`` bytes [M], ``waveform`` int16 [M, S], ``target`` bool [M, L] and the attribute ``sample_rate`` are those
of PANNs. `glat pack` adds ``length``, ``classes`` and ``fold``, which its programs do not look at.
"""

import json
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ..clips import ClipSource, Data, Skipped
from ..recordings.audio import to_int16
from ..recordings.audioset import read_class_labels
from ..recordings.decoding import UnreadableAudio
from ..recordings.manifest import split
from ..recordings.recording import Recording
from ..targets import Targets

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
    skipped: tuple[Skipped, ...] = ()

    storage = "pack"
    row_arrays = ("shard", "index", "offsets")

    def locate(self, row: int) -> tuple[Path, int]:
        """The file of a clip and its row there."""
        return self.shards[self.shard[row]], int(self.index[row])

    def read(self, row: int) -> NDArray[np.int16]:
        """The valid samples of a clip.

        Raises:
            UnreadableAudio: the file is gone, cut off or cannot be read.
        """
        path = self.shards[self.shard[row]]
        try:
            with FileIO(path) as file:
                return self._read(file, row)
        except OSError as error:
            raise UnreadableAudio(path, f"row {self.index[row]} cannot be read ({error.strerror})") from error

    def _read(self, file: FileIO, row: int) -> NDArray[np.int16]:
        samples = np.empty(self.lengths[row], self.sample_dtype)
        file.seek(self.offsets[row])
        if file.readinto(samples.data.cast("B")) != samples.nbytes:
            path, index = self.locate(row)
            raise UnreadableAudio(path, f"is cut off before the end of row {index}")
        return to_int16(samples) if samples.dtype.kind == "f" else samples


def is_pack(path: Path) -> bool:
    """Whether `open_packs` is for this path: an HDF5 file, or a folder with some."""
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
) -> Data[PackedClips]:
    """Open packs for training and evaluation.

    Args:
        data: as `open_packs` takes it; all for training where `eval_data` is given, else split as recordings are.
        eval_data: packs for the evaluation.
        eval_folds, seed: of the split, as of `glat.data.recordings.manifest.split`.
        labels: AudioSet's class_labels_indices.csv, for packs that name no classes.

    Raises:
        UserError: as of `open_packs` and `split`; two packs of different classes, rates or lengths; `eval_data` with
            `eval_folds`.
    """
    packed = open_packs(data, labels)
    if eval_data is None:
        is_eval = np.array(split(recordings(packed), eval_folds, seed))
        train, evaluation = (packed.subset(np.flatnonzero(side)) for side in (~is_eval, is_eval))
        return Data(train, evaluation, packed.skipped)
    if eval_folds:
        raise UserError(f"--eval-folds {' '.join(eval_folds)} and --eval-data {eval_data} exclude each other; give one")
    evaluation = open_packs(eval_data, labels)
    for what in ("classes", "sample_rate_hz", "clip_samples"):
        ours, theirs = getattr(packed, what), getattr(evaluation, what)
        if ours != theirs:
            seen = f"{theirs} and {ours}" if what != "classes" else f"{len(theirs)} and {len(ours)}, or in other order"
            raise UserError(f"--eval-data {eval_data} and --data {data} differ in {what} ({seen}); pack both alike")
    return Data(packed, evaluation, packed.skipped + evaluation.skipped)


def recordings(packed: PackedClips) -> list[Recording]:
    """The clips as a manifest lists recordings; the path is the shard's."""
    present = [
        tuple(sorted(packed.classes[label] for label in np.flatnonzero(row))) for row in packed.targets.dense().numpy()
    ]
    folds = packed.folds or ("",) * len(packed)
    return [
        Recording(name, packed.shards[shard], labels, fold or None)
        for name, shard, labels, fold in zip(packed.names, packed.shard, present, folds, strict=True)
    ]


def open_packs(path: Path, labels: Path | None = None) -> PackedClips:
    """Open one HDF5 file, or a folder of them; reads everything but the audio.

    Args:
        path: what `glat pack` wrote, or a file or folder of PANNs' programs. Rows without a name, which PANNs leaves
            where a recording is missing, are dropped and reported in `skipped`; rows without a length are all valid.
        labels: AudioSet's class_labels_indices.csv, for packs that name no classes.

    Raises:
        UserError: no such path; a folder without packs, or whose packing was not finished; files of another layout,
            of compressed rows, or that do not belong together; unknown classes; no clip.
    """
    skipped: list[Skipped] = []
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and not file.name.startswith("."))
        if (path / MANIFEST).is_file():
            files, left_out = _listed(path)
            if left_out:
                why = f"{left_out} recordings were left out of the pack; its skipped.csv says why"
                skipped.append(Skipped(str(path), why))
    elif path.is_file():
        files = [path]
    else:
        raise UserError(f"--data {path}: no such file or folder; give what glat pack wrote")
    if not files:
        raise UserError(f"--data {path}: no HDF5 files ({' or '.join(SUFFIXES)}); give what glat pack wrote")
    shards = [_read_shard(file) for file in files]
    first = shards[0]
    for file, shard in zip(files, shards, strict=True):
        for what in ("sample_rate_hz", "clip_samples", "sample_dtype", "num_classes", "classes"):
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
    if len(classes) != first.num_classes:
        raise UserError(f"--labels {labels}: {len(classes)} classes, and {path} has {first.num_classes}; give its own")
    names = tuple(name for shard in shards for name in shard.names)
    if not names:
        raise UserError(f"--data {path}: holds no clip; pack it again")
    return PackedClips(
        shards=tuple(files),
        shard=np.repeat(np.arange(len(shards), dtype=np.int32), [len(shard.names) for shard in shards]),
        index=np.concatenate([shard.index for shard in shards]),
        offsets=np.concatenate([shard.offsets for shard in shards]),
        sample_dtype=first.sample_dtype,
        lengths=np.concatenate([shard.lengths for shard in shards]),
        targets=Targets(np.concatenate([shard.targets.packed for shard in shards]), first.num_classes),
        names=names,
        folds=tuple(f for s in shards for f in s.folds) if any(f for s in shards for f in s.folds) else None,
        classes=classes,
        sample_rate_hz=first.sample_rate_hz,
        clip_samples=first.clip_samples,
        skipped=tuple(skipped),
    )


def _listed(folder: Path) -> tuple[list[Path], int]:
    """The shards of a finished packing, and how many recordings it left out."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["complete"]:
            return [folder / shard["file"] for shard in manifest["shards"]], manifest["skipped"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder / MANIFEST} is no manifest of glat pack ({error!r}); pack into a new folder"
        ) from error
    raise UserError(f"--data {folder}: not packed to the end; give the same glat pack again to finish it")


@dataclass(frozen=True, eq=False)
class _Shard:
    """What one file says of its K named rows."""

    names: list[str]
    index: NDArray[np.int64]  # [K]
    offsets: NDArray[np.int64]  # [K]
    lengths: NDArray[np.int64]  # [K]
    folds: list[str]
    targets: Targets
    classes: tuple[str, ...] | None
    num_classes: int
    sample_rate_hz: int
    clip_samples: int
    sample_dtype: np.dtype[Any]
    nameless: int


def _read_shard(path: Path) -> _Shard:
    try:
        with h5py.File(path, "r") as file:
            missing = sorted({"audio_name", "waveform", "target"} - set(file)) + (
                [] if "sample_rate" in file.attrs else ["the attribute sample_rate"]
            )
            if missing:
                raise UserError(f"{path}: lacks {', '.join(missing)}; give a pack of glat pack or of PANNs' programs")
            waveform = file["waveform"]
            names = [name.decode("utf-8", "backslashreplace") for name in file["audio_name"][:]]
            index = np.array([i for i, name in enumerate(names) if name], np.int64)
            lengths = file["length"][:] if "length" in file else np.full(len(names), waveform.shape[1])
            folds = file["fold"].asstr()[:] if "fold" in file else [""] * len(names)
            return _Shard(
                names=[name for name in names if name],
                index=index,
                offsets=_offsets(path, file, waveform)[index],
                lengths=lengths.astype(np.int64)[index],
                folds=[folds[i] for i in index],
                targets=Targets.from_dense(file["target"][:].astype(np.bool_)[index]),
                classes=tuple(file["classes"].asstr()[:]) if "classes" in file else None,
                num_classes=file["target"].shape[1],
                sample_rate_hz=int(file.attrs["sample_rate"]),
                clip_samples=waveform.shape[1],
                sample_dtype=waveform.dtype,
                nameless=len(names) - len(index),
            )
    except OSError as error:
        raise UserError(f"{path}: cannot be opened as HDF5 ({error}); fetch or pack it again") from error


def _offsets(path: Path, file: Any, waveform: Any) -> NDArray[np.int64]:
    """Of the first sample of every row, in bytes from the start of the file; [rows]."""
    rows, S = waveform.shape
    kind = waveform.dtype
    plain = waveform.id.get_create_plist().get_nfilters() == 0 and not file.userblock_size and waveform.external is None
    if kind not in (np.dtype("<i2"), np.dtype("<f4")) or not plain or (waveform.chunks or (1, S))[1] != S:
        raise UserError(
            f"{path}: its waveform is {kind}, {'compressed' if not plain else f'in chunks of {waveform.chunks}'}; "
            "int16 in uncompressed whole rows is wanted: "
            "h5repack -f waveform:NONE -l waveform:CONTI IN OUT, or pack it again"
        )
    row_bytes = S * kind.itemsize
    if waveform.chunks is None:
        start = waveform.id.get_offset()
        return np.arange(rows, dtype=np.int64) * row_bytes + (start or 0)
    offsets = np.full(rows, -1, np.int64)
    many = waveform.chunks[0]

    def note(chunk: Any) -> None:
        first = chunk.chunk_offset[0]
        inside = offsets[first : first + many]
        inside[:] = chunk.byte_offset + np.arange(len(inside)) * row_bytes

    waveform.id.chunk_iter(note)
    if (offsets < 0).any():
        raise UserError(f"{path}: its waveform lacks rows that it counts; pack it again")
    return offsets
