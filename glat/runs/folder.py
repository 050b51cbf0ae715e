"""The folder of a run: what was asked, and its metrics."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..backbones.own import refuse_unnamed
from ..config import CropPooling, TrainConfig, UnknownEntryError, from_json, to_json
from ..data import Data, Skipped
from ..data.windows.grid import recording_of
from ..errors import UserError, first_line, warn
from ..files import remove_temporary, replaced, write_json
from ..urls import absolute
from . import checkpoints, lock
from .digests import digest_of, from_line, read_record, to_line, write_record
from .going_on import LENGTH, going_on, origins_of, refuse_fewer_steps

CONFIG, SKIPPED, METRICS = "config.json", "skipped.json", "metrics.jsonl"
COMPILED = "compiled.json"  # what torch.compile took, or why the run goes without it
RECORDINGS = "recordings.safetensors"  # size, time and inode of every file behind the clips
WEIGHTS, BEST_WEIGHTS = "model.safetensors", "best.safetensors"  # of the last checkpoint; of the best evaluation
EVALUATION = "evaluation.json"  # of the run's end
LOGGERS = "loggers.json"  # under which names wandb and MLflow know the run
THRESHOLDS = "thresholds.json"  # what `glat evaluate --thresholds` found
_RECORDED = re.compile(
    rf"{SKIPPED}|{METRICS}|{COMPILED}|{EVALUATION}|{THRESHOLDS}|{LOGGERS}|{WEIGHTS}|{BEST_WEIGHTS}|{RECORDINGS}|"
    rf"nan-.*|events\.out\.tfevents.*|{checkpoints.FOLDER}/.*"
)
MOST_SAMPLES = 3600 * 192_000  # of a clip: an hour at the highest rate of recordings


@dataclass(frozen=True)
class Run:
    """A run's folder, as it was recorded."""

    folder: Path
    config: TrainConfig
    classes: tuple[str, ...]
    clip_samples: int
    fingerprint: str  # of the recordings
    network: str | None = None  # digest of what is built; None: the config has no digest, as an older glat wrote it

    def pooled_by(self, crop_pooling: CropPooling | None) -> "Run":
        """The run as scored with another pooling of its crops; None: with that of its training."""
        if crop_pooling is None:
            return self
        model = replace(self.config.model, crop_pooling=crop_pooling)
        return replace(self, config=replace(self.config, model=model))


class Resumed(NamedTuple):
    """A run about to start or to go on."""

    config: TrainConfig
    checkpoint: Path | None  # to go on from; None for a run that starts
    notes: list[str]  # what to say of checkpoints that are damaged


def resumed(config: TrainConfig) -> Resumed:
    """The config to run, with its folder, and the newest whole checkpoint.

    A resumed run takes its recorded config, whatever was chosen for the machine then included, and the `CHANGEABLE`
    flags that are given. Of a run that goes on the lock is taken; else nothing is written.

    Raises:
        UserError: a run that another process trains; a folder that holds a run already and is not resumed, or one to
            resume that holds none; a flag that is given, differs from the record and may not change; weights whose
            checkpoints are gone; checkpoints, all of them damaged.
    """
    folder, resume = config.run.run_dir, config.run.resume
    origins = config.origins
    if config.run.dry_run:
        return Resumed(config, None, [])  # writes nothing, so it may look at any settings
    if resume not in (None, "auto"):
        if folder is not None:
            raise UserError(f"--run-dir {folder} and --resume {resume} name two folders; give --resume only")
        folder = Path(resume)
        open_run(folder)
    if folder is None:
        if resume == "auto":
            raise UserError("--resume auto needs the run's folder; add --run-dir")
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = Path("runs") / f"{stamp}-{os.getpid()}-{config.model.backbone}"
    # Recorded paths hold from any working directory.
    config = replace(_absolute(config), run=replace(config.run, run_dir=folder))
    if not (folder / CONFIG).exists():
        # Hidden files may be what a kill left of this very start.
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--run-dir {folder} exists and holds no run: it is a file; choose another")
        if folder.exists() and (others := sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))):
            raise UserError(
                f"--run-dir {folder} exists and holds no run, but {others[0]}; choose another, or an empty folder"
            )
        lock.check(folder)
        return Resumed(config, None, [])
    if resume is None:
        raise UserError(
            f"--run-dir {folder} holds a run already; add --resume auto to go on with it, or choose another"
        )
    recorded = open_run(folder).config
    asked, found = config.model, recorded.model
    refuse_unnamed([found.backbone], [asked.backbone], folder, "--backbone {name}")
    refuse_unnamed([found.local_backbone], [asked.local_backbone or ""], folder, "--local-backbone {name}")
    continued = going_on(config, origins, recorded, folder)
    lock.take(folder)
    checkpoint, notes = checkpoints.newest(folder)
    refuse_fewer_steps(continued, checkpoint, folder)
    if checkpoint is None and (folder / WEIGHTS).exists():
        raise UserError(f"{folder} has weights and no checkpoint: it cannot go on, and starting anew would lose them")
    return Resumed(continued, checkpoint, notes)


