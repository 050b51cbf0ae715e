"""What a container's bytes say against what its header says: a header is a claim.

`examine` refuses what is cut off or damaged, and says how all samples of a file are heard whose header counts too few.
libsndfile, and DALI with it, believes the header.
"""

from typing import BinaryIO

from . import chunks, flac, flat, mpeg, ogg
from .flat import LENGTHLESS
from .layout import Bytes, Damaged, Layout, opened

__all__ = ["LENGTHLESS", "Damaged", "Layout", "examine", "opened"]


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
    head = file.at(0, 32)
    if head[:4] == b"OggS":
        return ogg.examine(file)
    if family := chunks.family_of(head):
        return chunks.examine(file, family)
    examiner = flat.examiner_of(head)
    return Layout() if examiner is None else examiner(file)
