"""Audio files to samples: decoding, downmix, resampling, and saying what is wrong with a file."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ...errors import UserError
from ..parallel import in_parallel

_BLOCK = 1 << 19  # frames decoded at a time, 10 s at 48 kHz in one: eight channels of float32 are 16 MiB
_RATES_HZ = (1_000, 1_000_000)  # outside, a damaged header would ask for gigabytes of resampled audio
_MARGIN_SECONDS = 0.5  # decoded beyond max_seconds, so that the resampler sees no end there
_LOUDEST = 2.0  # of full scale: a decoder's overshoot stays below, samples on another scale do not
_OGG_PAGE = 65_307  # bytes of the longest
_STREAMED = 0x7FFF_0000  # sizes from here on are what programs write that do not know the length

# libsndfile cuts the length of a damaged file down to what is there and says so only in its log, of Ogg not even there.
_CUT_OFF = re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)


# Named after what was met, not after the error; read as "except UnreadableAudio".
class UnreadableAudio(UserError):  # noqa: N818
    """A file that gives no usable audio; `reason` says why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}; mend it, convert it to .wav or .flac, or leave it out")
        self.reason = reason


class Header(NamedTuple):
    """What a file says of itself."""

    rate_hz: int
    frames: int
    format: str  # libsndfile's name: "WAV", "FLAC", "OGG", ...
    is_integer: bool  # its samples are integers, so that none can pass full scale or be NaN


class Decoded(NamedTuple):
    """A recording at its own rate."""

    mono: NDArray[np.float32]  # [S], channels averaged
    rate_hz: int
    channels: int


class Clip(NamedTuple):
    """A recording as it is packed and trained on."""

    wave: NDArray[np.int16]  # [S], ±32767 is full scale
    peak: float  # of the resampled samples before they are clipped to ±1
    rate_hz: int  # of the file
    channels: int  # of the file


def read_audio(path: Path, sample_rate_hz: int, *, max_seconds: float | None = None) -> NDArray[np.float32]:
    """Decode a file of any length to mono at `sample_rate_hz`.

    Decoded by soundfile, channels averaged, resampled by soxr HQ (not at all where the rate is right).

    Args:
        path: a file in one of soundfile's formats, whatever its suffix.
        sample_rate_hz: 1 000 to 1 000 000, 32 000 for PANNs' networks.
        max_seconds: return no more than this from the start and decode little more; None: all.

    Returns:
        [S] float32, at least one sample; full scale is ±1, which decoders of lossy formats, float files and the
        resampler may pass.

    Raises:
        UnreadableAudio: no such file, not a regular file (a folder, a pipe), not audio, damaged or cut off (also
            where libsndfile would return what is left), FLAC that does not say its length, no samples, NaN or
            infinite samples, only zeros.
    """
    decoded = decode(path, max_seconds=max_seconds, sample_rate_hz=sample_rate_hz)
    return _resampled(path, decoded, sample_rate_hz, max_seconds)


def read_clip(path: Path, sample_rate_hz: int, max_seconds: float) -> Clip:
    """Decode the first `max_seconds` of a file to int16.

    Raises:
        UnreadableAudio: as of `read_audio`; a peak above twice full scale (samples on another scale); silence in
            16 bits.
    """
    decoded = decode(path, max_seconds=max_seconds, sample_rate_hz=sample_rate_hz)
    samples = _resampled(path, decoded, sample_rate_hz, max_seconds)
    peak = _usable_peak(path, samples, max_seconds)
    return Clip(to_int16(samples), peak, decoded.rate_hz, decoded.channels)


def read_samples(
    path: Path, sample_rate_hz: int, max_seconds: float, stream: BinaryIO | None = None
) -> NDArray[np.float32]:
    """What `read_clip` reads, before it becomes int16.

    Args:
        stream: where the file's bytes come from, if not from `path`, which then only names them.

    Raises:
        UnreadableAudio: as of `read_clip`.
    """
    decoded = decode(path, max_seconds=max_seconds, sample_rate_hz=sample_rate_hz, stream=stream)
    samples = _resampled(path, decoded, sample_rate_hz, max_seconds)
    _usable_peak(path, samples, max_seconds)
    return samples


def _usable_peak(path: Path, samples: NDArray[np.float32], max_seconds: float) -> float:
    peak = float(max(samples.max(), -samples.min()))
    if reason := wrong_peak(peak):
        raise UnreadableAudio(path, f"in its first {max_seconds:g} s {reason}")
    return peak