def _absolute(config: TrainConfig) -> TrainConfig:
    def resolved(part: Any) -> Any:
        paths = {name: absolute(value) for name, value in vars(part).items() if isinstance(value, Path)}
        return replace(part, **paths)

    return replace(config, model=resolved(config.model), data=resolved(config.data))


def record(
    config: TrainConfig,
    data: Data,
    facts: Mapping[str, str],
    origins: Mapping[str, str] = MappingProxyType({}),
    checkpoint: Path | None = None,
) -> Path:
    """Write the resolved config, what was left out of the data, and the facts that the numbers depend on.

    Now that nothing more can be refused, what a killed process left of its temporary files is removed.

    Args:
        origins: of what was asked; see `TrainConfig.origins`.
        checkpoint: that a resumed run goes on from.

    Returns:
        The run's folder, made where it is missing. A resumed run keeps the record it has.

    Raises:
        UserError: a resumed run whose recordings have changed, a folder that another process took meanwhile, or one
            that cannot be written.
    """
    assert config.run.run_dir is not None
    folder = config.run.run_dir
    fingerprint = fingerprint_of(data)
    if config.run.resume is not None and lock.holds(folder):
        recorded = open_run(folder)
        if recorded.fingerprint != fingerprint:
            raise UserError(
                f"the recordings are not those that {folder} was started with{_newly_left_out(folder, data)}; "
                "restore them to go on, or start a new run"
            )
        refuse_fewer_steps(config, checkpoint, folder)
        if not (folder / SKIPPED).exists():  # killed between the two files
            write_json(folder / SKIPPED, [vars(s) for s in data.skipped])
        remove_leftovers(folder)
        before, now = ({name: getattr(c.optim, name) for name in LENGTH} for c in (recorded.config, config))
        if before != now:
            entries, _ = read_record(folder / CONFIG)
            entries["config"]["optim"] |= now
            where = {name: origin for name, origin in origins_of(config, origins).items() if name in LENGTH}
            if isinstance(entries.get("from"), dict):
                entries["from"] = {n: o for n, o in entries["from"].items() if n not in LENGTH} | where
            write_record(folder / CONFIG, entries)
        return folder
    entries = {
        "config": to_json(config),
        "classes": data.train.classes,
        "clip_samples": data.train.clip_samples,
        "fingerprint": fingerprint,
        "facts": dict(facts),
        "from": origins_of(config, origins),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.take(folder)
        remove_temporary(folder)
        # A folder with a config is a run. Exclusive: of two processes that start at once, one gets the folder.
        write_record(folder / CONFIG, entries, new=True)
        write_json(folder / SKIPPED, [vars(s) for s in data.skipped])
    except FileExistsError:
        raise UserError(
            f"--run-dir {folder} was taken by another run meanwhile; choose another, or add --resume auto"
        ) from None
    except OSError as error:
        raise UserError(f"--run-dir {folder} cannot be written ({error.strerror}); choose another") from None
    return folder


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left of its temporary files in a run that this process holds."""
    if lock.holds(folder):
        remove_temporary(folder, folder / checkpoints.FOLDER)


def _newly_left_out(folder: Path, data: Data) -> str:
    """Which recording cannot be read that could when the run began, where there is one."""
    try:
        before = {skipped["file"] for skipped in json.loads((folder / SKIPPED).read_text(encoding="utf-8"))}
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    found = [skipped for skipped in data.skipped if skipped.file not in before]
    return f" ({len(found)} cannot be read any more: {found[0].file}: {found[0].reason})" if found else ""


def fingerprint_of(data: Data) -> str:
    """What the numbers of a run depend on in its recordings: which clips, of which length and labels, on which side."""
    digest = hashlib.sha256()
    for clips in (data.train, data.evaluation):
        digest.update(repr((tuple(clips.names), clips.classes, clips.clip_samples)).encode())
        digest.update(np.asarray(clips.lengths, np.int64).tobytes() + clips.targets.packed.tobytes())
        digest.update(clips.identity())
    return digest.hexdigest()


def recordings_in(skipped: Iterable[Skipped]) -> int:
    """How many recordings were left out: a table or a second evaluation may name one more than once."""
    return len({recording_of(s.file) for s in skipped})


def skipped_lines(skipped: tuple[Skipped, ...], most: int = 10, listed: str = "skipped.json lists them") -> list[str]:
    """What to print of the recordings that were left out, and where all of them are listed."""
    if not skipped:
        return []
    count = recordings_in(skipped)
    were = "recording was" if count == 1 else "recordings were"
    lines = [f"{count} {were} left out ({listed}):"]
    lines += [f"  {s.file}: {s.reason}" for s in skipped[:most]]
    return lines + (["  ..."] if len(skipped) > most else [])


def open_run(folder: Path) -> Run:
    """Read the folder that `record` started.

    Raises:
        UserError: no such folder, or one whose config is missing or damaged.
    """
    path = folder / CONFIG
    if not folder.is_dir():
        raise UserError(f"there is no run folder {folder}; give the folder that train.py named at its end")
    try:
        recorded, digest = read_record(path)
    except FileNotFoundError:
        raise UserError(f"{folder} is no run folder: it has no {CONFIG}; give the folder that train.py named") from None
    if digest is None:
        warn(f"{path} holds no digest, as an older glat wrote it: damage to it cannot be noticed", stacklevel=2)
    try:
        config = from_json(recorded["config"])
        return Run(folder, config, *_described(recorded), None if digest is None else network_digest(recorded))
    except UnknownEntryError as error:
        theirs = recorded.get("facts", {}).get("glat", "without a number")
        raise UserError(
            f"{path} has {error.entry!r}, which glat {version('glat')} does not know: a newer version ({theirs}) wrote "
            "it; update glat"
        ) from None
    except (UserError, KeyError, TypeError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else first_line(error)
        raise UserError(f"{path} is damaged ({reason}); train again, or restore the file") from None


def network_digest(recorded: dict[str, Any]) -> str:
    """Digest of what weights must fit: the network, the names of its classes, and the clips."""
    entries = {name: recorded[name] for name in ("classes", "clip_samples")}
    return digest_of({"model": recorded["config"]["model"], **entries})


def _described(recorded: dict[str, Any]) -> tuple[tuple[str, ...], int, str]:
    """Classes, samples of a clip and the fingerprint, of the right kinds."""
    classes, clip_samples, fingerprint = (recorded[name] for name in ("classes", "clip_samples", "fingerprint"))
    if not (isinstance(classes, list) and classes and all(isinstance(label, str) for label in classes)):
        raise UserError("its classes are no list of names")
    if len(set(classes)) < len(classes):
        raise UserError("a class is named twice")
    if isinstance(clip_samples, bool) or not isinstance(clip_samples, int) or not 1 <= clip_samples <= MOST_SAMPLES:
        raise UserError(f"clip_samples is {clip_samples!r}, wanted a whole number from 1 to {MOST_SAMPLES}")
    if not isinstance(fingerprint, str):
        raise UserError("its fingerprint is no text")
    return tuple(classes), clip_samples, fingerprint


def record_of(path: Path) -> Path | None:
    """The run's folder to whose record a file belongs, if it does: nothing else is to be written there by that name."""
    for folder, name in ((path.parent, path.name), (path.parent.parent, f"{path.parent.name}/{path.name}")):
        if (folder / CONFIG).is_file() and (name == CONFIG or _RECORDED.fullmatch(name)):
            return folder
    return None


def append_metrics(folder: Path, **values: Any) -> None:
    """Add one line to the run's metrics.

    Raises:
        UserError: no room, or no permission.
    """
    with checkpoints.naming_failures(folder / METRICS), (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(to_line(values) + "\n")


class Metrics(NamedTuple):
    """The lines of a run's metrics that are whole, and what to say of the others."""

    rows: list[dict[str, Any]]
    damage: tuple[str, ...] = ()


def read_metrics(folder: Path) -> Metrics:
    """The lines of the run's metrics; those that are damaged, or were cut short by a kill, are left out and said."""
    path = folder / METRICS
    lines = path.read_bytes().decode(errors="replace").split("\n") if path.exists() else [""]
    found = [from_line(line) for line in lines]
    rows = [row for row in found if row is not None]
    bad = [i + 1 for i, row in enumerate(found) if row is None and (lines[i] or i + 1 < len(lines))]
    if not bad:
        return Metrics(rows)
    which = f"line{'s' if len(bad) > 1 else ''} {', '.join(map(str, bad[:5]))}{', ...' if len(bad) > 5 else ''}"
    cut = " (cut short by a kill)" if bad == [len(lines)] else ""
    return Metrics(rows, (f"{path}: {which} left out, damaged{cut}",))


def forget_metrics_after(folder: Path, step: int, evaluated: int) -> tuple[str, ...]:
    """Drop the lines that a resumed run is going to write again.

    Args:
        step: of its checkpoint.
        evaluated: step of the last evaluation that the checkpoint knows.

    Returns:
        What to say of lines that were damaged.
    """
    found = read_metrics(folder)
    kept = [row for row in found.rows if row["step"] <= (evaluated if "mAP_fused" in row else step)]
    with checkpoints.naming_failures(folder / METRICS), replaced(folder / METRICS) as path:
        path.write_text("".join(to_line(row) + "\n" for row in kept), encoding="utf-8")
    return found.damage
