"""What stands beside the shards of a pack: ``manifest.json``, and tables of the clips and of what was left out."""

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from ...errors import UserError
from ...files import replaced, write_json
from ...text import CsvWriter
from ..clips import Skipped, fingerprint
from ..windows.grid import recording_of
from .filling import Shard
from .read import MANIFEST
from .workers import AGAIN

CLIPS, SKIPPED = "clips.csv", "skipped.csv"


@dataclass(frozen=True)
class Packing:
    """What a finished packing holds."""

    clips: int
    skipped: tuple[Skipped, ...]
    remarks: int = 0  # clips of which clips.csv says what is odd
    recordings: int | None = None  # where the clips are windows


def write_tables(out: Path, plan: dict[str, Any], tasks: list[Shard], skipped: tuple[Skipped, ...]) -> None:
    """Write the tables of a packing whose shards are all there, and mark it as complete.

    Raises:
        UserError: a shard cannot be opened; no clip in any of them.
    """
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
        raise UserError(f"{shard} is damaged ({error}); delete it and {AGAIN}") from error


def read_tables(out: Path) -> Packing:
    """What a complete packing holds."""
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    with (out / SKIPPED).open(newline="", encoding="utf-8") as stream:
        skipped = tuple(Skipped(row["file"], row["reason"]) for row in csv.DictReader(stream))
    return Packing(manifest["clips"], skipped, manifest.get("remarks", 0), manifest.get("whole"))
