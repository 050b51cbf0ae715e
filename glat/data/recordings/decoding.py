"""Audio files to blocks of samples, and what is wrong with a file.

libsndfile decodes; `containers` looks at the bytes before it does, as libsndfile believes what a header says. What
libsndfile does not read (AAC in .m4a and the like) PyAV decodes, where it is installed.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from ...errors import UserError
from . import foreign
from .containers import LENGTHLESS, Damaged, Layout, examine, opened
from .level import SILENT, Meter

MISSING = "no such file"
_READ_VALUES = 1 << 20  # samples of all channels decoded at a time, 4 MiB: soundfile seeks after every read
_BLOCK_VALUES = 1 << 16  # of these, handed on at a time: 256 KiB stay in a core's cache
_RATES_HZ = (1_000, 1_000_000)  # outside, a damaged header would ask for gigabytes of resampled audio
_BASE_RATES_HZ = (8_000, 11_025, 12_000)
_USUAL_RATES_HZ = {rate << octave for rate in _BASE_RATES_HZ for octave in range(6)} | {250_000, 500_000}
_USUAL_CHANNELS = {1, 2, 4, 6, 8}

Block = NDArray[np.float32]
_own = threading.local()  # of a thread: what it reads into, as fresh memory costs as much as decoding WAV


# Named after what was met, not after the error; read as "except UnreadableAudio".
class UnreadableAudio(UserError):  # noqa: N818
    """A file that gives no usable audio; `reason` says why."""

    def __init__(self, path: Path, reason: str, way_out: str = "mend it or leave it out") -> None:
        super().__init__(f"{path}: {reason}; {way_out}")
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """What is known of a file without decoding it."""

    rate_hz: int
    channels: int
    frames: int
    format: str  # libsndfile's name: "WAV", "FLAC", "OGG", ...; a longer one where PyAV decodes
    is_integer: bool  # its samples are integers, so that none can pass full scale or be NaN
    is_plain: bool  # any decoder hears all of it: its header is right
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What was found while a file was decoded."""

    header: Header
    samples: int  # decoded, at the file's rate
    peak: float  # of the mono samples, in full scales
    clipped: float  # share of samples at full scale or above
    remarks: tuple[str, ...]


class _File:
    """An open file: what its header says, and its blocks, at most so many samples from a first one on."""

    def __init__(self, header: Header, blocks: Callable[[int | None, int], Iterator[Block]]) -> None:
        self.header, self.blocks = header, blocks


def read_header(path: Path, stream: BinaryIO | None = None) -> Header:
    """What is known of a file without decoding it.

    Args:
        stream: where the file's bytes come from, if not from `path`, which then only names them.

    Raises:
        UnreadableAudio: as of `hear`, as far as that can be told without decoding; no samples.
    """
    with _opened(path, stream) as file:
        if not file.header.frames:
            raise UnreadableAudio(path, "holds no samples")
        return file.header


def decode_mono(
    path: Path,
    begin: Callable[[Header], Callable[[NDArray[np.float32]], None]],
    *,
    frames: Callable[[Header], int | None] = lambda header: None,
    stream: BinaryIO | None = None,
) -> Facts:
    """Decode a file block by block to mono at its own rate: the average of the channels.

    Where the average cancels what the channels hold, the loudest channel is taken, and a remark says so.

    Args:
        begin: called before the first block, again where decoding starts anew; returns what takes the blocks [n]. A
            block is overwritten by the next one: whoever keeps it copies it.
        frames: how many to decode at most; None: all.
        stream: as of `read_header`.

    Raises:
        UnreadableAudio: no such file, not a regular file (a folder, a pipe), not audio, cut off or damaged, no
            samples, NaN or infinite samples, nothing but zeros or a constant, silence in 16 bits, samples on another
            scale than ±1.
        UserError: not enough memory.
    """

    def once(channel: int | None) -> tuple[Header, Meter]:
        meter = Meter(channel)
        with _opened(path, stream) as file:
            take = begin(file.header)
            for block in file.blocks(frames(file.header), 0):
                take(meter.mono(block))
            return file.header, meter

    header, meter = once(None)
    remarks = header.remarks
    if (loudest := meter.cancelled()) is not None:
        header, meter = once(loudest)
        remarks += (f"its channels cancel when they are averaged; channel {loudest + 1} is heard alone",)
    if reason := meter.refusal():
        reason, _, way_out = reason.partition("; ")
        seconds = meter.samples / header.rate_hz
        if reason == SILENT and meter.samples < header.frames:  # an event may follow behind what is heard
            reason = f"is silent (only zeros) in its first {seconds:g} s, and no more of it is heard"
            way_out = "give a longer --clip-seconds, or leave it out"
        raise UnreadableAudio(path, reason, way_out or "mend it or leave it out")
    return Facts(header, meter.samples, meter.peak, meter.clipped_share, remarks + meter.remarks())


