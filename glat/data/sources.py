"""What ``--data`` may be, opened for training and for the evaluation."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..errors import UserError
from .clips import Clips, ClipSource, Data, Skipped
from .packs.read import PackedClips, is_pack, load_packs, open_packs
from .packs.read import recordings as packed_recordings
from .parallel import local_processes
from .recordings.audio import read_clips
from .recordings.encoded import EncodedClips, encoded_from_manifest, encoded_from_tar
from .recordings.manifest import Recording, check_sides, in_folds, read_manifest, split
from .soundscapes import mix as soundscapes
from .soundscapes.mix import Mixer, Pool
from .targets import Targets

# Whole recordings are longer than most events, and a clip that one event fills says nothing about when.
RECORDED_EVENTS = Mixer(event_seconds=(0.3, 3.0), level_db=(-5.0, 15.0))


# Of the machine's memory, by all processes of a run; beyond, recordings stay files. Decoding copies no more than it
# keeps.
_MEMORY_SHARE = 0.25


def load(
    data: Path | None,
    *,
    sample_rate_hz: int,
    clip_seconds: float | None = None,
    eval_data: Path | None = None,
    labels: Path | None = None,
    eval_folds: tuple[str, ...] = (),
    mix: bool = False,
    train_clips: int = 800,
    eval_clips: int = 200,
    seed: int = 0,
    in_memory: bool | None = None,
    workers: int | None = None,
    mixer: Mixer | None = None,
) -> Data[ClipSource]:
    """Open a data set for training and evaluation.

    Args:
        data: None for the built-in soundscapes of synthesised events; a folder with one sub-folder a class; a CSV with
            the columns file, label (several joined by ``;``) and optionally fold; a folder or file that `glat pack` or
            PANNs' programs wrote; WebDataset's tar files: one, or a folder of them.
        sample_rate_hz: what all audio is resampled to, e.g. 32 000.
        clip_seconds: longer recordings are cut, shorter ones padded with zeros. None: 10 s, or the longest recording
            where that is shorter, rounded up to 0.1 s; soundscapes: 10 s. Packs have a length of their own.
        eval_data: as `data`, for the evaluation alone; its classes are those of `data`, or some of them.
        labels: AudioSet's class_labels_indices.csv, for packs that name no classes.
        eval_folds: folds of the CSV or pack that are for the evaluation, e.g. ("4",); recordings without a fold are
            for training. None given: about a fifth of every class by a hash of the file's name and `seed`.
        mix: take the recordings of `data` as isolated events (as far as `clip_seconds` reaches) and mix soundscapes
            from them, those for the evaluation from recordings of its own.
        train_clips, eval_clips: how many soundscapes; unused for plain recordings.
        seed: from 0; of the split and the soundscapes.
        in_memory: decode all recordings at once and hold them as int16, or read them when they are heard. None: the
            former where they take at most a quarter of the machine's memory, every process of a run holding its own.
        workers: threads; None: one a core. Changes nothing in the result.
        mixer: how soundscapes are mixed. None: `Mixer()` for synthesised events, `RECORDED_EVENTS` for recordings.

    Returns:
        Data: training and evaluation clips with the same classes (sorted; of AudioSet's tables in its own order) and
        length, and every recording that was left out with its reason.

    Raises:
        UserError: bad arguments; missing, empty or malformed `data`; folds that do not exist; a class that the
            evaluation has and training lacks; no readable recording on one side; packs of another rate or length.
    """
    _check(sample_rate_hz, clip_seconds, train_clips, eval_clips, seed, workers)
    if eval_data is not None and (data is None or eval_folds):
        raise UserError(f"--eval-data {eval_data}: {'add --data' if data is None else 'leave --eval-folds out'}")

    def mixed(pool: Pool, side: str, usual: Mixer) -> Clips:
        return soundscapes.mix(
            pool,
            mixer or usual,
            train_clips if side == "train" else eval_clips,
            split=side,
            sample_rate_hz=sample_rate_hz,
            clip_seconds=clip_seconds or 10.0,
            seed=seed,
            workers=workers,
        )

    if data is None:
        if labels is not None:
            raise UserError(f"--labels {labels} names the classes of packs; add --data, or leave it out")
        if eval_folds:
            raise UserError(f"--eval-folds {' '.join(eval_folds)}: built-in soundscapes have no folds; give --data")
        pools = {side: soundscapes.synthesised(side, seed, sample_rate_hz) for side in ("train", "eval")}
        return Data(mixed(pools["train"], "train", Mixer()), mixed(pools["eval"], "eval", Mixer()))
    if eval_data is not None and not eval_data.exists():
        raise UserError(f"--eval-data {eval_data}: no such file or folder; give what --data may be")
    kind = _kind(data)
    _check_labels(data, kind, labels)
    if eval_data is not None and _kind(eval_data) != kind:
        raise UserError(f"--data {data} holds {kind}, and --eval-data {eval_data} {_kind(eval_data)}; give both alike")
    if mix and kind != _RECORDINGS:
        raise UserError(f"--mix takes recordings, and --data {data} holds {kind}; give the folder or CSV behind them")
    if in_memory and kind != _RECORDINGS:
        raise UserError(f"--loader memory: {kind} are read as they are heard; leave it out")
    if kind == _PACKS:
        packed = load_packs(data, eval_data, eval_folds=eval_folds, seed=seed, labels=labels)
        _check_pack(data, packed.train, sample_rate_hz, clip_seconds)
        return packed
    if kind == _TARS:
        return _tars(data, eval_data, sample_rate_hz, clip_seconds, eval_folds, seed, workers)
    sides = _recordings(
        data, eval_data, sample_rate_hz, clip_seconds, eval_folds, seed, True if mix else in_memory, workers
    )
    if not mix:
        return sides
    assert isinstance(sides.train, Clips)
    assert isinstance(sides.evaluation, Clips)
    train = mixed(soundscapes.recorded(sides.train), "train", RECORDED_EVENTS)
    return Data(train, mixed(soundscapes.recorded(sides.evaluation), "eval", RECORDED_EVENTS), sides.skipped)


def load_for_evaluation(
    data: Path,
    *,
    sample_rate_hz: int,
    clip_seconds: float | None,
    labels: Path | None = None,
    eval_folds: tuple[str, ...] = (),
    mix: bool = False,
    eval_clips: int = 200,
    seed: int = 0,
    in_memory: bool | None = None,
    workers: int | None = None,
) -> tuple[ClipSource, tuple[Skipped, ...]]:
    """Open recordings of which none is for training.

    Args:
        eval_folds: folds of the CSV or pack to open; without them, all recordings.
        Of the others, see `load`.

    Returns:
        The clips, with the classes of these recordings, and every recording that was left out.

    Raises:
        UserError: bad arguments; missing, empty or malformed `data`; folds that do not exist; no readable recording;
            packs of another rate or length.
    """
    _check(sample_rate_hz, clip_seconds, 1, eval_clips, seed, workers)
    kind = _kind(data)
    _check_labels(data, kind, labels)
    if mix and kind != _RECORDINGS:
        raise UserError(f"--mix takes recordings, and --data {data} holds {kind}; give the folder or CSV behind them")
    if kind == _PACKS:
        packed = open_packs(data, labels)
        _check_pack(data, packed, sample_rate_hz, clip_seconds)
        if eval_folds:
            packed = packed.subset(np.flatnonzero(in_folds(packed_recordings(packed), eval_folds)))
        return packed, packed.skipped
    if kind == _TARS:
        if eval_folds:
            raise UserError(f"--eval-folds {' '.join(eval_folds)}: tar files have no folds; leave it out")
        return encoded_from_tar(
            _tar_files(data), sample_rate_hz=sample_rate_hz, clip_seconds=clip_seconds, workers=workers
        )
    manifest = read_manifest(data)
    recordings = manifest.recordings
    if eval_folds:
        chosen = in_folds(recordings, eval_folds)
        recordings = tuple(recording for recording, is_eval in zip(recordings, chosen, strict=True) if is_eval)
    if mix:
        in_memory = True
    clips, skipped, _ = _open(data, recordings, manifest.classes, sample_rate_hz, clip_seconds, in_memory, workers)
    if mix:
        assert isinstance(clips, Clips)
        clips = soundscapes.mix(
            soundscapes.recorded(clips),
            RECORDED_EVENTS,
            eval_clips,
            split="eval",
            sample_rate_hz=sample_rate_hz,
            clip_seconds=clip_seconds or 10.0,
            seed=seed,
            workers=workers,
        )
    return clips, manifest.skipped + skipped


def _check(
    sample_rate_hz: int, clip_seconds: float | None, train_clips: int, eval_clips: int, seed: int, workers: int | None
) -> None:
    if not 1_000 <= sample_rate_hz <= 1_000_000:
        raise UserError(f"sample rate of {sample_rate_hz} Hz; give 1 000 to 1 000 000, 32 000 for PANNs' networks")
    if clip_seconds is not None and not (math.isfinite(clip_seconds) and clip_seconds * sample_rate_hz >= 1):
        raise UserError(f"--clip-seconds {clip_seconds}; give a length above 0, e.g. 10")
    for name, value, least in (("--train-clips", train_clips, 1), ("--eval-clips", eval_clips, 1), ("--seed", seed, 0)):
        if value < least:
            raise UserError(f"{name} {value}; give {least} or more")
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}; give 1 or more, or leave it out for one a core")


_RECORDINGS, _PACKS, _TARS = "recordings", "packs", "tar files"


def _kind(data: Path) -> str:
    if data.suffix == ".tar" or (data.is_dir() and _tar_files(data)):
        kind = _TARS
    else:
        kind = _PACKS if data.exists() and is_pack(data) else _RECORDINGS
    if kind != _RECORDINGS and data.is_dir():
        folders = [path.name for path in data.iterdir() if path.is_dir() and not path.name.startswith(".")]
        if folders:  # an archive beside the class folders that came out of it
            raise UserError(f"--data {data} holds {kind} and the folder {min(folders)}; move one of the two elsewhere")
    return kind


def _check_labels(data: Path, kind: str, labels: Path | None) -> None:
    if labels is not None and kind != _PACKS:
        raise UserError(f"--labels {labels} names the classes of packs, and --data {data} holds {kind}; leave it out")


def _tar_files(data: Path) -> list[Path]:
    if not data.is_dir():
        return [data]
    return sorted(path for path in data.iterdir() if path.suffix == ".tar" and not path.name.startswith("."))


def _check_pack(data: Path, packed: PackedClips, sample_rate_hz: int, clip_seconds: float | None) -> None:
    if packed.sample_rate_hz != sample_rate_hz:
        raise UserError(
            f"--data {data}: packed at {packed.sample_rate_hz} Hz, and the network hears {sample_rate_hz} Hz; "
            f"pack with --sample-rate {sample_rate_hz}"
        )
    seconds = packed.clip_samples / packed.sample_rate_hz
    if clip_seconds is not None and round(clip_seconds * sample_rate_hz) != packed.clip_samples:
        raise UserError(
            f"--data {data}: packed in clips of {seconds:g} s, and --clip-seconds is {clip_seconds:g}; leave it out, "
            "or pack again"
        )


def _tars(
    data: Path,
    eval_data: Path | None,
    sample_rate_hz: int,
    clip_seconds: float | None,
    eval_folds: tuple[str, ...],
    seed: int,
    workers: int | None,
) -> Data[EncodedClips]:
    source, skipped = encoded_from_tar(
        _tar_files(data), sample_rate_hz=sample_rate_hz, clip_seconds=clip_seconds, workers=workers
    )
    if eval_data is not None:
        evaluation, more = encoded_from_tar(
            _tar_files(eval_data),
            sample_rate_hz=sample_rate_hz,
            clip_seconds=source.clip_samples / sample_rate_hz,
            classes=source.classes,
            workers=workers,
        )
        return Data(source, evaluation, skipped + more)
    present = source.targets.dense().numpy()
    recordings = [
        Recording(name, source.files[file], tuple(source.classes[k] for k in np.flatnonzero(row)))
        for name, file, row in zip(source.names, source.file, present, strict=True)
    ]
    is_eval = np.array(split(recordings, eval_folds, seed))
    return Data(source.subset(np.flatnonzero(~is_eval)), source.subset(np.flatnonzero(is_eval)), skipped)


def _recordings(
    data: Path,
    eval_data: Path | None,
    sample_rate_hz: int,
    clip_seconds: float | None,
    eval_folds: tuple[str, ...],
    seed: int,
    in_memory: bool | None,
    workers: int | None,
) -> Data[ClipSource]:
    manifest = read_manifest(data)
    listed, left_out = manifest.recordings, manifest.skipped
    # Decided before a file is opened, so that a file that goes bad moves no other file to the other side.
    if eval_data is None:
        is_eval = split(listed, eval_folds, seed)
    else:
        other = read_manifest(eval_data)
        is_eval = [False] * len(listed) + [True] * len(other.recordings)
        listed, left_out = listed + other.recordings, left_out + other.skipped
        check_sides(listed, is_eval)
    # Training first: each side is then one block of rows.
    order = sorted(range(len(is_eval)), key=lambda i: is_eval[i])
    recordings = [listed[i] for i in order]
    clips, skipped, kept = _open(data, recordings, manifest.classes, sample_rate_hz, clip_seconds, in_memory, workers)
    kept_eval = [is_eval[order[i]] for i in kept]
    check_sides([recordings[i] for i in kept], kept_eval, len(skipped))
    first_eval, rows = kept_eval.count(False), np.arange(len(kept))
    return Data(clips.subset(rows[:first_eval]), clips.subset(rows[first_eval:]), left_out + skipped)


def _open(
    data: Path,
    recordings: Sequence[Recording],
    classes: tuple[str, ...],
    sample_rate_hz: int,
    clip_seconds: float | None,
    in_memory: bool | None,
    workers: int | None,
) -> tuple[ClipSource, tuple[Skipped, ...], list[int]]:
    """The recordings that can be read, in their order; the others; and which they were."""
    if in_memory is None:
        wanted = 2 * len(recordings) * (clip_seconds or 10.0) * sample_rate_hz
        in_memory = wanted * local_processes() <= _MEMORY_SHARE * _memory_bytes()
    if not in_memory:
        source, skipped = encoded_from_manifest(
            recordings, classes, sample_rate_hz=sample_rate_hz, clip_seconds=clip_seconds, workers=workers
        )
        opened = set(source.files)
        return source, skipped, [i for i, recording in enumerate(recordings) if recording.path in opened]
    waves, lengths, reasons = read_clips([r.path for r in recordings], sample_rate_hz, clip_seconds, workers)
    skipped = tuple(Skipped(recordings[i].name, reason) for i, reason in sorted(reasons.items()))
    if not len(waves):
        raise UserError(
            f"--data {data}: none of {len(recordings)} recordings can be read "
            f"(one of them: {skipped[0].file}: {skipped[0].reason}); check the files"
        )
    kept = [i for i in range(len(recordings)) if i not in reasons]
    index = {label: column for column, label in enumerate(classes)}
    labels = ([index[label] for label in recordings[i].labels] for i in kept)
    clips = Clips(
        waves=torch.from_numpy(waves),
        lengths=torch.from_numpy(lengths),
        targets=Targets.from_labels(labels, len(index)),
        names=tuple(recordings[i].name for i in kept),
        classes=classes,
        sample_rate_hz=sample_rate_hz,
    )
    return clips, skipped, kept


def _memory_bytes() -> int:
    """Of the machine, or of the container where it has less; where that is not to be had, 8 GiB."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 8 << 30
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    return min(total, int(allowed)) if allowed.isdecimal() else total
