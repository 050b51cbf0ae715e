"""Ogg (RFC 3533): every page's checksum, no page missing, the last one there; and several streams in one file."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from .layout import Bytes, Damaged, Layout

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_BUFFER = 1 << 20


@dataclass(frozen=True)
class _Page:
    start: int
    end: int
    flags: int
    serial: int
    number: int


def examine(file: Bytes) -> Layout:
    """Whether a file holds whole streams, and where each of several that follow each other begins.

    Raises:
        Damaged: a page whose checksum is wrong, that is missing, or that is cut off; a stream without its last page.
    """
    links: list[int] = []
    open_streams: dict[int, int] = {}  # serial: number of the last page
    ended = 0
    for page in _pages(file):
        if page.flags & _FIRST:
            if not open_streams:
                links.append(page.start)
            open_streams[page.serial] = page.number
        elif page.serial not in open_streams:
            raise Damaged("is damaged: an Ogg page belongs to no stream")
        elif page.number != open_streams[page.serial] + 1:
            raise Damaged(f"is damaged: Ogg page {open_streams[page.serial] + 1} is missing")
        open_streams[page.serial] = page.number
        if page.flags & _LAST:
            del open_streams[page.serial]
        ended = page.end
    if open_streams:
        raise Damaged("is cut off: the last page of the Ogg stream is missing")
    if len(links) < 2:
        return Layout()
    spans = zip(links, [*links[1:], ended], strict=True)
    return Layout(
        tuple(((start, end),) for start, end in spans), f"holds {len(links)} Ogg streams in a row; all are heard"
    )


def _pages(file: Bytes) -> Iterator[_Page]:
    at = 0
    while at < file.size:
        block = file.at(at, _BUFFER)
        here = 0
        while here < len(block):
            head = block[here : here + 27]
            if head[:4] != b"OggS":
                if at + here == 0 or _comes_again(file, at + here):
                    raise Damaged("is damaged: bytes between its Ogg pages are no page")
                if file.only_zeros(at + here) or not head.startswith(b"O"):
                    return  # a tag of another program behind the end
                return
            lacing = block[here + 27 : here + 27 + head[26]] if len(head) == 27 else b""
            length = 27 + len(lacing) + sum(lacing)
            if len(head) < 27 or len(lacing) < head[26] or here + length > len(block):
                if at + len(block) >= file.size:
                    raise Damaged("is cut off: the last page of the Ogg stream is missing")
                break  # at the end of the buffer
            page = block[here : here + length]
            if _checksum(page) != int.from_bytes(page[22:26], "little"):
                raise Damaged("is damaged: the checksum of an Ogg page is wrong")
            serial, number = (int.from_bytes(page[i : i + 4], "little") for i in (14, 18))
            yield _Page(at + here, at + here + length, page[5], serial, number)
            here += length
        at += here


def _comes_again(file: Bytes, at: int) -> bool:
    """Whether a page begins further on."""
    while at < file.size:
        block = file.at(at, _BUFFER)
        if b"OggS" in block:
            return True
        at += max(1, len(block) - 3)
        if len(block) < 4:
            return False
    return False


def _checksum(page: bytes) -> int:
    """Ogg's CRC-32 counts the highest bit first and starts at 0; zlib's is the mirror image, inverted at both ends."""
    mirrored = (page[:22] + bytes(4) + page[26:]).translate(_MIRRORED)
    value = zlib.crc32(mirrored, 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(value.to_bytes(4, "little").translate(_MIRRORED), "big")