def read_header(path: Path, stream: BinaryIO | None = None) -> Header:
    """What a file says of itself, without decoding it.

    Raises:
        UnreadableAudio: as of `read_audio`, as far as that can be told without decoding; no samples.
    """
    with _opened(path, stream) as file:
        if not file.frames:
            raise UnreadableAudio(path, "holds no samples")
        return Header(file.samplerate, file.frames, file.format, file.subtype.startswith("PCM_"))


def frames_for(seconds: float, rate_hz: int, sample_rate_hz: int | None) -> int:
    """How many samples of a file at `rate_hz` are decoded for a clip at `sample_rate_hz` (None: any other)."""
    if rate_hz == sample_rate_hz:
        return round(seconds * rate_hz)
    return int((seconds + _MARGIN_SECONDS) * rate_hz) + 1


def decode(
    path: Path, *, max_seconds: float | None = None, sample_rate_hz: int | None = None, stream: BinaryIO | None = None
) -> Decoded:
    """Decode a file of any length to mono at its own rate.

    Args:
        max_seconds: decode little more than this from the start; None: all.
        sample_rate_hz: where the file has this rate, decode no more than `max_seconds`.
        stream: where the file's bytes come from, if not from `path`, which then only names them.

    Raises:
        UnreadableAudio: as of `read_audio`.
    """
    with _opened(path, stream) as file:
        wanted = file.frames
        if max_seconds is not None:
            wanted = min(wanted, frames_for(max_seconds, file.samplerate, sample_rate_hz))
        decoded = _decode(path, file, wanted)
    if not len(decoded.mono):
        raise UnreadableAudio(path, "holds no samples")
    least, most = decoded.mono.min(), decoded.mono.max()
    if not (np.isfinite(least) and np.isfinite(most)):  # NaN passes through both
        raise UnreadableAudio(path, "holds NaN or infinite samples")
    if least == most == 0:
        raise UnreadableAudio(path, "is silent (only zeros)")
    return decoded


@contextmanager
def _opened(path: Path, stream: BinaryIO | None) -> Iterator[Any]:
    """The SoundFile of a file that does not say itself that it is damaged; what fails inside is UnreadableAudio."""
    try:
        if stream is None:
            if not path.exists():
                raise UnreadableAudio(path, "no such file")
            if not path.is_file():  # opening a pipe would wait for ever
                raise UnreadableAudio(path, "is a folder" if path.is_dir() else "is no regular file")
            with path.open("rb") as file:
                cut_off = not _may_be_whole_ogg(file)
        else:
            cut_off = not _may_be_whole_ogg(stream)
        with soundfile.SoundFile(path if stream is None else stream) as file:
            _check_header(path, file)
            if file.format == "OGG" and cut_off:
                raise UnreadableAudio(path, "is cut off: the last page of the Ogg stream is missing")
            yield file
    except (soundfile.LibsndfileError, FileNotFoundError) as error:
        if isinstance(error, FileNotFoundError) or (stream is None and not path.exists()):  # removed meanwhile
            raise UnreadableAudio(path, "no such file") from error
        raise UnreadableAudio(path, f"cannot be decoded ({error.error_string.strip().rstrip('.')})") from error
    except (OSError, ValueError, TypeError, MemoryError, soundfile.SoundFileError) as error:
        # soundfile raises TypeError for headerless formats; ValueError: a NUL or surrogate in the name
        if isinstance(error, UnreadableAudio):
            raise
        raise UnreadableAudio(path, f"cannot be opened ({error})") from error


def _resampled(path: Path, decoded: Decoded, sample_rate_hz: int, max_seconds: float | None) -> NDArray[np.float32]:
    mono = decoded.mono
    if decoded.rate_hz != sample_rate_hz:
        mono = soxr.resample(mono, decoded.rate_hz, sample_rate_hz, quality="HQ")
    if max_seconds is not None:
        mono = mono[: round(max_seconds * sample_rate_hz)]
    if not len(mono):
        raise UnreadableAudio(path, f"holds no samples at {sample_rate_hz} Hz")
    return mono


def _check_header(path: Path, file: Any) -> None:
    rate = file.samplerate
    if not _RATES_HZ[0] <= rate <= _RATES_HZ[1]:
        raise UnreadableAudio(path, f"has a sample rate of {rate} Hz, outside {_RATES_HZ[0]} to {_RATES_HZ[1]} Hz")
    if file.frames >= 1 << 62:  # FLAC that was written into a pipe; soundfile fails at its end
        raise UnreadableAudio(path, "is a stream that does not say its length")
    sizes = [(int(said), int(there)) for said, there in _CUT_OFF.findall(file.extra_info)]
    if any(there < said < _STREAMED for said, there in sizes):
        raise UnreadableAudio(path, "is cut off: the file is shorter than its header says")


