"""Write packs: recordings decoded, resampled and laid into HDF5 shards by several processes.

A shard is written beside its place and renamed when it is whole. It holds all that is known of its clips, and which
recordings belong to it depends on nothing but the list of them. So a packing that was killed goes on where shards are
missing, and clips are neither lost nor doubled.
"""

import csv
import errno
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import remove_temporary, replaced, write_json
from ...machine import keep_freed_memory
from ...text import CsvWriter
from ..clips import Skipped, fingerprint
from ..parallel import Part, cores
from ..recordings.audio import read_clip
from ..recordings.decoding import UnreadableAudio
from ..recordings.manifest import Manifest
from ..recordings.recording import Recording
from ..windows.grid import recording_of
from ..windows.timeline import MIN_OVERLAP_SECONDS
from .cutting import MIN_OVERLAP, Cutting, Row, columns_of, cutting_for, shared_out
from .read import MANIFEST
from .shard import COLUMNS_HASH, columns_hash

VERSION = 1
LOCK = ".glat-lock"
CLIPS, SKIPPED = "clips.csv", "skipped.csv"
CLIPS_PER_SHARD = 1_000  # 640 MB of 10 s at 32 kHz; a kill loses no more than this a worker
_FEWEST_SHARDS = 16  # of small sets, so that all cores have some
_PANNS_NAME_BYTES = 20
_AGAIN = "give the same command again to go on"

Report = Callable[[int, int], None]  # (recordings done, of so many)


@dataclass(frozen=True)
class Packing:
    """What a finished packing holds."""

    clips: int
    skipped: tuple[Skipped, ...]
    remarks: int = 0  # clips of which clips.csv says what is odd
    recordings: int | None = None  # where the clips are windows


@dataclass(frozen=True)
class Shard:
    """One shard to write."""

    path: Path
    recordings: tuple[Recording, ...]
    classes: tuple[str, ...]
    sample_rate_hz: int
    clip_seconds: float
    cutting: Cutting | None = None  # into windows; None: a row a recording, its beginning


