"""Audio files to samples: decoding, downmix, resampling, and saying what is wrong with a file."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ..errors import UserError
from .clips import in_parallel

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
    return _resampled(path, decode(path, max_seconds=max_seconds), sample_rate_hz, max_seconds)


def read_clip(path: Path, sample_rate_hz: int, max_seconds: float) -> Clip:
    """Decode the first `max_seconds` of a file to int16.

    Raises:
        UnreadableAudio: as of `read_audio`; a peak above twice full scale (samples on another scale); silence in
            16 bits.
    """
    decoded = decode(path, max_seconds=max_seconds)
    samples = _resampled(path, decoded, sample_rate_hz, max_seconds)
    peak = float(max(samples.max(), -samples.min()))
    if reason := wrong_peak(peak):
        raise UnreadableAudio(path, f"in its first {max_seconds:g} s {reason}")
    wave = to_int16(samples)
    return Clip(wave, peak, decoded.rate_hz, decoded.channels)


def decode(path: Path, *, max_seconds: float | None = None) -> Decoded:
    """Decode a file of any length to mono at its own rate.

    Args:
        max_seconds: decode little more than this from the start; None: all.

    Raises:
        UnreadableAudio: as of `read_audio`.
    """
    try:
        if not path.exists():
            raise UnreadableAudio(path, "no such file")
        if not path.is_file():  # opening a pipe would wait for ever
            raise UnreadableAudio(path, "is a folder" if path.is_dir() else "is no regular file")
        decoded = _decode(path, max_seconds)
    except soundfile.LibsndfileError as error:
        raise UnreadableAudio(path, f"cannot be decoded ({error.error_string.strip().rstrip('.')})") from error
    except (OSError, ValueError, TypeError, MemoryError, soundfile.SoundFileError) as error:
        # soundfile raises TypeError for headerless formats; ValueError: a NUL or surrogate in the name
        if isinstance(error, UnreadableAudio):
            raise
        raise UnreadableAudio(path, f"cannot be opened ({error})") from error
    if not len(decoded.mono):
        raise UnreadableAudio(path, "holds no samples")
    least, most = decoded.mono.min(), decoded.mono.max()
    if not (np.isfinite(least) and np.isfinite(most)):  # NaN passes through both
        raise UnreadableAudio(path, "holds NaN or infinite samples")
    if least == most == 0:
        raise UnreadableAudio(path, "is silent (only zeros)")
    return decoded


def _resampled(path: Path, decoded: Decoded, sample_rate_hz: int, max_seconds: float | None) -> NDArray[np.float32]:
    mono = decoded.mono
    if decoded.rate_hz != sample_rate_hz:
        mono = soxr.resample(mono, decoded.rate_hz, sample_rate_hz, quality="HQ")
    if max_seconds is not None:
        mono = mono[: round(max_seconds * sample_rate_hz)]
    if not len(mono):
        raise UnreadableAudio(path, f"holds no samples at {sample_rate_hz} Hz")
    return mono


def _decode(path: Path, max_seconds: float | None) -> Decoded:
    with soundfile.SoundFile(path) as file:
        rate, channels, claimed = file.samplerate, file.channels, file.frames
        if not _RATES_HZ[0] <= rate <= _RATES_HZ[1]:
            raise UnreadableAudio(path, f"has a sample rate of {rate} Hz, outside {_RATES_HZ[0]} to {_RATES_HZ[1]} Hz")
        if claimed >= 1 << 62:  # FLAC that was written into a pipe; soundfile fails at its end
            raise UnreadableAudio(path, "is a stream that does not say its length")
        sizes = [(int(said), int(there)) for said, there in _CUT_OFF.findall(file.extra_info)]
        if any(there < said < _STREAMED for said, there in sizes):
            raise UnreadableAudio(path, "is cut off: the file is shorter than its header says")
        if file.format == "OGG" and not _ends_with_last_page(path):
            raise UnreadableAudio(path, "is cut off: the last page of the Ogg stream is missing")
        wanted = claimed if max_seconds is None else min(claimed, int((max_seconds + _MARGIN_SECONDS) * rate) + 1)
        blocks: list[NDArray[np.float32]] = []
        got = 0
        while got < wanted:
            block = file.read(min(_BLOCK, wanted - got), dtype="float32", always_2d=True)
            if not len(block):
                break
            got += len(block)
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # what comes of infinite samples is refused by the caller
                blocks.append(block[:, 0] if block.shape[1] == 1 else block.mean(axis=1))
    if got < wanted:
        raise UnreadableAudio(path, f"is cut off: {got} of {claimed} samples decode")
    mono = blocks[0] if len(blocks) == 1 else np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    return Decoded(mono, rate, channels)


def _ends_with_last_page(path: Path) -> bool:
    """Whether an Ogg file ends with a whole page that is marked as the stream's last (RFC 3533, section 6)."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2 * _OGG_PAGE))
        tail = file.read()
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
        tenths = -(-10 * int(lengths.max()) // sample_rate_hz)
        S = min(S_max, -(-tenths * sample_rate_hz // 10))
    flat = waves.reshape(-1)
    if S_max > S or reasons:  # close the gaps in place: every row moves towards the front
        for new, old in enumerate(kept):
            flat[new * S : (new + 1) * S] = flat[old * S_max : old * S_max + S]
    return flat[: len(kept) * S].reshape(len(kept), S), lengths, reasons
