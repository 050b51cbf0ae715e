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
    if mpeg.begins(file, start) and not start:
        return mpeg.examine(file, start)
    if start and (layout := _tagged(file, start)) is not None:
        return layout
    head = file.at(0, 32)
    if head[:4] == b"OggS":
        return ogg.examine(file)
    if family := chunks.family_of(head):
        return chunks.examine(file, family)
    examiner = flat.examiner_of(head)
    if examiner is not None:
        return examiner(file)
    first = mpeg.search(file, 0)
    if first is None:
        return Layout()
    try:
        return mpeg.examine_from(file, first, _before_frames(file, 0, first))
    except Damaged:  # two frames by chance: no MP3 file
        return Layout()


def _tagged(file: Bytes, tagged: int) -> Layout | None:
    """The layout of MPEG frames behind ID3 tags that end at `tagged`, as they say; None where there are none.

    Programs write wrong sizes: eight bits a byte where seven are meant, those of another tag, without the padding.
    """
    first = mpeg.search(file, tagged)
    if first is None:
        first = mpeg.search(file, 10)
    elif (earlier := mpeg.search_before(file, first)) < tagged:
        first = earlier
    if first is None:
        return None
    if first == tagged:
        return mpeg.examine(file, first)
    if first < tagged:
        remark: str | None = f"its ID3 tag counts {tagged - first} bytes too many; all MPEG frames are heard"
    else:
        remark = _before_frames(file, tagged, first)
    return mpeg.examine_from(file, first, remark)


def _before_frames(file: Bytes, start: int, first: int) -> str | None:
    """What is odd about the bytes before the first frame: nothing, where they are zeros."""
    if file.only_zeros_in(start, first):
        return None
    return f"{first - start} bytes before its first MPEG frame are neither frame nor tag; they are left out"


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