def pack(
    out: Path,
    manifest: Manifest,
    *,
    clip_seconds: float = 10.0,
    sample_rate_hz: int = 32_000,
    clips_per_shard: int | None = None,
    workers: int | None = None,
    part: Part | None = None,
    windows: str = "auto",
    min_overlap_seconds: float = MIN_OVERLAP_SECONDS,
    report: Report = lambda done, total: None,
) -> Packing | None:
    """Pack recordings into a folder of HDF5 shards that `glat.data.packs` and PANNs' programs read.

    Beside the shards stand ``manifest.json``, ``clips.csv`` with a line a clip, and ``skipped.csv`` with a line for
    every recording that was left out, and why.

    Args:
        out: the folder; made where it is missing. Where an earlier call with the same arguments was stopped, goes on.
        manifest: what to pack; what it skipped is reported with the rest.
        clip_seconds: longer recordings are cut, shorter ones padded with zeros; see `windows`.
        sample_rate_hz: 32 000 for PANNs' networks.
        clips_per_shard: recordings a file. None: 1 000, fewer where that would leave less than 16 files.
        workers: processes; None: one a core. Changes nothing in the result.
        part: write this part of the shards only, while other processes write the others into the same folder.
        windows: "on": longer recordings are packed whole, in windows as long as a clip; "off": their beginnings.
            "auto": "on" where times are known, or where more than a third of the audio would be cut off.
        min_overlap_seconds: how long an event must sound in a window to be a label of it.
        report: called when a shard is done.

    Returns:
        What was packed; None where shards of other parts are missing still.

    Raises:
        UserError: `out` holds something else or another packing, is being packed by another process, or cannot be
            written, e.g. as the disk is full; a worker was killed; no recording can be read.
    """
    total = len(manifest.recordings)
    many = clips_per_shard or min(CLIPS_PER_SHARD, -(-total // _FEWEST_SHARDS))
    groups = [manifest.recordings[first : first + many] for first in range(0, total, many)]
    wanted = Cutting(clip_seconds, sample_rate_hz, min_overlap_seconds)
    cutting, counts = cutting_for(manifest.recordings, wanted, windows, workers)
    if cutting is not None:
        many = clips_per_shard or min(CLIPS_PER_SHARD, -(-sum(counts) // _FEWEST_SHARDS))
        groups = shared_out(manifest.recordings, counts, many)
    tasks = [
        Shard(out / f"shard-{i:05d}.h5", group, manifest.classes, sample_rate_hz, clip_seconds, cutting)
        for i, group in enumerate(groups)
    ]
    plan = {
        "version": VERSION,
        "sample_rate_hz": sample_rate_hz,
        "clip_samples": round(clip_seconds * sample_rate_hz),
        "clips_per_shard": many,
        "recordings": total,
        "fingerprint": _fingerprint(manifest),
        "classes": manifest.classes,
    }
    if cutting is not None:
        plan |= {"windows": sum(counts), MIN_OVERLAP: min_overlap_seconds}
    try:
        out.mkdir(parents=True, exist_ok=True)
        if part is not None and part.count > 1:
            with _locked(out, shared=True), _locked(out, f"{LOCK}-{part.number}-of-{part.count}"):
                _is_complete(out, plan)
                _write_shards(part.of(tasks), workers or cores(), report)
            if not all(task.path.exists() for task in tasks):
                return None
        # Of the last parts each waits for the others, and the first that is alone finishes.
        with _locked(out, wait=part is not None):
            if not (_is_complete(out, plan) and all(task.path.exists() for task in tasks)):
                remove_temporary(out)  # of shards that a kill cut short
                _write_shards(tasks, workers or cores(), report)
                _write_tables(out, plan, tasks, manifest.skipped)
            return _read_tables(out)
    except (OSError, _WriteError) as error:
        whole = sum(task.path.exists() for task in tasks)
        reason = getattr(error, "strerror", None) or str(error)
        way_out = "free some space and" if getattr(error, "errno", None) == errno.ENOSPC else "mend that and"
        raise UserError(
            f"{out} cannot be written ({reason}); {whole} of {len(tasks)} shards are whole: {way_out} {_AGAIN}"
        ) from error


def _fingerprint(manifest: Manifest) -> str:
    digest = hashlib.sha256()
    for recording in manifest.recordings:
        digest.update(repr((recording.name, recording.labels, recording.fold)).encode())
        if recording.soundings is not None:
            digest.update(repr(recording.soundings).encode())
    return digest.hexdigest()


def _is_complete(out: Path, plan: dict[str, Any]) -> bool:
    """Whether the packing is finished. Marks a new folder as belonging to it, and refuses any other folder."""
    path = out / MANIFEST
    if not path.exists():
        if any(not file.name.startswith(".") for file in out.iterdir()) and not path.exists():  # of another part
            raise UserError(f"{out} exists and holds no packs; give a new folder")
        write_json(path, plan | {"complete": False})
        return False
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is no manifest of glat pack ({error}); give a new folder") from error
    for name, value in plan.items():
        seen = before.get(name)
        if seen != (list(value) if isinstance(value, tuple) else value):
            what = {"fingerprint": "recordings, labels or folds", "classes": "classes"}.get(name)
            differs = f"other {what}" if what else f"{name} {seen}, not {value}"
            raise UserError(f"{out} holds a packing of {differs}; give the same as before, or a new folder")
    return bool(before["complete"])


@contextmanager
def _locked(out: Path, name: str = LOCK, *, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Keep other processes from packing into this folder; the lock ends with the process.

    Args:
        shared: keep out only those that want it alone: parts of one packing share it.
        wait: until the others are done.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with (out / name).open("a") as file:
        try:
            fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{out} is being packed by another process; wait for it, or give a new folder") from None
        yield


# Shards


class _WriteError(Exception):
    """A shard could not be written: HDF5's error in a form that pickles."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(number, reason)
        self.errno, self.strerror = number, reason


def _write_shards(tasks: list[Shard], workers: int, report: Report) -> None:
    total = sum(len(task.recordings) for task in tasks)
    missing = [task for task in tasks if not task.path.exists()]
    done = total - sum(len(task.recordings) for task in missing)
    report(done, total)
    if not missing:
        return
    # Not fork: soundfile, HDF5 and torch have threads and locks that a fork would copy in any state.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload([__name__])  # torch takes seconds to import: once, not once a worker
    with ProcessPoolExecutor(min(workers, len(missing)), context, initializer=_start_worker) as pool:
        waiting = iter(missing)
        running: dict[Future[None], Shard] = {}
        try:
            while True:
                # Few at a time: the recordings of two million clips are not to queue in pipes.
                while len(running) < 2 * workers and (task := next(waiting, None)):
                    running[pool.submit(write_shard, task)] = task
                if not running:
                    return
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    done += len(running.pop(future).recordings)
                    future.result()
                report(done, total)
        except BrokenProcessPool as error:
            raise UserError(
                f"a worker was killed, perhaps for want of memory; {_AGAIN}, perhaps with fewer --workers"
            ) from error
        finally:
            for future in running:
                future.cancel()


def _start_worker() -> None:
    """End when the parent ends, even if it was killed, and at once on Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    keep_freed_memory()  # a clip's arrays would be given back and cleared anew for every clip
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_shard(task: Shard) -> None:
    """Decode and write one shard, whole or not at all."""
    try:
        with replaced(task.path) as temporary:
            _fill_shard(temporary, task)
    except (OSError, RuntimeError) as error:  # HDF5 raises both
        number = getattr(error, "errno", None) or 0
        if "No space left" in str(error) or "errno = 28" in str(error):
            number = errno.ENOSPC
        raise _WriteError(number, os.strerror(number) if number else str(error)) from None


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


# Tables


def _write_tables(out: Path, plan: dict[str, Any], tasks: list[Shard], skipped: tuple[Skipped, ...]) -> None:
    shards: list[dict[str, Any]] = []
    names: list[str] = []
    odd = 0  # clips with a remark
    left_out = [(skip.file, skip.reason) for skip in skipped]
    with replaced(out / CLIPS) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = CsvWriter(stream)
        writer.writerow(
            ("name", "shard", "row", "samples", "source_rate_hz", "channels", "peak", "sha256", "fold", "remarks")
        )
        for task in tasks:
            with _opened(task.path) as file:
                found = [name.decode() for name in file["audio_name"][:]]
                hashes = file["sha256"][:]
                columns = [file[name][:] for name in ("length", "source_rate", "channels", "peak")]
                folds = file["fold"].asstr()[:]
                remarks = file["remarks"].asstr()[:] if "remarks" in file else [""] * len(found)
                left_out += [tuple(pair) for pair in file["skipped"].asstr()[:]]
            for row, (name, length, rate, channels, peak, digest, fold, remark) in enumerate(
                zip(found, *columns, hashes, folds, remarks, strict=True)
            ):
                odd += bool(remark)
                facts = (length, rate, channels, f"{peak:.6g}", digest.tobytes().hex(), fold, remark)
                writer.writerow((name, task.path.name, row, *facts))
            content = hashlib.sha256(hashes.tobytes()).hexdigest()
            shards.append({"file": task.path.name, "clips": len(found), "sha256": content})
            names += found
    if not names:
        raise UserError(
            f"none of {plan['recordings']} recordings can be read (one of them: {': '.join(left_out[-1])}); "
            f"check the files and give a new folder, {out} holds no clip"
        )
    with replaced(out / SKIPPED) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        CsvWriter(stream).writerows([("file", "reason"), *left_out])
    counts = {"clips": len(names), "names_sha256": fingerprint(names), "skipped": len(left_out), "remarks": odd}
    if "windows" in plan:
        counts["whole"] = len({recording_of(name) for name in names})
    write_json(out / MANIFEST, plan | {"complete": True} | counts | {"shards": shards})


def _opened(shard: Path) -> Any:
    try:
        return h5py.File(shard, "r")
    except OSError as error:
        raise UserError(f"{shard} is damaged ({error}); delete it and {_AGAIN}") from error


def _read_tables(out: Path) -> Packing:
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    with (out / SKIPPED).open(newline="", encoding="utf-8") as stream:
        skipped = tuple(Skipped(row["file"], row["reason"]) for row in csv.DictReader(stream))
    return Packing(manifest["clips"], skipped, manifest.get("remarks", 0), manifest.get("whole"))
