"""One HDF5 file of a pack: its columns, where its rows lie, and everything that makes it no pack.

Rows are read without the HDF5 library, by their offsets. So all that HDF5 would do on the way (gathering virtual
datasets, decompressing, filling in what was never written) is refused here, and offsets that cannot be right are, too.
"""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...errors import UserError, first_line
from ..names import clean
from ..remote import is_remote, opened, size_of
from ..targets import Targets
from ..windows.timeline import MIN_OVERLAP_SECONDS
from .cutting import COLUMNS, MIN_OVERLAP
from .row_names import odd_names

COLUMNS_HASH = "columns_sha256"  # attribute: what the columns must hash to
HASHED = ("audio_name", "target", "length", "sha256", "source_rate", "channels", "peak")
_RATES_HZ = (1_000, 1_000_000)
_REPACK = "h5repack -f waveform:NONE -l waveform:CONTI IN OUT, or pack it again"
_COPY = "copy its rows into a file of their own (h5py: new['waveform'] = old['waveform'][:]), or pack it again"
# What h5py raises over damaged metadata and foreign layouts.
_OF_HDF5 = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    MemoryError,
)


@dataclass(frozen=True, eq=False)
class Shard:
    """What one file says of its K named rows."""

    names: list[str]
    index: NDArray[np.int64]  # [K]
    offsets: NDArray[np.int64]  # [K]
    lengths: NDArray[np.int64]  # [K]
    folds: list[str]
    targets: Targets
    remarks: list[tuple[str, ...]]
    classes: tuple[str, ...] | None
    num_classes: int
    sample_rate_hz: int
    clip_samples: int
    sample_dtype: np.dtype[Any]
    nameless: int
    starts: NDArray[np.int64] | None = None  # [K], of windows, in samples of their recordings; None: whole clips
    events: tuple[NDArray[Any], ...] | None = None  # [E] each: first row of the recording, label, onset, offset
    min_overlap_seconds: float = MIN_OVERLAP_SECONDS

    @property
    def of_windows(self) -> bool:
        return self.starts is not None


def columns_hash(file: Any) -> str:
    """SHA-256 of all that a file says of its clips, beside their samples."""
    digest = hashlib.sha256()
    for name in HASHED:
        digest.update(np.ascontiguousarray(file[name][:]).tobytes())
    for name in (name for name in COLUMNS if name in file):
        digest.update(np.ascontiguousarray(file[name][:]).tobytes())
    for name in ("fold", "classes"):
        digest.update("\0".join(file[name].asstr()[:]).encode())
    return digest.hexdigest()


def read_shard(path: Path, label_threshold: float | None = None) -> Shard:
    """Read everything but the audio of a file of `glat pack` or PANNs' programs.

    Args:
        label_threshold: soft labels count as present from this probability on; None: they are refused.

    Raises:
        UserError: a file that is locked, damaged, of another layout, or whose datasets do not fit together.
    """
    try:
        with ExitStack() as stack:
            where = stack.enter_context(opened(path)) if is_remote(path) else path
            return _read(path, stack.enter_context(h5py.File(where, "r")), label_threshold)
    except UserError:
        raise
    except BlockingIOError as error:
        raise UserError(
            f"{path}: is locked by a process that writes it; wait for that to end, or, where nobody writes it (file "
            "systems that keep no locks), set HDF5_USE_FILE_LOCKING=FALSE"
        ) from error
    except _OF_HDF5 as error:
        what = "opened as HDF5" if isinstance(error, OSError) else "read as a pack: it is damaged, or of another layout"
        raise UserError(f"{path}: cannot be {what} ({first_line(error)[:200]}); fetch or pack it again") from error


