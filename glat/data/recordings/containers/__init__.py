"""What a container's bytes say against what its header says: a header is a claim.

`examine` refuses what is cut off or damaged, and says how all samples of a file are heard whose header counts too few.
libsndfile, and DALI with it, believes the header.
"""

from pathlib import Path
from typing import BinaryIO

from . import chunks, flac, flat, mpeg, ogg
from .flat import LENGTHLESS
from .layout import Bytes, Damaged, Layout, opened

__all__ = ["LENGTHLESS", "Damaged", "Layout", "examine", "looks_like_audio", "opened"]

_WEAK_MAGIC = (b"\x01\x04", b"\0\0", b"MATLAB")  # of MPC2K and MAT files: other data begins so, too


def examine(stream: BinaryIO) -> Layout:
    """Look at a file's structure, without decoding it; Ogg and MP3 are read whole, of others little more than headers.

    Args:
        stream: an open file; it is left at its start.

    Returns:
        How its samples are to be decoded. Of a container that is not known here: as it is.

    Raises:
        Damaged: the file is cut off, or its parts contradict each other.
    """
    try:
        return _examine(Bytes(stream))
    finally:
        stream.seek(0)


def _examine(file: Bytes) -> Layout:
    start = 0
    while (head := file.at(start, 32))[:3] == b"ID3" and len(head) >= 10:
        start += 10 + mpeg.synchsafe(head[6:10]) + (10 if head[5] & 0x10 else 0)
    if head[:4] == b"fLaC":
        return flac.examine(file, start)
    if mpeg.begins(file, start):
        return mpeg.examine(file, start)
    if start and (first := mpeg.search(file, start)) is not None:  # padding behind the ID3v2 tag
        return mpeg.examine(file, first)
    head = file.at(0, 32)
    if head[:4] == b"OggS":
        return ogg.examine(file)
    if family := chunks.family_of(head):
        return chunks.examine(file, family)
    examiner = flat.examiner_of(head)
    return Layout() if examiner is None else examiner(file)


def looks_like_audio(path: Path) -> bool:
    """Whether a file of any name begins as sound does."""
    try:
        with path.open("rb") as stream:
            file = Bytes(stream)
            head = file.at(0, 32)
            if head[:4] in (b"OggS", b"fLaC") or chunks.family_of(head) or mpeg.begins(file, 0):
                return True
            return flat.examiner_of(head) is not None and not head.startswith(_WEAK_MAGIC)
    except OSError:
        return False
