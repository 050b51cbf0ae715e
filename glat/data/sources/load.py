"""A source opened for training and evaluation, or for an evaluation alone."""

from dataclasses import replace
from typing import cast

import numpy as np

from ...config import DataConfig
from ...errors import UserError
from ..clips import Clips, ClipSource, Data, Skipped
from ..packs.read import load_packs, open_packs
from ..packs.read import recordings as packed_recordings
from ..packs.windows import drawn
from ..recordings.encoded import encoded_from_tar
from ..recordings.manifest import in_folds
from ..recordings.saved import is_saved, saved_sides
from ..remote import is_remote
from ..soundscapes.mix import Mixer, recorded, synthesised
from ..stamps import Stamps
from .asked import Asked
from .kinds import PACKS, TARS, kind_of, tar_files
from .recordings import open_recordings
from .sides import sides_of_recordings, sides_of_tars

# Whole recordings are longer than most events, and a clip that one event fills says nothing about when.
RECORDED_EVENTS = Mixer(event_seconds=(0.3, 3.0), level_db=(-5.0, 15.0))


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
    asked = Asked(config, sample_rate_hz, loader, seed, workers, mixer)
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
    if config.eval_data is not None and (other := kind_of(config.eval_data)) != kind:
        raise UserError(
            f"--data {config.data} holds {kind}, and --eval-data {config.eval_data} {other}; give both alike"
        )
    if kind == PACKS:
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
    if kind == TARS:
        return sides_of_tars(asked)
    sides = sides_of_recordings(asked)
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
    asked = Asked(config, sample_rate_hz, loader, seed, workers)
    asked.check()
    kind, folds = asked.kind(), config.eval_folds
    if kind == PACKS:
        packed = open_packs(asked.data, config.labels, config.label_threshold)
        asked.check_pack(packed)
        if folds:
            packed = packed.subset(np.flatnonzero(in_folds(packed_recordings(packed), folds)))
        return packed, packed.skipped
    if kind == TARS:
        if folds:
            raise UserError(f"--eval-folds {' '.join(folds)}: tar files have no folds; leave it out")
        return encoded_from_tar(
            tar_files(asked.data), sample_rate_hz=sample_rate_hz, clip_seconds=config.clip_seconds, workers=workers
        )
    manifest = asked.manifest(asked.data)
    recordings = manifest.recordings
    if folds:
        chosen = in_folds(recordings, folds)
        recordings = tuple(recording for recording, is_eval in zip(recordings, chosen, strict=True) if is_eval)
    opened = open_recordings(asked, recordings, manifest.classes)
    clips = opened.side(np.arange(len(opened.kept)), drawn=False)
    if config.mix:
        clips = asked.mixed(recorded(cast(Clips, clips)), "eval", RECORDED_EVENTS)
    return clips, manifest.skipped + opened.skipped