def decode_stretch(path: Path, first: int, frames: int, *, size: int, trusted: bool) -> Block:
    """Mono samples [n] of a stretch of a file, at its own rate; channels that cancel there give way to the loudest.

    Args:
        first, frames: where the stretch begins, and its length; at most so many samples are returned.
        size: of the file in bytes, when it was listed.
        trusted: its bytes were found to be as its header says: they are not looked at again.

    Raises:
        UnreadableAudio: no such file, or another one by now; damaged there; NaN or infinite samples.
        UserError: not enough memory.
    """
    if path.exists() and path.stat().st_size != size:
        raise UnreadableAudio(path, "has changed since it was listed")
    meter = Meter()
    with _opened(path, None, Layout() if trusted else None) as file:
        blocks = [block.copy() for block in file.blocks(frames, first)]
    parts = [meter.mono(block) for block in blocks]
    if (loudest := meter.cancelled()) is not None:
        parts = [block[:, loudest] for block in blocks]
    mono = np.concatenate([np.zeros(0, np.float32), *parts])
    if not np.isfinite(mono).all():
        raise UnreadableAudio(path, "holds NaN or infinite samples")
    return mono


@contextmanager
def _opened(path: Path, stream: BinaryIO | None, layout: Layout | None = None) -> Iterator[_File]:
    """A file that can be decoded; what fails inside is UnreadableAudio.

    Args:
        layout: of its bytes, where it is known.
    """
    try:
        with ExitStack() as stack:
            if stream is None:
                if not path.exists():
                    raise UnreadableAudio(path, MISSING)
                if not path.is_file():  # opening a pipe would wait for ever
                    raise UnreadableAudio(path, "is a folder" if path.is_dir() else "is no regular file")
                raw: BinaryIO = stack.enter_context(path.open("rb"))
            else:
                raw = stream
            if name := foreign.name_of(raw):
                yield _foreign(path, name, raw, stack)
                return
            if name := foreign.codec_of(raw):
                if examine(raw).views:  # which also finds what is cut off
                    raise UnreadableAudio(
                        path, f"is {name} in several pieces, or with a wrong header", "convert it to .flac"
                    )
                yield _foreign(path, name, raw, stack)
                return
            if found := foreign.other(raw):
                raise UnreadableAudio(path, f"is {found[0]}", found[1])
            layout = layout or examine(raw)
            sources: list[Any] = [opened(raw, view) for view in layout.views]
            sources = sources or [path if stream is None else stream]
            files = [stack.enter_context(soundfile.SoundFile(source)) for source in sources]
            header = _header(path, files, layout)
            yield _File(header, lambda limit, first: _blocks(path, files, layout, limit, first))
    except Damaged as error:
        raise UnreadableAudio(path, str(error)) from error
    except foreign.CannotDecode as error:
        raise UnreadableAudio(path, str(error)) from error
    except MemoryError as error:
        raise _out_of_memory(path) from error
    except (soundfile.LibsndfileError, FileNotFoundError) as error:
        if isinstance(error, FileNotFoundError) or (stream is None and not path.exists()):  # removed meanwhile
            raise UnreadableAudio(path, MISSING) from error
        if "malloc" in error.error_string:
            raise _out_of_memory(path) from error
        reason = f"cannot be decoded ({error.error_string.strip().rstrip('.')})"
        if "unsupported encoding" in reason:  # ALAC in CAF as FFmpeg writes it, which FFmpeg itself reads short
            raise UnreadableAudio(
                path, "holds an encoding that libsndfile does not read", "convert it to .flac, or leave it out"
            ) from error
        raise UnreadableAudio(path, reason, _way_out(path)) from error
    except (OSError, ValueError, TypeError, soundfile.SoundFileError) as error:
        # soundfile raises TypeError for headerless formats; ValueError: a NUL or surrogate in the name
        if isinstance(error, UserError):
            raise
        raise UnreadableAudio(path, f"cannot be opened ({error})") from error


def _way_out(path: Path) -> str:
    """What to do about a file that libsndfile does not take."""
    if path.suffix.lower() in (".wav", ".flac"):
        return "write it anew or leave it out"
    return "convert it to .wav or .flac, or leave it out"


def _out_of_memory(path: Path) -> UserError:
    return UserError(f"{path}: there is not enough memory to decode it; give fewer --workers, or free some memory")


