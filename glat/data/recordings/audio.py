"""Audio files to clips: decoding, downmix, resampling, and int16."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from ..parallel import in_parallel
from .decoding import Facts, Header, UnreadableAudio, decode_mono
from .level import max_of, wrong_peak

MARGIN_SECONDS = 0.5  # decoded beyond what is wanted, so that the resampler sees no end there


@dataclass(frozen=True)
class Heard:
    """A recording, or its beginning, as a network hears it."""

    samples: NDArray[np.float32]  # [S] mono, full scale ±1
    facts: Facts  # of the file

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is odd about the recording, to be told to the user; none for most."""
        return self.facts.remarks


class Clip(NamedTuple):
    """A recording as it is packed and trained on."""

    wave: NDArray[np.int16]  # [S], ±32767 is full scale
    peak: float  # of the resampled samples before they are clipped to ±1
    rate_hz: int  # of the file
    channels: int  # of the file
    remarks: tuple[str, ...] = ()


class _Resampler:
    """Takes blocks at a file's rate, and keeps what comes of them at another."""

    def __init__(self, header: Header, sample_rate_hz: int, most: int | None, keep: Callable[..., NDArray]) -> None:
        self.stream = None
        if header.rate_hz != sample_rate_hz:
            self.stream = soxr.ResampleStream(header.rate_hz, sample_rate_hz, 1, dtype="float32", quality="HQ")
        self.left = 1 << 62 if most is None else most
        self.keep = keep
        self.parts: list[NDArray] = []
        self.peak = 0.0

    def __call__(self, mono: NDArray[np.float32], last: bool = False) -> None:
        if self.stream is not None:
            mono = self.stream.resample_chunk(mono, last=last)
        part = mono[: self.left]
        if len(part):
            self.left -= len(part)
            if self.stream is not None:  # else its peak is the file's
                self.peak = max_of(self.peak, max(float(part.max()), -float(part.min())))
            self.parts.append(self.keep(part))

    def finish(self) -> NDArray:
        if self.stream is not None:
            self(np.zeros(0, np.float32), last=True)
        return (
            self.parts[0] if len(self.parts) == 1 else np.concatenate([self.keep(np.zeros(0, np.float32)), *self.parts])
        )


def hear(path: Path, sample_rate_hz: int, *, max_seconds: float | None = None, stream: BinaryIO | None = None) -> Heard:
    """Decode a file of any length to mono at `sample_rate_hz`.

    Channels are averaged, unless that cancels them: then the loudest is taken, and a remark says so. Resampled by soxr
    HQ, not at all where the rate is right.

    Args:
        path: a file in one of soundfile's formats, or PyAV's where it is installed, whatever its suffix.
        sample_rate_hz: 1 000 to 1 000 000, 32 000 for PANNs' networks.
        max_seconds: return no more than this from the start and decode little more; None: all.
        stream: where the file's bytes come from, if not from `path`, which then only names them.

    Returns:
        At least one sample; full scale is ±1, which decoders of lossy formats, float files and the resampler may pass.

    Raises:
        UnreadableAudio: no such file, not a regular file (a folder, a pipe), not audio, cut off or damaged, no
            samples, NaN or infinite samples, nothing but zeros or a constant, silence in 16 bits, a peak above twice
            full scale (samples on another scale).
        UserError: not enough memory.
    """
    samples, facts, _ = _hear(path, sample_rate_hz, max_seconds, stream, np.array)
    return Heard(samples, facts)


def read_audio(path: Path, sample_rate_hz: int, *, max_seconds: float | None = None) -> NDArray[np.float32]:
    """The samples [S] of `hear`.

    Raises:
        UnreadableAudio: as of `hear`.
    """
    return hear(path, sample_rate_hz, max_seconds=max_seconds).samples


def read_clip(path: Path, sample_rate_hz: int, max_seconds: float | None, stream: BinaryIO | None = None) -> Clip:
    """Decode the first `max_seconds` of a file (None: all) to int16; beside the clip itself it takes a few megabytes.

    Raises:
        UnreadableAudio: as of `hear`.
    """
    wave, facts, peak = _hear(path, sample_rate_hz, max_seconds, stream, to_int16)
    return Clip(wave, peak, facts.header.rate_hz, facts.header.channels, facts.remarks)


