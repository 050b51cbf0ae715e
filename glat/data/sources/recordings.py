"""Listed recordings opened: decoded, left in their files, or to be cut into windows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import UserError
from ..clips import Clips, ClipSource, Skipped
from ..recordings.audio import read_clips
from ..recordings.encoded import EncodedClips, encoded_from_manifest
from ..recordings.recording import Recording
from ..recordings.saved import is_saved
from ..targets import Targets
from ..windows.grid import heard_in_windows
from ..windows.open import open_windows, totals_of
from ..windows.source import Opened
from .asked import Asked


class Readable(NamedTuple):
    """The recordings that can be read, in their order: as clips, or to be cut into windows."""

    recordings: Any  # ClipSource or Opened
    skipped: tuple[Skipped, ...]  # the others
    kept: list[int]  # indices of those that can be read

    def side(self, rows: NDArray[np.int64], drawn: bool) -> ClipSource:
        """The clips of some of the kept recordings; `drawn`: for training."""
        if isinstance(self.recordings, Opened):
            return self.recordings.windows(rows, drawn)
        return self.recordings if len(rows) == len(self.recordings) else self.recordings.subset(rows)


def open_recordings(asked: Asked, recordings: Sequence[Recording], classes: tuple[str, ...]) -> Readable:
    """Open recordings as `Asked` and their lengths say.

    Raises:
        UserError: ``--windows`` or ``--mix`` does not go with them; none can be read.
    """
    strong = any(recording.soundings is not None for recording in recordings)
    asked.check_windows(strong)
    if asked.config.windows == "off" or asked.config.mix or is_saved(asked.data):
        return _as_clips(asked, recordings, classes, None)
    encoded = _encoded(asked, recordings, classes)
    listed: EncodedClips = encoded.recordings
    total = int(totals_of(listed).sum())
    if heard_in_windows(asked.config.windows, strong, total - int(listed.lengths.sum()), total):
        return _in_windows(asked, [recordings[i] for i in encoded.kept], encoded)
    return _as_clips(asked, recordings, classes, encoded)


def _encoded(asked: Asked, recordings: Sequence[Recording], classes: tuple[str, ...]) -> Readable:
    """Recordings by their headers."""
    rate, seconds = asked.sample_rate_hz, asked.config.clip_seconds
    source, skipped = encoded_from_manifest(
        recordings, classes, sample_rate_hz=rate, clip_seconds=seconds, workers=asked.workers
    )
    places = {(source.files[file], int(at)) for file, at in zip(source.file, source.offsets, strict=True)}
    return Readable(source, skipped, [i for i, r in enumerate(recordings) if (r.path, r.offset) in places])


def _in_windows(asked: Asked, recordings: Sequence[Recording], encoded: Readable) -> Readable:
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
    return Readable(opened, encoded.skipped + skipped, kept)


def _none_can_be_read(asked: Asked, count: int, skipped: Sequence[Skipped]) -> UserError:
    return UserError(
        f"--data {asked.data}: none of {count} recordings can be read "
        f"(one of them: {skipped[0].file}: {skipped[0].reason}); check the files"
    )


def _as_clips(
    asked: Asked, recordings: Sequence[Recording], classes: tuple[str, ...], encoded: Readable | None
) -> Readable:
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
    return Readable(clips, skipped, kept)