def _read(path: Path, file: Any, label_threshold: float | None) -> Shard:
    wanted = ("audio_name", "target", "waveform")
    missing = [name for name in wanted if not isinstance(file.get(name), h5py.Dataset)]
    missing += [] if "sample_rate" in file.attrs else ["the attribute sample_rate"]
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}; give a pack of glat pack or of PANNs' programs")
    waveform = file["waveform"]
    _check_layout(path, file, waveform)
    rows, S = waveform.shape
    names = [_text(name) for name in _column(path, file, "audio_name", rows)]
    offsets = _offsets(path, file, waveform) if any(names) else np.zeros(rows, np.int64)
    targets = _targets(path, file, rows, label_threshold)
    index = np.array([i for i, name in enumerate(names) if name], np.int64)
    lengths = np.full(rows, S, np.int64)
    if "length" in file:
        lengths = _column(path, file, "length", rows).astype(np.int64)
        if not ((lengths >= 1) & (lengths <= S)).all():
            raise UserError(f"{path}: its lengths are not all from 1 to {S}, the width of its rows; pack it again")
    folds = [_text(fold) for fold in _column(path, file, "fold", rows)] if "fold" in file else [""] * rows
    remarks = [_text(remark) for remark in _column(path, file, "remarks", rows)] if "remarks" in file else [""] * rows
    if COLUMNS_HASH not in file.attrs:  # of other programs
        odd = odd_names(names)
        remarks = [odd.get(row, remark) for row, remark in enumerate(remarks)]
    classes = tuple(clean(_text(name)) for name in file["classes"][:]) if "classes" in file else None
    if classes is not None and (len(classes) != targets.shape[1] or len(set(classes)) < len(classes)):
        _refuse_classes(path, classes, targets.shape[1])
    if COLUMNS_HASH in file.attrs and file.attrs[COLUMNS_HASH] != columns_hash(file):
        raise UserError(f"{path}: its columns are not what was packed: the file is damaged; pack it again")
    return Shard(
        names=[name for name in names if name],
        index=index,
        offsets=offsets[index],
        lengths=lengths[index],
        folds=[folds[i] for i in index],
        targets=Targets.from_dense(targets[index]),
        remarks=[tuple(filter(None, remarks[i].split("; "))) for i in index],
        classes=classes,
        num_classes=targets.shape[1],
        sample_rate_hz=_sample_rate(path, file),
        clip_samples=S,
        sample_dtype=waveform.dtype,
        nameless=rows - len(index),
        **_of_windows(path, file, rows, targets.shape[1]),
    )


def _of_windows(path: Path, file: Any, rows: int, num_classes: int) -> dict[str, Any]:
    """What shards of windows have beside the columns of others."""
    if "start" not in file:
        return {}
    starts = _column(path, file, "start", rows).astype(np.int64)
    found: dict[str, Any] = {"starts": starts, MIN_OVERLAP: float(file.attrs[MIN_OVERLAP])}
    if (rows and starts[0] != 0) or (starts < 0).any():
        raise UserError(f"{path}: its first window begins inside of a recording: it is damaged; pack it again")
    if "event_row" in file:
        row, label, onset, offset = (file[name][:] for name in COLUMNS[1:])
        if not (len(row) == len(label) == len(onset) == len(offset)) or (
            len(row) and not (row.min() >= 0 and row.max() < rows and label.min() >= 0 and label.max() < num_classes)
        ):
            raise UserError(f"{path}: its events do not fit its rows and classes: it is damaged; pack it again")
        found["events"] = (row, label, onset, offset)
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _column(path: Path, file: Any, name: str, rows: int) -> NDArray[Any]:
    shape = file[name].shape
    if shape != (rows,):
        raise UserError(f"{path}: {name} is of shape {shape}, and waveform has {rows} rows; pack it again")
    column: NDArray[Any] = file[name][:]
    return column


def _sample_rate(path: Path, file: Any) -> int:
    rate = np.asarray(file.attrs["sample_rate"])
    if rate.size != 1 or rate.dtype.kind not in "iuf" or not _RATES_HZ[0] <= rate.item() <= _RATES_HZ[1]:
        raise UserError(f"{path}: its sample rate is {rate.tolist()!r}; one number in Hz is wanted")
    return int(rate.item())


def _targets(path: Path, file: Any, rows: int, threshold: float | None) -> NDArray[np.bool_]:
    """[rows, L].

    Raises:
        UserError: anything but zeros and ones, a column a class; with a threshold, anything but numbers from 0 to 1.
    """
    dataset = file["target"]
    one_hot = "a column a class with 0 or 1 is wanted"
    if dataset.ndim == 1:
        raise UserError(f"{path}: its target is one number a clip, the number of a class it seems; {one_hot}")
    if dataset.ndim != 2 or dataset.shape[0] != rows or not dataset.shape[1]:
        raise UserError(f"{path}: its target is of shape {dataset.shape}, and waveform has {rows} rows; {one_hot}")
    values = dataset[:]
    if values.dtype == np.bool_:
        if (values.view(np.uint8) > 1).any():
            raise UserError(f"{path}: its target holds bytes that are neither 0 nor 1: the file is damaged")
        return np.asarray(values)
    if values.dtype.kind not in "iuf":
        raise UserError(f"{path}: its target is {values.dtype}; {one_hot}")
    odd = values[~np.isin(values, (0, 1))]
    if len(odd):
        seen = ", ".join(f"{value:g}" for value in np.unique(odd)[:3])
        if values.dtype.kind == "f":
            outside = values[~((values >= 0) & (values <= 1))]
            if len(outside):
                raise UserError(f"{path}: its target holds {outside[0]:g}, which is no probability; {one_hot}")
            if threshold is not None:
                return np.asarray(values >= threshold)
            raise UserError(
                f"{path}: its target holds soft labels ({seen}); give --label-threshold 0.5 to count those from 0.5 on "
                "as present"
            )
        packed = "packed bits or " if values.dtype == np.uint8 else ""
        raise UserError(f"{path}: its target holds {packed}numbers of classes ({seen}); {one_hot}")
    return values.astype(np.bool_)


