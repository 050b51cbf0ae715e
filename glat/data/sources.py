"""What ``--data`` may be, opened for training and for the evaluation."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from ..config import DataConfig
from ..errors import UserError
from ..urls import url_of
from .clips import Clips, ClipSource, Data, Skipped
from .packs.read import PackedClips, is_pack, load_packs, open_packs
from .packs.read import recordings as packed_recordings
from .packs.windows import drawn
from .parallel import local_processes
from .recordings.annotations import is_annotated
from .recordings.audio import read_clips
from .recordings.audioset import with_display_names
from .recordings.encoded import EncodedClips, encoded_from_manifest, encoded_from_tar
from .recordings.manifest import Manifest, check_sides, in_folds, read_manifest, split
from .recordings.recording import Recording
from .recordings.saved import is_saved, saved_sides
from .recordings.tables import TableFormat
from .remote import children, is_folder, is_remote
from .soundscapes.mix import Mixer, Pool, mix, recorded, synthesised
from .stamps import Stamps
from .targets import Targets
from .windows.grid import MOST_UNHEARD
from .windows.open import open_windows, totals_of, unheard_share
from .windows.source import Opened

# Whole recordings are longer than most events, and a clip that one event fills says nothing about when.
RECORDED_EVENTS = Mixer(event_seconds=(0.3, 3.0), level_db=(-5.0, 15.0))

# Share of the machine's memory that decoded recordings may take, over all processes of a run; beyond it they stay
# files. Decoding copies no more than it keeps.
_MEMORY_SHARE = 0.25
_RECORDINGS, _PACKS, _TARS = "recordings", "packs", "tar files"


def load(
    config: DataConfig,
    sample_rate_hz: int,
    *,
    loader: str = "auto",
    seed: int = 0,
    workers: int | None = None,
    mixer: Mixer | None = None,
) -> Data[ClipSource]:
    """Open a data set for training and evaluation.

    Args:
        config: what to open, and how it is divided; see `DataConfig`.
        sample_rate_hz: what all audio is resampled to, e.g. 32 000.
        loader: "memory": decode all recordings now and hold them as int16. "dali", "soundfile": decode them when they
            are heard. "auto": the former where they take at most a quarter of the machine's memory, every process of
            a run holding its own.
        seed: seed of the split and of the soundscapes, from 0.
        workers: threads; None: one a core. Changes nothing in the result.
        mixer: how soundscapes are mixed. None: `Mixer()` for synthesised events, `RECORDED_EVENTS` for recordings.

    Returns:
        Data: training and evaluation clips with the same classes (sorted; of AudioSet's tables in its own order) and
        length, and every recording that was left out with its reason.

    Raises:
        UserError: bad arguments; missing, empty or malformed ``config.data``; folds that do not exist; a class that
            the evaluation has and training lacks; no readable recording on one side; packs of another rate or length.
    """
    asked = _Asked(config, sample_rate_hz, loader, seed, workers, mixer)
    asked.check()
    if config.eval_data is not None and (config.data is None or config.eval_folds):
        way_out = "add --data" if config.data is None else "leave --eval-folds out"
        raise UserError(f"--eval-data {config.eval_data}: {way_out}")
    if config.data is None:
        if config.labels is not None:
            raise UserError(f"--labels {config.labels} names the classes of packs; add --data, or leave it out")
        if config.eval_folds:
            folds = " ".join(config.eval_folds)
            raise UserError(f"--eval-folds {folds}: built-in soundscapes have no folds; give --data")
        train, evaluation = (
            asked.mixed(synthesised(side, seed, sample_rate_hz), side, Mixer()) for side in ("train", "eval")
        )
        return Data(train, evaluation)
    if config.eval_data is not None and not (
        config.eval_data.exists() or is_saved(config.eval_data) or is_remote(config.eval_data)
    ):
        raise UserError(f"--eval-data {config.eval_data}: no such file or folder; give what --data may be")
    if config.eval_data is None and not config.eval_folds and is_saved(config.data):
        data, eval_data = saved_sides(config.data)
        config = replace(config, data=data, eval_data=eval_data)
        asked = replace(asked, config=config)
    kind = asked.kind()
    if config.eval_data is not None and (other := _kind(config.eval_data)) != kind:
        raise UserError(
            f"--data {config.data} holds {kind}, and --eval-data {config.eval_data} {other}; give both alike"
        )
    if kind == _PACKS:
        packed = load_packs(
            asked.data,
            config.eval_data,
            eval_folds=config.eval_folds,
            seed=seed,
            labels=config.labels,
            label_threshold=config.label_threshold,
        )
        asked.check_pack(packed.train)
        shards = dict.fromkeys((*packed.train.shards, *packed.evaluation.shards))
        in_rows = packed.train.origins is None or config.windows == "off"
        to_train: ClipSource = packed.train if in_rows else drawn(packed.train)
        return Data(to_train, packed.evaluation, packed.skipped, Stamps.of(shards, workers))
    if kind == _TARS:
        return _tars(asked)
    sides = _recordings(asked)
    if not config.mix:
        return sides
    train, evaluation = (
        asked.mixed(recorded(cast(Clips, clips)), side, RECORDED_EVENTS)
        for side, clips in (("train", sides.train), ("eval", sides.evaluation))
    )
    return Data(train, evaluation, sides.skipped, sides.stamps)


def load_for_evaluation(
    config: DataConfig, sample_rate_hz: int, *, loader: str = "auto", seed: int = 0, workers: int | None = None
) -> tuple[ClipSource, tuple[Skipped, ...]]:
    """Open recordings of which none is for training.

    Args:
        config: ``data`` is opened whole, or its ``eval_folds``; ``eval_data`` and ``train_clips`` are not looked at.
        sample_rate_hz, loader, seed, workers: see `load`.

    Returns:
        The clips, with the classes of these recordings, and every recording that was left out.

    Raises:
        UserError: bad arguments; missing, empty or malformed ``config.data``; folds that do not exist; no readable
            recording; packs of another rate or length.
    """
    asked = _Asked(config, sample_rate_hz, loader, seed, workers)
    asked.check()
    kind, folds = asked.kind(), config.eval_folds
    if kind == _PACKS:
        packed = open_packs(asked.data, config.labels, config.label_threshold)
        asked.check_pack(packed)
        if folds:
            packed = packed.subset(np.flatnonzero(in_folds(packed_recordings(packed), folds)))
        return packed, packed.skipped
    if kind == _TARS:
        if folds:
            raise UserError(f"--eval-folds {' '.join(folds)}: tar files have no folds; leave it out")
        return encoded_from_tar(
            _tar_files(asked.data), sample_rate_hz=sample_rate_hz, clip_seconds=config.clip_seconds, workers=workers
        )
    manifest = asked.manifest(asked.data)
    recordings = manifest.recordings
    if folds:
        chosen = in_folds(recordings, folds)
        recordings = tuple(recording for recording, is_eval in zip(recordings, chosen, strict=True) if is_eval)
    opened = _open(asked, recordings, manifest.classes)
    clips = opened.side(np.arange(len(opened.kept)), drawn=False)
    if config.mix:
        clips = asked.mixed(recorded(cast(Clips, clips)), "eval", RECORDED_EVENTS)
    return clips, manifest.skipped + opened.skipped


@dataclass(frozen=True)
class _Asked:
    """The arguments of `load`, together."""

    config: DataConfig
    sample_rate_hz: int
    loader: str
    seed: int
    workers: int | None
    mixer: Mixer | None = None

    @property
    def data(self) -> Path:
        assert self.config.data is not None
        return self.config.data

    @property
    def table(self) -> TableFormat:
        return TableFormat(self.config.file_column, self.config.label_column, self.config.label_separator)

    def manifest(self, data: Path, negatives: bool = True) -> Manifest:
        """The recordings of a folder or table; `negatives`: and those of ``--negatives``."""
        config = self.config
        listed = read_manifest(data, self.table, audio=config.audio, negatives=config.negatives if negatives else None)
        return listed if config.labels is None else with_display_names(listed, config.labels)

    def check(self) -> None:
        config = self.config
        if not 1_000 <= self.sample_rate_hz <= 1_000_000:
            raise UserError(
                f"sample rate of {self.sample_rate_hz} Hz; give 1 000 to 1 000 000, 32 000 for PANNs' networks"
            )
        seconds = config.clip_seconds
        if seconds is not None and not (math.isfinite(seconds) and seconds * self.sample_rate_hz >= 1):
            raise UserError(f"--clip-seconds {seconds}; give a length above 0, e.g. 10")
        counts = (("--train-clips", config.train_clips, 1), ("--eval-clips", config.eval_clips, 1))
        for name, value, least in (*counts, ("--seed", self.seed, 0)):
            if value < least:
                raise UserError(f"{name} {value}; give {least} or more")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}; give 1 or more, or leave it out for one a core")

    def kind(self) -> str:
        """What ``--data`` holds, after a look at the flags that only some kinds take."""
        kind, labels = _kind(self.data), self.config.labels
        if labels is not None and kind != _PACKS and not (self.data.is_file() and is_annotated(self.data)):
            raise UserError(
                f"--labels {labels} names the classes of packs, and --data {self.data} holds {kind}; leave it out"
            )
        if self.config.label_threshold is not None and kind != _PACKS:
            raise UserError(
                f"--label-threshold {self.config.label_threshold:g} is for soft labels of packs, and --data "
                f"{self.data} holds {kind}; leave it out"
            )
        for flag in ("audio", "negatives"):
            if getattr(self.config, flag) is not None and kind != _RECORDINGS:
                raise UserError(f"--{flag} goes with recordings, and --data {self.data} holds {kind}; leave it out")
        if self.config.mix and kind != _RECORDINGS:
            raise UserError(
                f"--mix takes recordings, and --data {self.data} holds {kind}; give the folder or CSV behind them"
            )
        if self.loader == "memory" and kind != _RECORDINGS:
            raise UserError(f"--loader memory: {kind} are read as they are heard; leave it out")
        return kind

    def check_pack(self, packed: PackedClips) -> None:
        """Raise where a pack's rate or clip length is another than asked."""
        if packed.sample_rate_hz != self.sample_rate_hz:
            raise UserError(
                f"--data {self.data}: packed at {packed.sample_rate_hz} Hz, and the network hears "
                f"{self.sample_rate_hz} Hz; pack with --sample-rate {self.sample_rate_hz}"
            )
        seconds, asked = packed.clip_samples / packed.sample_rate_hz, self.config.clip_seconds
        if asked is not None and round(asked * self.sample_rate_hz) != packed.clip_samples:
            raise UserError(
                f"--data {self.data}: packed in clips of {seconds:g} s, and --clip-seconds is {asked:g}; leave it "
                "out, or pack again"
            )

    def mixed(self, pool: Pool, side: str, usual: Mixer) -> Clips:
        """Soundscapes of one side."""
        return mix(
            pool,
            self.mixer or usual,
            self.config.train_clips if side == "train" else self.config.eval_clips,
            split=side,
            sample_rate_hz=self.sample_rate_hz,
            clip_seconds=self.config.clip_seconds or 10.0,
            seed=self.seed,
            workers=self.workers,
        )

    def check_windows(self, strong: bool) -> None:
        """Raise where windows are asked for, or refused, of recordings that do not allow it."""
        config = self.config
        if strong and (config.windows == "off" or config.mix):
            flag = "--mix takes recordings of one event each" if config.mix else "--windows off hears beginnings alone"
            raise UserError(f"{flag}, and --data {self.data} says what sounds when; leave it out")
        if config.windows == "on" and is_saved(self.data):
            raise UserError(f"--windows on: of {self.data} the beginnings are heard; leave it out")
        if config.windows == "on" and config.mix:
            raise UserError("--windows on and --mix exclude each other: soundscapes are mixed as long as a clip")

    def in_memory(self, samples: int) -> bool:
        """Whether so many samples are to be decoded at once."""
        if self.config.mix or self.loader == "memory":
            return True
        return self.loader == "auto" and 2 * samples * local_processes() <= _MEMORY_SHARE * _memory_bytes()


def _kind(data: Path) -> str:
    if is_remote(data):
        kind = _TARS if _tar_files(data) else _PACKS
        if kind == _PACKS and not is_pack(data):
            raise UserError(f"--data {url_of(data)}: neither packs (.h5) nor tar files; of other kinds copy them here")
        return kind
    if data.suffix == ".tar" or (data.is_dir() and _tar_files(data)):
        kind = _TARS
    else:
        kind = _PACKS if data.exists() and is_pack(data) else _RECORDINGS
    if kind != _RECORDINGS and data.is_dir():
        folders = [path.name for path in data.iterdir() if path.is_dir() and not path.name.startswith(".")]
        if folders:  # an archive beside the class folders that came out of it
            raise UserError(f"--data {data} holds {kind} and the folder {min(folders)}; move one of the two elsewhere")
    return kind


def _tar_files(data: Path) -> list[Path]:
    if is_remote(data):
        found = children(data) if is_folder(data) else [data]
        return sorted(path for path in found if path.suffix == ".tar")
    if not data.is_dir():
        return [data]
    return sorted(path for path in data.iterdir() if path.suffix == ".tar" and not path.name.startswith("."))


def _tars(asked: _Asked) -> Data[EncodedClips]:
    config, rate, workers = asked.config, asked.sample_rate_hz, asked.workers
    source, skipped = encoded_from_tar(
        _tar_files(asked.data), sample_rate_hz=rate, clip_seconds=config.clip_seconds, workers=workers
    )
    if config.eval_data is not None:
        evaluation, more = encoded_from_tar(
            _tar_files(config.eval_data),
            sample_rate_hz=rate,
            clip_seconds=source.clip_samples / rate,
            classes=source.classes,
            workers=workers,
        )
        stamps = Stamps.of((*source.files, *evaluation.files), asked.workers)
        return Data(source, evaluation, skipped + more, stamps)
    present = source.targets.dense().numpy()
    recordings = [
        Recording(name, source.files[file], tuple(source.classes[k] for k in np.flatnonzero(row)))
        for name, file, row in zip(source.names, source.file, present, strict=True)
    ]
    is_eval = np.array(split(recordings, config.eval_folds, asked.seed))
    train, evaluation = (source.subset(np.flatnonzero(side)) for side in (~is_eval, is_eval))
    return Data(train, evaluation, skipped, Stamps.of(source.files, asked.workers))


def _recordings(asked: _Asked) -> Data[ClipSource]:
    manifest = asked.manifest(asked.data)
    listed, left_out = manifest.recordings, manifest.skipped
    # Decided before a file is opened, so that a file that goes bad moves no other file to the other side.
    if asked.config.eval_data is None:
        is_eval = split(listed, asked.config.eval_folds, asked.seed)
    else:
        other = asked.manifest(asked.config.eval_data, negatives=False)
        is_eval = [False] * len(listed) + [True] * len(other.recordings)
        listed, left_out = listed + other.recordings, left_out + other.skipped
        check_sides(listed, is_eval)
    # Training first: each side is then one block of rows.
    order = sorted(range(len(is_eval)), key=lambda i: is_eval[i])
    recordings = [listed[i] for i in order]
    stamps = Stamps.of((recording.path for recording in recordings), asked.workers)  # before they are read
    opened = _open(asked, recordings, manifest.classes)
    kept, skipped = opened.kept, opened.skipped
    kept_eval = [is_eval[order[i]] for i in kept]
    check_sides([recordings[i] for i in kept], kept_eval, len(skipped))
    first_eval, rows = kept_eval.count(False), np.arange(len(kept))
    train, evaluation = opened.side(rows[:first_eval], drawn=True), opened.side(rows[first_eval:], drawn=False)
    return Data(train, evaluation, left_out + skipped, stamps.subset(kept))


class _Opened(NamedTuple):
    """The recordings that can be read, in their order: as clips, or to be cut into windows."""

    recordings: Any  # ClipSource or Opened
    skipped: tuple[Skipped, ...]  # the others
    kept: list[int]  # indices of those that can be read

    def side(self, rows: NDArray[np.int64], drawn: bool) -> ClipSource:
        """The clips of some of the kept recordings; `drawn`: for training."""
        if isinstance(self.recordings, Opened):
            return self.recordings.windows(rows, drawn)
        return self.recordings if len(rows) == len(self.recordings) else self.recordings.subset(rows)


def _open(asked: _Asked, recordings: Sequence[Recording], classes: tuple[str, ...]) -> _Opened:
    strong = any(recording.soundings is not None for recording in recordings)
    asked.check_windows(strong)
    if asked.config.windows == "off" or asked.config.mix or is_saved(asked.data):
        return _as_clips(asked, recordings, classes, None)
    encoded = _encoded(asked, recordings, classes)
    listed: EncodedClips = encoded.recordings
    if asked.config.windows == "on" or strong or unheard_share(listed) > MOST_UNHEARD:
        return _in_windows(asked, [recordings[i] for i in encoded.kept], encoded)
    return _as_clips(asked, recordings, classes, encoded)


def _encoded(asked: _Asked, recordings: Sequence[Recording], classes: tuple[str, ...]) -> _Opened:
    """Recordings by their headers."""
    rate, seconds = asked.sample_rate_hz, asked.config.clip_seconds
    source, skipped = encoded_from_manifest(
        recordings, classes, sample_rate_hz=rate, clip_seconds=seconds, workers=asked.workers
    )
    places = {(source.files[file], int(at)) for file, at in zip(source.file, source.offsets, strict=True)}
    return _Opened(source, skipped, [i for i, r in enumerate(recordings) if (r.path, r.offset) in places])


def _in_windows(asked: _Asked, recordings: Sequence[Recording], encoded: _Opened) -> _Opened:
    """Windows of recordings whose headers were read."""
    total = int(totals_of(encoded.recordings).sum())
    opened, reasons = open_windows(
        recordings,
        encoded.recordings,
        min_overlap_seconds=asked.config.min_overlap,
        in_memory=asked.in_memory(total),
        workers=asked.workers,
    )
    skipped = tuple(Skipped(recordings[i].name, reason) for i, reason in sorted(reasons.items()))
    if len(reasons) == len(recordings):
        raise _none_can_be_read(asked, len(recordings), skipped)
    kept = [row for i, row in enumerate(encoded.kept) if i not in reasons]
    return _Opened(opened, encoded.skipped + skipped, kept)


def _none_can_be_read(asked: _Asked, count: int, skipped: Sequence[Skipped]) -> UserError:
    return UserError(
        f"--data {asked.data}: none of {count} recordings can be read "
        f"(one of them: {skipped[0].file}: {skipped[0].reason}); check the files"
    )


def _as_clips(
    asked: _Asked, recordings: Sequence[Recording], classes: tuple[str, ...], encoded: _Opened | None
) -> _Opened:
    """A clip a recording: its beginning."""
    rate, seconds, workers = asked.sample_rate_hz, asked.config.clip_seconds, asked.workers
    if not asked.in_memory(round(len(recordings) * (seconds or 10.0) * rate)):
        return encoded or _encoded(asked, recordings, classes)
    waves, lengths, reasons, remarks = read_clips(
        [r.path for r in recordings], rate, seconds, workers, lambda i: recordings[i].stream()
    )
    skipped = tuple(Skipped(recordings[i].name, reason) for i, reason in sorted(reasons.items()))
    if not len(waves):
        raise _none_can_be_read(asked, len(recordings), skipped)
    kept = [i for i in range(len(recordings)) if i not in reasons]
    index = {label: column for column, label in enumerate(classes)}
    labels = ([index[label] for label in recordings[i].labels] for i in kept)
    clips = Clips(
        waves=torch.from_numpy(waves),
        lengths=lengths,
        targets=Targets.from_labels(labels, len(index)),
        names=tuple(recordings[i].name for i in kept),
        classes=classes,
        sample_rate_hz=rate,
        clip_samples=waves.shape[1],
        remarks=tuple(remarks),
    )
    return _Opened(clips, skipped, kept)


def _memory_bytes() -> int:
    """Of the machine, or of the container where it has less; where that is not to be had, 8 GiB."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 8 << 30
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    return min(total, int(allowed)) if allowed.isdecimal() else total
