"""Write packs: recordings laid into the HDF5 shards of a folder.

A shard is written beside its place and renamed when it is whole. It holds all that is known of its clips, and which
recordings belong to it depends on nothing but the list of them. So a packing that was killed goes on where shards are
missing, and clips are neither lost nor doubled.
"""

import errno
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import remove_temporary, write_json
from ..parallel import Part, cores
from ..recordings.manifest import Manifest
from ..windows.timeline import MIN_OVERLAP_SECONDS
from .cutting import MIN_OVERLAP, Cutting, cutting_for, shared_out
from .filling import Shard, WriteError
from .read import MANIFEST
from .tables import Packing, read_tables, write_tables
from .workers import AGAIN, Report, write_shards

VERSION = 1
LOCK = ".glat-lock"
CLIPS_PER_SHARD = 1_000  # 640 MB of 10 s at 32 kHz; a kill loses no more than this a worker
_FEWEST_SHARDS = 16  # of small sets, so that all cores have some


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
                write_shards(part.of(tasks), workers or cores(), report)
            if not all(task.path.exists() for task in tasks):
                return None
        # Of the last parts each waits for the others, and the first that is alone finishes.
        with _locked(out, wait=part is not None):
            if not (_is_complete(out, plan) and all(task.path.exists() for task in tasks)):
                remove_temporary(out)  # of shards that a kill cut short
                write_shards(tasks, workers or cores(), report)
                write_tables(out, plan, tasks, manifest.skipped)
            return read_tables(out)
    except (OSError, WriteError) as error:
        whole = sum(task.path.exists() for task in tasks)
        reason = getattr(error, "strerror", None) or str(error)
        way_out = "free some space and" if getattr(error, "errno", None) == errno.ENOSPC else "mend that and"
        raise UserError(
            f"{out} cannot be written ({reason}); {whole} of {len(tasks)} shards are whole: {way_out} {AGAIN}"
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
