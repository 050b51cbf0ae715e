"""Tar files and recordings divided into training and evaluation."""

import numpy as np

from ..clips import ClipSource, Data
from ..recordings.encoded import EncodedClips, encoded_from_tar
from ..recordings.manifest import check_sides, split
from ..recordings.recording import Recording
from ..stamps import Stamps
from .asked import Asked
from .kinds import tar_files
from .recordings import open_recordings


def sides_of_tars(asked: Asked) -> Data[EncodedClips]:
    """Both sides of tar files."""
    config, rate, workers = asked.config, asked.sample_rate_hz, asked.workers
    source, skipped = encoded_from_tar(
        tar_files(asked.data), sample_rate_hz=rate, clip_seconds=config.clip_seconds, workers=workers
    )
    if config.eval_data is not None:
        evaluation, more = encoded_from_tar(
            tar_files(config.eval_data),
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


def sides_of_recordings(asked: Asked) -> Data[ClipSource]:
    """Both sides of a folder or table of recordings."""
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
    opened = open_recordings(asked, recordings, manifest.classes)
    kept, skipped = opened.kept, opened.skipped
    kept_eval = [is_eval[order[i]] for i in kept]
    check_sides([recordings[i] for i in kept], kept_eval, len(skipped))
    first_eval, rows = kept_eval.count(False), np.arange(len(kept))
    train, evaluation = opened.side(rows[:first_eval], drawn=True), opened.side(rows[first_eval:], drawn=False)
    return Data(train, evaluation, left_out + skipped, stamps.subset(kept))