def _decode(path: Path, file: Any, wanted: int) -> Decoded:
    blocks: list[NDArray[np.float32]] = []
    got = 0
    while got < wanted:
        block = file.read(min(_BLOCK, wanted - got), dtype="float32", always_2d=True)
        if not len(block):
            break
        got += len(block)
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of infinite samples is refused by the caller
            blocks.append(block[:, 0] if block.shape[1] == 1 else block.mean(axis=1))
    if got < wanted:
        raise UnreadableAudio(path, f"is cut off: {got} of {file.frames} samples decode")
    mono = blocks[0] if len(blocks) == 1 else np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    return Decoded(mono, file.samplerate, file.channels)


def _may_be_whole_ogg(file: BinaryIO) -> bool:
    """Whether a stream, if it is Ogg, ends with a whole page that is marked as its last (RFC 3533, section 6)."""
    if file.read(4) != b"OggS":
        file.seek(0)
        return True
    file.seek(max(0, file.seek(0, os.SEEK_END) - 2 * _OGG_PAGE))
    tail = file.read()
    file.seek(0)
    start = tail.rfind(b"OggS")
    page = tail[start:] if start >= 0 else b""
    if len(page) < 27:
        return False
    lacing = page[27 : 27 + page[26]]
    return bool(page[5] & 4) and len(lacing) == page[26] and len(page) >= 27 + len(lacing) + sum(lacing)


def wrong_peak(peak: float) -> str | None:
    """Why samples of this peak make no clip: above twice full scale (another scale), or silent in 16 bits."""
    if not peak <= _LOUDEST:  # nan, too: the resampler makes it of samples near the end of float32
        return f"peaks at {peak:.4g} times full scale; scale it to ±1"
    return None if np.float32(peak) * 32767 >= 1 else "is silent in 16 bits"


def to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Clip to ±1 and scale to ±32767, truncated toward 0, as PANNs packs its audio."""
    scaled = np.empty(samples.shape, np.int16)
    np.multiply(np.clip(samples, -1, 1), 32767, out=scaled, casting="unsafe")  # no second array of floats
    return scaled


def rounded_up(samples: int, sample_rate_hz: int) -> int:
    """The length of clips none of which is longer than `samples`: a multiple of 0.1 s."""
    tenths = -(-10 * samples // sample_rate_hz)
    return -(-tenths * sample_rate_hz // 10)


def read_clips(
    paths: Sequence[Path], sample_rate_hz: int, clip_seconds: float | None, workers: int | None = None
) -> tuple[NDArray[np.int16], NDArray[np.int64], dict[int, str]]:
    """Decode many files to clips of one length; bad ones are left out and reported, never raised.

    Args:
        paths: the files.
        clip_seconds: samples beyond are cut, shorter files padded with zeros. None: 10 s, or the longest file where
            that is shorter, rounded up to 0.1 s.
        workers: threads; None: one a core. Changes nothing in the result.

    Returns:
        waves [K, S] int16 of the K files that could be read, in order; lengths [K] int64, valid samples;
        {index of a path: why it was left out}. Beside the reasons of `read_audio`: a peak above twice full scale
        (samples on another scale), silence in 16 bits.
    """
    longest_seconds = 10.0 if clip_seconds is None else clip_seconds
    S_max = round(longest_seconds * sample_rate_hz)
    # Zeros cost no memory until they are written, so short and bad files take none.
    waves = np.zeros((len(paths), S_max), np.int16)

    def fill(i: int) -> int | str:
        try:
            wave = read_clip(paths[i], sample_rate_hz, longest_seconds).wave
        except UnreadableAudio as error:
            return error.reason
        waves[i, : len(wave)] = wave
        return len(wave)

    results = in_parallel(fill, len(paths), workers)
    reasons = {i: result for i, result in enumerate(results) if isinstance(result, str)}
    kept = [i for i in range(len(paths)) if i not in reasons]
    lengths = np.array([results[i] for i in kept], np.int64)
    S = S_max
    if clip_seconds is None and kept:
        S = min(S_max, rounded_up(int(lengths.max()), sample_rate_hz))
    flat = waves.reshape(-1)
    if S_max > S or reasons:  # close the gaps in place: every row moves towards the front
        for new, old in enumerate(kept):
            flat[new * S : (new + 1) * S] = flat[old * S_max : old * S_max + S]
    return flat[: len(kept) * S].reshape(len(kept), S), lengths, reasons
