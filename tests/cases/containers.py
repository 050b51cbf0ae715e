"""Sound files whose header is not what their bytes are, made of samples at hand."""

import io
import struct
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def sound(seconds=1.0, rate=RATE, seed=0, channels=1):
    """A tone in noise, as float64 [n] or [n, channels]."""
    n = round(seconds * rate)
    x = 0.4 * np.sin(2 * np.pi * 440 * np.arange(n) / rate) + 0.05 * np.random.default_rng(seed).uniform(-1, 1, n)
    return x if channels == 1 else np.stack([x * 0.9**c for c in range(channels)], 1)


def encoded(samples, kind="WAV", subtype="PCM_16", rate=RATE, **options):
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=subtype, **options)
    return stream.getvalue()


# WAV


def wav(samples, claimed=None, whole=None, behind=b"", rate=RATE):
    """Of 16 bits; `claimed`, `whole`: what the sizes of the data and of the file say; `behind`: what follows them."""
    body = (samples * 32_767).astype("<i2").tobytes()
    claimed = len(body) if claimed is None else claimed
    whole = 36 + claimed if whole is None else whole
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", whole, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return head + struct.pack("<4sI", b"data", claimed) + body + behind


def chunk(name=b"LIST", content=b"INFOICMT\x04\0\0\0abc\0", padded=True):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (padded and len(content) % 2)


def unpadded(samples, rate=RATE):
    """A chunk of odd length before the samples, and no padding behind it."""
    whole = wav(samples, rate=rate)
    odd = chunk(content=b"INFOx", padded=False)
    return whole[:4] + struct.pack("<I", len(whole) + len(odd) - 8) + whole[8:36] + odd + whole[36:]


# MP3


def mp3(samples, mode="VARIABLE"):
    return encoded(samples, "MP3", "MPEG_LAYER_III", 44_100, bitrate_mode=mode, compression_level=0.5)


def frame_bytes(data):
    bit_rate = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320][data[2] >> 4]
    return 144_000 * bit_rate // [44_100, 48_000, 32_000][(data[2] >> 2) & 3] + ((data[2] >> 1) & 1)


def uncounted(data):
    """Without the first frame, which counts the others."""
    return data[frame_bytes(data) :]


def miscounted(data, factor):
    """With a count of frames that is `factor` times as large."""
    counted = bytearray(data)
    at = max(counted.find(b"Xing"), counted.find(b"Info")) + 8
    counted[at : at + 4] = struct.pack(">I", round(int.from_bytes(counted[at : at + 4], "big") * factor))
    return bytes(counted)


def id3v2(size=200, claimed=None):
    """A tag of so many bytes, which may claim another number of them."""
    claimed = size if claimed is None else claimed
    return b"ID3\x04\0\0" + bytes(claimed >> shift & 127 for shift in (21, 14, 7, 0)) + bytes(size)


def id3v1():
    return b"TAG" + b"title".ljust(125, b"\0")


def ape(items=30):
    footer = b"APETAGEX" + struct.pack("<4I", 2000, items + 32, 1, 0) + bytes(8)
    header = b"APETAGEX" + struct.pack("<4I", 2000, items + 32, 1, 0xA000_0000) + bytes(8)
    return header + b"x" * items + footer


# FLAC, Ogg


def flac_with_total(data, total):
    changed = bytearray(data)
    changed[21], changed[22:26] = changed[21] & 0xF0, struct.pack(">I", total)
    return bytes(changed)


# Everything that libsndfile writes


def writable():
    """(container, encoding) of every kind of file that libsndfile writes and reads again."""
    odd = {("SD2", None), ("RAW", None)}  # two files in one, none with a header
    broken = {("AIFF", "DWVW_12"), ("AIFF", "DWVW_16"), ("AIFF", "DWVW_24"), ("WAV", "MPEG_LAYER_III")}
    unwritten = {("MP3", "MPEG_LAYER_I"), ("MP3", "MPEG_LAYER_II")}
    for kind in soundfile.available_formats():
        for subtype in soundfile.available_subtypes(kind):
            if not {(kind, None), (kind, subtype)} & (odd | broken | unwritten):
                yield kind, subtype


def damaged(data: bytes, count: int, rng: np.random.Generator, how: str):
    """`count` copies of a file, each cut at random or with one bit flipped."""
    for _ in range(count):
        if how == "cut":
            yield data[: int(rng.integers(1, len(data)))]
        else:
            bit = int(rng.integers(0, 8 * len(data)))
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            yield bytes(flipped)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