def _refuse_classes(path: Path, classes: tuple[str, ...], columns: int) -> None:
    if columns == -(-len(classes) // 8) < len(classes):
        raise UserError(f"{path}: its target is packed bits of {len(classes)} classes; unpack it with np.unpackbits")
    if len(classes) != columns:
        raise UserError(f"{path}: names {len(classes)} classes, and its target has {columns} columns; pack it again")
    twice = next(name for i, name in enumerate(classes) if name in classes[:i])
    raise UserError(f"{path}: names the class {twice!r} twice; pack it again")


def _check_layout(path: Path, file: Any, waveform: Any) -> None:
    """Raise UserError where the rows do not lie in the file as they are, as int16 or float32."""
    kind = waveform.dtype
    if waveform.ndim != 2 or kind not in (np.dtype("<i2"), np.dtype("<f4")):
        seen = f"{kind.str if kind.kind in 'iuf' else kind} in {waveform.ndim} dimensions"
        raise UserError(f"{path}: its waveform is {seen}; rows of int16 (or float32) are wanted: pack it again")
    S = waveform.shape[1]
    if not S:
        raise UserError(f"{path}: its rows are empty; pack it again")
    if waveform.is_virtual:
        parts = {source.file_name for source in waveform.virtual_sources()}
        where = "itself" if parts == {"."} else ", ".join(sorted(parts)[:3])
        raise UserError(f"{path}: its waveform is virtual, made of datasets of {where}; {_COPY}")
    if waveform.external is not None:
        raise UserError(f"{path}: its waveform lies in other files ({waveform.external[0][0]}); {_COPY}")
    plist = waveform.id.get_create_plist()
    if plist.get_layout() == h5py.h5d.COMPACT:
        raise UserError(f"{path}: its waveform is of the compact layout, inside the header; {_REPACK}")
    if file.userblock_size:
        raise UserError(f"{path}: begins with a user block of {file.userblock_size} bytes; {_COPY}")
    if plist.get_nfilters() or (waveform.chunks or (1, S))[1] != S:
        squeezed = "compressed" if plist.get_nfilters() else f"in chunks of {waveform.chunks}"
        raise UserError(f"{path}: its waveform is {squeezed}; int16 in uncompressed whole rows is wanted: {_REPACK}")


def _offsets(path: Path, file: Any, waveform: Any) -> NDArray[np.int64]:
    """Of the first sample of every row, in bytes from the start of the file; [rows].

    Raises:
        UserError: rows that were never written, overlap, or lie outside the file.
    """
    rows, S = waveform.shape
    row_bytes = S * waveform.dtype.itemsize
    if waveform.chunks is None:
        start = waveform.id.get_offset()
        if start is None:
            raise UserError(f"{path}: its waveform was never written; pack it again")
        offsets = np.arange(rows, dtype=np.int64) * row_bytes + start
    else:
        offsets = _of_chunks(waveform, rows, row_bytes)
    _check_places(path, file, offsets, row_bytes)
    return offsets


def _of_chunks(waveform: Any, rows: int, row_bytes: int) -> NDArray[np.int64]:
    offsets = np.full(rows, -1, np.int64)
    many = waveform.chunks[0]

    def note(chunk: Any) -> None:
        first = chunk.chunk_offset[0]
        inside = offsets[first : first + many]
        inside[:] = chunk.byte_offset + np.arange(len(inside)) * row_bytes

    waveform.id.chunk_iter(note)
    return offsets


def _check_places(path: Path, file: Any, offsets: NDArray[np.int64], row_bytes: int) -> None:
    """Raise UserError where rows cannot lie where the file says: its metadata is damaged."""
    if (offsets < 0).any():
        raise UserError(f"{path}: its waveform lacks rows that it counts; pack it again")
    if not len(offsets):
        return
    size = size_of(path)
    if offsets.max() + row_bytes > size:
        raise UserError(f"{path}: is cut off or damaged: its rows end at byte {offsets.max() + row_bytes} of {size}")
    places = [np.stack([offsets, offsets + row_bytes], 1)]
    for name, dataset in file.items():
        if name != "waveform" and isinstance(dataset, h5py.Dataset) and dataset.chunks is None:
            start, length = dataset.id.get_offset(), dataset.id.get_storage_size()
            if start is not None and length:
                places.append(np.array([[start, start + length]]))
    every = np.concatenate(places)
    every = every[every[:, 0].argsort()]
    if every[0, 0] < 48 or (every[1:, 0] < every[:-1, 1]).any():  # a superblock has 48 bytes at least
        raise UserError(f"{path}: is damaged: its rows overlap each other or other data; pack it again")