def _header(path: Path, files: list[Any], layout: Layout) -> Header:
    first = files[0]
    rates = sorted({file.samplerate for file in files})
    if len(rates) > 1:
        raise UnreadableAudio(path, f"holds {len(files)} streams of different rates ({rates[0]} and {rates[-1]} Hz)")
    if not _RATES_HZ[0] <= rates[0] <= _RATES_HZ[1]:
        raise UnreadableAudio(path, f"has a sample rate of {rates[0]} Hz, outside {_RATES_HZ[0]} to {_RATES_HZ[1]} Hz")
    if first.format in LENGTHLESS:
        raise UnreadableAudio(
            path,
            f"is an {first.format} file, which does not state its length: a cut one would pass for whole",
            "convert it to .wav or .flac, or leave it out",
        )
    frames = _counted_by(layout, first, sum(file.frames for file in files))
    if frames >= 1 << 62:
        raise UnreadableAudio(path, "does not say its length")
    return Header(
        first.samplerate,
        first.channels,
        frames,
        first.format,
        first.subtype.startswith("PCM_"),
        not layout.views,
        ((layout.remark,) if layout.remark else ()) + _odd(first.samplerate, first.channels),
    )


def _odd(rate_hz: int, channels: int) -> tuple[str, ...]:
    """What a damaged header may say, and a whole one rarely does."""
    found = () if rate_hz in _USUAL_RATES_HZ else (f"its header says an unusual rate of {rate_hz} Hz",)
    return found if channels in _USUAL_CHANNELS else (*found, f"its header says an unusual {channels} channels")


def _blocks(path: Path, files: list[Any], layout: Layout, limit: int | None, first: int) -> Iterator[Block]:
    wanted = sum(file.frames for file in files)
    if files[0].subtype.startswith("MPEG"):  # whose samples libmpg123 guesses; `examine` has looked at their bytes
        wanted = layout.least_samples
    wanted = max(0, max(wanted, layout.least_samples) - first)
    at_most = max(0, _counted_by(layout, files[0], 1 << 62) - first)
    at_most = at_most if limit is None else min(limit, at_most)
    got = 0
    for file, skip in _from(files, first):
        many, size = (max(1, values // file.channels) for values in (_READ_VALUES, _BLOCK_VALUES))
        end = min(at_most, got + max(0, file.frames - skip))
        if skip and file.seekable():
            file.seek(skip)
            skip = 0
        while got < end and len(read := file.read(out=_buffer(min(many, end - got + skip), file.channels))):
            new, skip = read[skip:], max(0, skip - len(read))
            got += len(new)
            yield from (new[start : start + size] for start in range(0, len(new), size))
    if got < min(wanted, at_most):
        raise UnreadableAudio(path, f"is cut off or damaged: {got} of {wanted} samples decode")


def _counted_by(layout: Layout, file: Any, frames: int) -> int:
    """Samples of a file: of CAF no more than its table of packets counts, as the last packet may be padded."""
    return min(frames, layout.least_samples) if file.format == "CAF" and layout.least_samples else frames


def _from(files: list[Any], first: int) -> Iterator[tuple[Any, int]]:
    """The files from that of sample `first` on, and how many samples of each lie before it."""
    for file in files:
        if first < file.frames or file is files[-1]:
            yield file, first
        first = max(0, first - file.frames)


def _buffer(frames: int, channels: int) -> Block:
    """[frames, channels] of this thread, to be overwritten."""
    values = frames * channels
    if len(getattr(_own, "buffer", ())) < values:
        _own.buffer = np.empty(max(values, _READ_VALUES), np.float32)
    buffer: Block = _own.buffer[:values].reshape(frames, channels)
    return buffer


def _foreign(path: Path, name: str, raw: BinaryIO, stack: ExitStack) -> _File:
    if not foreign.is_available():
        raise UnreadableAudio(
            path,
            f"is {name}, which libsndfile does not read",
            "pip install 'glat[av]' for a decoder, or convert it to .flac",
        )
    audio = stack.enter_context(foreign.opened(raw))
    if not _RATES_HZ[0] <= audio.rate_hz <= _RATES_HZ[1]:
        raise UnreadableAudio(path, f"has a sample rate of {audio.rate_hz} Hz")
    remarks = _odd(audio.rate_hz, audio.channels)
    header = Header(audio.rate_hz, audio.channels, audio.frames, name, False, False, remarks)
    return _File(header, lambda limit, first: _after(audio.blocks(None if limit is None else first + limit), first))


def _after(blocks: Iterator[Block], first: int) -> Iterator[Block]:
    """What follows the first samples: PyAV seeks to packets, and what a packet decodes to depends on those before."""
    for block in blocks:
        if len(rest := block[first:]):
            yield rest
        first = max(0, first - len(block))
