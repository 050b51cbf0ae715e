"""Containers with one header and the samples behind it: does the file hold as many bytes as its header says?"""

import re
import struct
from collections.abc import Callable

from .layout import Bytes, Damaged, Layout, patched

# libsndfile's names of those that state no length: a cut file cannot be told from a whole one.
LENGTHLESS = frozenset({"IRCAM", "PAF", "PVF", "XI"})
_MAT4_BYTES = {0: 8, 1: 4, 2: 4, 3: 2, 4: 2, 5: 1}
_UNKNOWN = 0xFFFF_FFFF


def examiner_of(head: bytes) -> Callable[[Bytes], Layout] | None:
    """What looks at a file, by its first bytes."""
    for magic, examine in _BY_MAGIC:
        if head.startswith(magic):
            return examine
    return _mat4 if head[:4] in (b"\0\0\0\0", b"\0\0\x03\xe8") and head[4:8] in (b"\1\0\0\0", b"\0\0\0\1") else None


def _settled(file: Bytes, end: int) -> Layout:
    """The layout of a file whose samples should end at `end`.

    Raises:
        Damaged: they cannot, or something follows that is not empty.
    """
    if file.size < end:
        raise Damaged(f"is cut off: {file.size} of {end} bytes are there")
    if file.size == end:
        return Layout()
    if not file.only_zeros(end):
        raise Damaged(f"has {file.size - end} bytes more than its header says")
    return Layout((patched(end),))  # libsndfile would take what follows for samples


def _au(file: Bytes) -> Layout:
    head = file.at(0, 20)
    order = ">" if head[:4] == b".snd" else "<"
    if len(head) < 20:
        raise Damaged("is cut off within its header")
    start, size, _, rate = struct.unpack(order + "4I", head[4:20])
    there = file.size - start
    if size == _UNKNOWN:
        return Layout()
    if size >= there:
        return _settled(file, start + size)
    if file.only_zeros(start + size) and size:
        return Layout((patched(start + size),))
    if size and there - size < rate // 2:
        raise Damaged(f"has {there - size} bytes more than its header says")
    return Layout(
        (patched(file.size, (8, struct.pack(order + "I", min(there, _UNKNOWN)))),),
        f"its header counts {size} of {there} bytes of samples, as of a recording that was not finished; all are heard",
    )


def _avr(file: Bytes) -> Layout:
    head = file.at(0, 128)
    if len(head) < 128:
        raise Damaged("is cut off within its header")
    stereo, bits = struct.unpack(">HH", head[12:16])
    (frames,) = struct.unpack(">I", head[26:30])
    return _settled(file, 128 + frames * (2 if stereo else 1) * (bits // 8))


def _nist(file: Bytes) -> Layout:
    head = file.at(0, 1 << 16)
    lines = head[: head.find(b"end_head")].decode("latin-1")
    fields = dict(re.findall(r"^(\w+) -(?:i|s\d+) (\d+)", lines, re.MULTILINE))
    start = re.match(r"NIST_1A\s+(\d+)", lines)
    if start is None or "sample_count" not in fields:
        raise Damaged("does not say how many samples it holds")
    frame = int(fields.get("channel_count", 1)) * int(fields.get("sample_n_bytes", 2))
    return _settled(file, int(start[1]) + int(fields["sample_count"]) * frame)


def _mpc2k(file: Bytes) -> Layout:
    head = file.at(0, 42)
    if len(head) < 42:
        raise Damaged("is cut off within its header")
    (frames,) = struct.unpack("<I", head[30:34])
    return _settled(file, 42 + frames * 2 * (2 if head[21] else 1))


def _wve(file: Bytes) -> Layout:
    head = file.at(0, 32)
    if len(head) < 32:
        raise Damaged("is cut off within its header")
    return _settled(file, 32 + struct.unpack(">I", head[18:22])[0])


def _voc(file: Bytes) -> Layout:
    at = struct.unpack("<H", file.at(20, 2).ljust(2, b"\0"))[0]
    while kind := file.at(at, 1):
        if kind == b"\0":
            return _settled(file, at + 1)
        at += 4 + int.from_bytes(file.at(at + 1, 3), "little")
    return _settled(file, at)  # some programs leave the last mark out


def _mat4(file: Bytes) -> Layout:
    at, order = 0, "<"
    for matrix in range(2):  # the rate, then the samples
        head = file.at(at, 20)
        if len(head) < 20:
            raise Damaged("is cut off within its header")
        if matrix == 0 and head[:4] == b"\0\0\x03\xe8":  # a thousand stands for the highest byte first
            order = ">"
        kind, rows, columns, _, name = struct.unpack(order + "5I", head)
        at += 20 + name + rows * columns * _MAT4_BYTES.get(kind % 100 // 10, 1)
    return _settled(file, at)


def _mat5(file: Bytes) -> Layout:
    """Two matrices, the rate and the samples. The size of the second is wrong where libsndfile wrote it, so that of its
    samples counts."""
    order = ">" if file.at(126, 2) == b"MI" else "<"

    def element(at: int) -> tuple[int, int]:
        """Where an element's content starts and ends."""
        head = file.at(at, 8)
        if len(head) < 8:
            raise Damaged("is cut off within its header")
        kind, size = struct.unpack(order + "2I", head)
        return (at + 4, at + 8) if kind >> 16 else (at + 8, at + 8 + size)

    at = element(128)[1]
    at = element(at)[0]
    for _ in range(3):  # flags, dimensions, name
        at = 8 * -(-element(at)[1] // 8)
    return _settled(file, element(at)[1])


_BY_MAGIC: tuple[tuple[bytes, Callable[[Bytes], Layout]], ...] = (
    (b".snd", _au),
    (b"dns.", _au),
    (b"2BIT", _avr),
    (b"NIST_1A", _nist),
    (b"\x01\x04", _mpc2k),
    (b"ALawSoundFile**", _wve),
    (b"Creative Voice File\x1a", _voc),
    (b"MATLAB 5.0 MAT-file", _mat5),
)
