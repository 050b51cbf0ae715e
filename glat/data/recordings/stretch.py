"""A stretch of a long file: the decoder seeks to it, and what lies before is neither decoded nor looked at.

libsndfile seeks to the sample in every format that it reads (measured on 10 minutes of WAV, FLAC, AIFF, CAF with ALAC,
ADPCM, Vorbis, Opus and MP3: the samples of a stretch are those of the whole file within 1e-7 of full scale, without a
run-up). What cannot seek, GSM and what PyAV decodes, is decoded from its beginning.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from .audio import MARGIN_SECONDS
from .decoding import UnreadableAudio, decode_stretch
from .level import SILENT_IN_16_BITS, wrong_peak


@dataclass(frozen=True)
class StretchedFile:
    """A file of which stretches are heard, as it was when it was listed."""

    path: Path
    rate_hz: int
    frames: int  # at its own rate
    size: int  # in bytes
    is_plain: bool  # as of `Header`: its bytes need no second look


def read_stretch(file: StretchedFile, start: int, samples: int, sample_rate_hz: int) -> NDArray[np.float32]:
    """Samples [n] of a file from `start` on, mono and resampled: those of the whole file, within 1e-5 of full scale.

    Args:
        start, samples: at `sample_rate_hz`.

    Returns:
        `samples` of them; fewer where the file ends before, at least 1.

    Raises:
        UnreadableAudio: gone or changed since it was listed; damaged there; NaN or infinite samples; a peak above
            twice full scale. Silence is heard.
    """
    shared = math.gcd(file.rate_hz, sample_rate_hz)
    step, block = file.rate_hz // shared, sample_rate_hz // shared  # so many samples of the file make so many of ours
    first, count, skip = start, samples, 0
    if file.rate_hz != sample_rate_hz:
        # Blocks begin where samples of both rates fall together, so that the resampler's phase is that of the whole.
        first_block = max(0, start // block - -(-int(MARGIN_SECONDS * sample_rate_hz) // block))
        skip, first = start - first_block * block, first_block * step
        count = -(-(skip + samples) * step // block) + int(MARGIN_SECONDS * file.rate_hz)
    mono = decode_stretch(file.path, first, min(count, file.frames - first), size=file.size, trusted=file.is_plain)
    if file.rate_hz != sample_rate_hz:
        mono = soxr.resample(mono, file.rate_hz, sample_rate_hz, quality="HQ")
    mono = mono[skip : skip + samples]
    if not len(mono):
        raise UnreadableAudio(file.path, "ends before the window begins: it is cut off, or was changed")
    peak = max(float(mono.max()), -float(mono.min()))
    if (reason := wrong_peak(peak)) and reason != SILENT_IN_16_BITS:
        raise UnreadableAudio(file.path, reason.partition("; ")[0])
    return np.ascontiguousarray(mono, np.float32)
