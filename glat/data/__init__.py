"""Data sets: folders, CSV tables and soundscapes, as clips in memory."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import UserError
from . import soundscapes
from .audio import UnreadableAudio, read_audio, read_clips
from .clips import Batch, Clips, ClipSource, Data, Event, Skipped, fingerprint
from .manifest import Recording, check_sides, in_folds, read_manifest, split
from .soundscapes import Mixer
from .targets import Targets

__all__ = [
    "Batch",
    "ClipSource",
    "Clips",
    "Data",
    "Event",
    "Mixer",
    "Skipped",
    "Targets",
    "UnreadableAudio",
    "fingerprint",
    "load",
    "load_for_evaluation",
    "read_audio",
]

# Whole recordings are longer than most events, and a clip that one event fills says nothing about when.
RECORDED_EVENTS = Mixer(event_seconds=(0.3, 3.0), level_db=(-5.0, 15.0))


def load(
    data: Path | None,
    *,
    sample_rate_hz: int,
    clip_seconds: float | None,
    eval_folds: tuple[str, ...] = (),
    mix: bool = False,
    train_clips: int = 800,
    eval_clips: int = 200,
    seed: int = 0,
    workers: int | None = None,
    mixer: Mixer | None = None,
) -> Data[Clips]:
    """Load a data set for training and evaluation.

    Args:
        data: None for the built-in soundscapes of synthesised events; a folder with one sub-folder a class; or a CSV
            with the columns file, label (several joined by ``;``) and optionally fold.
        sample_rate_hz: what all audio is resampled to, e.g. 32 000.
        clip_seconds: longer recordings are cut, shorter ones padded with zeros. None: 10 s, or the longest recording
            where that is shorter, rounded up to 0.1 s; soundscapes: 10 s.
        eval_folds: folds of the CSV that are for the evaluation, e.g. ("4",); rows without a fold are for training.
            None given: about a fifth of every class by a hash of the file's name and `seed`.
        mix: take the recordings of `data` as isolated events (as far as `clip_seconds` reaches) and mix soundscapes
            from them, those for the evaluation from recordings of its own.
        train_clips, eval_clips: how many soundscapes; unused for plain recordings.
        seed: from 0; of the split and the soundscapes.
        workers: threads; None: one a core. Changes nothing in the result.
        mixer: how soundscapes are mixed. None: `Mixer()` for synthesised events, `RECORDED_EVENTS` for recordings.

    Returns:
        Data: training and evaluation clips with the same classes (sorted) and length, and every recording that was
        left out with its reason. Waves of plain recordings are parts of one tensor.

    Raises:
        UserError: bad arguments; missing, empty or malformed `data`; folds that do not exist; a class that the
            evaluation has and training lacks; no readable recording on one side.
    """
    _check(sample_rate_hz, clip_seconds, train_clips, eval_clips, seed, workers)
    counts = {"train": train_clips, "eval": eval_clips}
    if data is None:
        if eval_folds:
            raise UserError(f"--eval-folds {' '.join(eval_folds)}: built-in soundscapes have no folds; give --data")
        pools = {side: soundscapes.synthesised(side, seed, sample_rate_hz) for side in counts}
        skipped: tuple[Skipped, ...] = ()
    else:
        recorded = _recordings(data, sample_rate_hz, clip_seconds, eval_folds, seed, workers)
        if not mix:
            return recorded
        pools = {"train": soundscapes.recorded(recorded.train), "eval": soundscapes.recorded(recorded.evaluation)}
        skipped = recorded.skipped
        mixer = mixer or RECORDED_EVENTS
    train, evaluation = (
        soundscapes.mix(
            pools[side],
            mixer or Mixer(),
            counts[side],
            split=side,
            sample_rate_hz=sample_rate_hz,
            clip_seconds=clip_seconds or 10.0,
            seed=seed,
            workers=workers,
        )
        for side in ("train", "eval")
    )
    return Data(train, evaluation, skipped)


def load_for_evaluation(
    data: Path,
    *,
    sample_rate_hz: int,
    clip_seconds: float | None,
    eval_folds: tuple[str, ...] = (),
    mix: bool = False,
    eval_clips: int = 200,
    seed: int = 0,
    workers: int | None = None,
) -> tuple[Clips, tuple[Skipped, ...]]:
    """Load recordings of which none is for training.

    Args:
        eval_folds: folds of the CSV to load; without them, all recordings.
        Of the others, see `load`.

    Returns:
        The clips, with the classes of these recordings, sorted, and every recording that was left out.

    Raises:
        UserError: bad arguments; missing, empty or malformed `data`; folds that do not exist; no readable recording.
    """
    _check(sample_rate_hz, clip_seconds, 1, eval_clips, seed, workers)
    manifest = read_manifest(data)
    recordings = manifest.recordings
    if eval_folds:
        chosen = in_folds(recordings, eval_folds)
        recordings = tuple(recording for recording, is_eval in zip(recordings, chosen, strict=True) if is_eval)
    clips, skipped = _read(data, recordings, manifest.classes, sample_rate_hz, clip_seconds, workers)
    if mix:
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


def _recordings(
    data: Path,
    sample_rate_hz: int,
    clip_seconds: float | None,
    eval_folds: tuple[str, ...],
    seed: int,
    workers: int | None,
) -> Data[Clips]:
    manifest = read_manifest(data)
    # Decided before a file is opened, so that a file that goes bad moves no other file to the other side.
    is_eval = split(manifest.recordings, eval_folds, seed)
    # Training first: each side is then one block of rows.
    order = sorted(range(len(is_eval)), key=lambda i: is_eval[i])
    recordings = [manifest.recordings[i] for i in order]
    clips, skipped = _read(data, recordings, manifest.classes, sample_rate_hz, clip_seconds, workers)
    sides = {recording.name: eval_ for recording, eval_ in zip(manifest.recordings, is_eval, strict=True)}
    kept = set(clips.names)
    kept_recordings = [recording for recording in recordings if recording.name in kept]
    kept_eval = [sides[name] for name in clips.names]
    check_sides(kept_recordings, kept_eval, len(skipped))
    first_eval = kept_eval.count(False)

    def side(rows: slice) -> Clips:
        targets = Targets(clips.targets.packed[rows], clips.targets.num_classes)
        return replace(
            clips, waves=clips.waves[rows], lengths=clips.lengths[rows], targets=targets, names=clips.names[rows]
        )

    return Data(side(slice(None, first_eval)), side(slice(first_eval, None)), manifest.skipped + skipped)


def _read(
    data: Path,
    recordings: Sequence[Recording],
    classes: tuple[str, ...],
    sample_rate_hz: int,
    clip_seconds: float | None,
    workers: int | None,
) -> tuple[Clips, tuple[Skipped, ...]]:
    """The recordings that can be read, in their order, and the others."""
    waves, lengths, reasons = read_clips([r.path for r in recordings], sample_rate_hz, clip_seconds, workers)
    skipped = tuple(Skipped(recordings[i].name, reason) for i, reason in sorted(reasons.items()))
    if not len(waves):
        raise UserError(
            f"--data {data}: none of {len(recordings)} recordings can be read "
            f"(one of them: {skipped[0].file}: {skipped[0].reason}); check the files"
        )
    kept = [recording for i, recording in enumerate(recordings) if i not in reasons]
    index = {label: column for column, label in enumerate(classes)}
    labels = ([index[label] for label in recording.labels] for recording in kept)
    clips = Clips(
        waves=torch.from_numpy(waves),
        lengths=torch.from_numpy(lengths),
        targets=Targets.from_labels(labels, len(index)),
        names=tuple(recording.name for recording in kept),
        classes=classes,
        sample_rate_hz=sample_rate_hz,
    )
    return clips, skipped
