"""What libsndfile does not read, by PyAV (FFmpeg) where it is installed: AAC in .m4a and .mp4, .webm, .wma, .amr."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_END
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (".aac", ".ac3", ".amr", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp4", ".webm", ".wma")
_MAGIC = (
    (4, b"ftyp", "MPEG-4 audio (AAC or ALAC, .m4a)"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (.wma)"),
    (0, b"#!AMR", "AMR"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"\x0b\x77", "AC-3"),
)
# What is taken for sound by its name, and is none, or none that is decoded here.
_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"version https://git-lfs", "a pointer of Git LFS in place of the file", "git lfs pull fetches it"),
    (0, b"<!DOCTYPE", "a web page: a download that failed", "fetch it again"),
    (0, b"<!doctype", "a web page: a download that failed", "fetch it again"),
    (0, b"<html", "a web page: a download that failed", "fetch it again"),
    (0, b"\x1f\x8b", "compressed by gzip", "unpack it"),
    (0, b"PK\x03\x04", "a ZIP archive", "unpack it"),
    (0, b"MThd", "MIDI: notes, and no sound", "leave it out"),
    (0, b"wvpk", "WavPack", "convert it to .flac"),
    (0, b"MAC ", "Monkey's Audio", "convert it to .flac"),
    (0, b"TTA1", "True Audio", "convert it to .flac"),
    (0, b"DSD ", "DSD", "convert it to .flac"),
    (0, b"MPCK", "Musepack", "convert it to .flac"),
    (0, b"MP+", "Musepack", "convert it to .flac"),
    (0, b"FLV", "Flash video", "convert it to .flac"),
    (0, b"ajkg", "Shorten", "convert it to .flac"),
)
# Containers that libsndfile knows, with codecs that it does not.
_CODECS = ((b"\x7fFLAC", "FLAC in Ogg"), (b"Speex   ", "Speex in Ogg"))
_HEAD = 4096  # bytes, in which the codec is named
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_MISSING_SECONDS = 0.2  # that a decoder may give less than the container says: encoders' delay and padding


def advice(suffix: str) -> str:
    """Why files of this suffix are left out where PyAV is missing."""
    return f"libsndfile reads no {suffix} files; pip install 'glat[av]' for a decoder, or convert it to .flac"


class CannotDecode(Exception):  # noqa: N818 - named after what was met
    """PyAV cannot decode a file; the text is the reason a user reads."""


def name_of(file: BinaryIO) -> str | None:
    """What a file is called, if it is one of these; the file is left at its start."""
    head = file.read(16)
    file.seek(0)
    return next((name for at, magic, name in _MAGIC if head[at : at + len(magic)] == magic), None)


def other(file: BinaryIO) -> tuple[str, str] | None:
    """(What a file is, what to do about it), where it is known and cannot be decoded; the file is left at its start."""
    head = file.read(32).lstrip()
    file.seek(0)
    if not head:
        return "empty (0 bytes)", "fetch it again or leave it out"
    return next(((name, way_out) for at, magic, name, way_out in _OTHERS if head[at:].startswith(magic)), None)


def codec_of(file: BinaryIO) -> str | None:
    """What an Ogg or WAV file holds that libsndfile does not decode; None of other files."""
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    if head[:4] == b"OggS":
        return next((name for magic, name in _CODECS if magic in head), None)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE" and (at := head.find(b"fmt ")) > 0:
        return "MP3 in WAV" if head[at + 8 : at + 10] == b"\x55\0" else None
    return None


def is_available() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


class Audio:
    """The first audio stream of a file."""

    def __init__(self, container: Any) -> None:
        import av

        self._av, self._container = av, container
        if not container.streams.audio:
            raise CannotDecode("holds no audio")
        self._stream = container.streams.audio[0]
        self.rate_hz, self.channels = self._stream.rate, self._stream.channels
        duration, base = self._stream.duration, self._stream.time_base
        if duration is None and container.duration is not None:
            duration, base = container.duration, 1 / av.time_base
        self.seconds = float(duration * base) if duration and container.format.name != "asf" else 0.0

    @property
    def frames(self) -> int:
        """Samples, as the container says."""
        return round(self.seconds * self.rate_hz)

    def blocks(self, limit: int | None) -> Iterator[NDArray[np.float32]]:
        """Blocks [n, channels]; `limit`: samples to give at most.

        Raises:
            CannotDecode: data that cannot be decoded; less than the container says.
        """
        resampler = self._av.AudioResampler(format="fltp")
        got = packets = 0
        try:
            for packet in self._container.demux(self._stream):
                packets += packet.size > 0
                for frame in packet.decode():
                    for part in resampler.resample(frame):
                        block = part.to_ndarray().T
                        block = block if limit is None else block[: limit - got]
                        if block.shape[1] != self.channels:
                            raise CannotDecode("changes its number of channels")
                        got += len(block)
                        yield np.ascontiguousarray(block)
                        if limit is not None and got >= limit:
                            return
        except self._av.FFmpegError as error:
            raise CannotDecode(f"is damaged ({error.strerror})") from error
        counted = 0 if self._stream.codec_context.name.startswith("pcm") else self._stream.frames  # there, of samples
        if packets < counted or (self.seconds and got / self.rate_hz < self.seconds - _MISSING_SECONDS):
            raise CannotDecode(f"is cut off: {got / self.rate_hz:.2f} of {self.seconds:.2f} s are there")


def _check_asf(file: BinaryIO) -> None:
    """Raise CannotDecode where a Windows Media file is shorter than it says; its duration is only rounded."""
    head = file.read(1 << 12)
    there = file.seek(0, SEEK_END)
    file.seek(0)
    at = head.find(_ASF_PROPERTIES)
    size = int.from_bytes(head[at + 40 : at + 48], "little") if head.startswith(_MAGIC[2][1]) and at >= 0 else 0
    if there < size:
        raise CannotDecode(f"is cut off: {there} of {size} bytes are there")


@contextmanager
def opened(file: BinaryIO) -> Iterator[Audio]:
    """Open a file with PyAV.

    Raises:
        CannotDecode: it cannot be opened.
    """
    import av

    _check_asf(file)
    try:
        container = av.open(file)
    except av.FFmpegError as error:
        raise CannotDecode(
            f"cannot be decoded ({error.strerror}): it is cut off, damaged or of another kind"
        ) from error
    with container:
        yield Audio(container)