def _hear(
    path: Path,
    sample_rate_hz: int,
    max_seconds: float | None,
    stream: BinaryIO | None,
    keep: Callable[..., NDArray],
) -> tuple[NDArray, Facts, float]:
    """(samples as `keep` makes them, what was found, their peak before)."""
    most = None if max_seconds is None else round(max_seconds * sample_rate_hz)
    sink: list[_Resampler] = []

    def begin(header: Header) -> _Resampler:
        sink[:] = [_Resampler(header, sample_rate_hz, most, keep)]
        return sink[0]

    def frames(header: Header) -> int | None:
        return None if max_seconds is None else frames_for(max_seconds, header.rate_hz, sample_rate_hz)

    facts = decode_mono(path, begin, frames=frames, stream=stream)
    samples = sink[0].finish()
    if not len(samples):
        raise UnreadableAudio(path, f"holds no samples at {sample_rate_hz} Hz")
    peak = facts.peak if sink[0].stream is None else sink[0].peak
    if reason := wrong_peak(peak):
        where = "" if max_seconds is None else f"in its first {max_seconds:g} s "
        reason, _, way_out = reason.partition("; ")
        raise UnreadableAudio(path, where + reason, way_out or "mend it or leave it out")
    return samples, facts, peak


def frames_for(seconds: float, rate_hz: int, sample_rate_hz: int | None) -> int:
    """How many samples of a file at `rate_hz` are decoded for a clip at `sample_rate_hz` (None: any other)."""
    if rate_hz == sample_rate_hz:
        return round(seconds * rate_hz)
    return int((seconds + MARGIN_SECONDS) * rate_hz) + 1


def to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Clip to ±1 and scale to ±32767, truncated toward 0, as PANNs packs its audio."""
    scaled = np.empty(samples.shape, np.int16)
    with np.errstate(invalid="ignore"):  # NaN, which is refused where the whole recording is judged
        np.multiply(np.clip(samples, -1, 1), 32767, out=scaled, casting="unsafe")  # no second array of floats
    return scaled


def rounded_up(samples: int, sample_rate_hz: int) -> int:
    """The length of clips none of which is longer than `samples`: a multiple of 0.1 s."""
    tenths = -(-10 * samples // sample_rate_hz)
    return -(-tenths * sample_rate_hz // 10)


def read_clips(
    paths: Sequence[Path],
    sample_rate_hz: int,
    clip_seconds: float | None,
    workers: int | None = None,
    stream: Callable[[int], BinaryIO | None] = lambda i: None,
) -> tuple[NDArray[np.int16], NDArray[np.int64], dict[int, str], list[tuple[str, ...]]]:
    """Decode many files to clips of one length; bad ones are left out and reported, never raised.

    Args:
        paths: the files.
        clip_seconds: samples beyond are cut, shorter files padded with zeros. None: 10 s, or the longest file where
            that is shorter, rounded up to 0.1 s.
        workers: threads; None: one a core. Changes nothing in the result.
        stream: gives the bytes of a file by its index, or None where the file itself is to be opened.

    Returns:
        waves [K, S] int16 of the K files that could be read, in order; lengths [K] int64, valid samples;
        {index of a path: why it was left out}, for the reasons of `hear`; and the remarks on each of the K.
    """
    longest_seconds = 10.0 if clip_seconds is None else clip_seconds
    S_max = round(longest_seconds * sample_rate_hz)
    # Zeros cost no memory until they are written, so short and bad files take none.
    waves = np.zeros((len(paths), S_max), np.int16)

    def fill(i: int) -> tuple[int, tuple[str, ...]] | str:
        try:
            clip = read_clip(paths[i], sample_rate_hz, longest_seconds, stream(i))
        except UnreadableAudio as error:
            return error.reason
        waves[i, : len(clip.wave)] = clip.wave
        return len(clip.wave), clip.remarks

    results = in_parallel(fill, len(paths), workers)
    reasons = {i: result for i, result in enumerate(results) if isinstance(result, str)}
    kept = [i for i in range(len(paths)) if i not in reasons]
    good = [result for result in results if not isinstance(result, str)]
    lengths = np.array([length for length, _ in good], np.int64)
    S = S_max
    if clip_seconds is None and kept:
        S = min(S_max, rounded_up(int(lengths.max()), sample_rate_hz))
    flat = waves.reshape(-1)
    if S_max > S or reasons:  # close the gaps in place: every row moves towards the front
        for new, old in enumerate(kept):
            flat[new * S : (new + 1) * S] = flat[old * S_max : old * S_max + S]
    return flat[: len(kept) * S].reshape(len(kept), S), lengths, reasons, [remarks for _, remarks in good]
