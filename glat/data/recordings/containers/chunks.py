"""Containers of chunks (WAV, RF64, W64, AIFF, CAF, SVX): is the chunk of samples as long as it says?"""

import struct
from dataclasses import dataclass, field

from .layout import Bytes, Damaged, Layout, Segment, patched

# What programs write for a length that they do not know yet: 0xFFFFFFFF and 0x7FFFF000 and their neighbours.
_STREAMED = ((0x7FFF_0000, 0x8000_0000), (0xFFFF_0000, 0xFFFF_FFFF))
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")  # behind the samples, outside every chunk
_KNOWN = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"JUNK", b"junk", b"cue ", b"smpl", b"PEAK", b"_PMX", b"PAD ")
_LEAST_SECONDS = 0.5  # undeclared bytes of less are taken for something else than sound
_LONGEST_HEADER = 64  # bytes of a chunk that describes the samples


@dataclass(frozen=True)
class Family:
    """How one container writes its chunks."""

    first: int  # offset of the first chunk
    id_bytes: int
    size: struct.Struct
    data: bytes  # how the id of the samples' chunk begins
    whole: tuple[int, int] | None  # where the size of the whole file stands, and the bytes it does not count
    skip: int = 0  # bytes before the samples in their chunk
    counts_header: bool = False  # the size of a chunk includes its header
    align: int = 2
    readers_stop: bool = True  # libsndfile takes what follows the samples for no samples

    @property
    def header(self) -> int:
        return self.id_bytes + self.size.size

    def means_unknown(self, size: int) -> bool:
        """Whether a size is one of those that stand for no size."""
        if self.size.size == 8:
            return size == -1 or size >= 1 << 62
        return any(low <= size <= high for low, high in _STREAMED)


@dataclass
class _Samples:
    """The chunk of samples and what is said of it."""

    start: int  # of the samples
    claimed: int | None  # bytes; None: all that follow
    size_at: int  # where `claimed` stands
    size: struct.Struct
    bytes_per_second: int = 44_100
    expected: int | None = None  # bytes, as the number of samples and their width say
    frames: int = 0  # where the container counts what a decoder must give
    unpadded: list[int] = field(default_factory=list)  # chunks that begin where the padding of another should be


_LE32, _BE32, _LE64, _BE64 = (struct.Struct(code) for code in ("<I", ">I", "<Q", ">q"))
_RIFF = Family(12, 4, _LE32, b"data", (4, 8))
_RIFX = Family(12, 4, _BE32, b"data", (4, 8))
_AIFF = Family(12, 4, _BE32, b"SSND", (4, 8), skip=8)
_SVX = Family(12, 4, _BE32, b"BODY", (4, 8), readers_stop=False)
_W64 = Family(40, 16, _LE64, b"data\xf3\xac\xd3\x11", (16, 0), counts_header=True, align=8, readers_stop=False)
_CAF = Family(8, 4, _BE64, b"data", None, skip=4, align=1)
_W64_MAGIC = b"riff\x2e\x91\xcf\x11"
# Bytes a sample by AIFF-C's names of encodings; None: as its number of bits says.
_AIFF_BYTES = {
    **dict.fromkeys((b"NONE", b"none", b"twos", b"sowt", b"raw "), None),
    **dict.fromkeys((b"fl32", b"FL32", b"in32"), 4),
    **dict.fromkeys((b"alaw", b"ALAW", b"ulaw", b"ULAW"), 1),
    b"fl64": 8,
    b"FL64": 8,
    b"in24": 3,
}


def family_of(head: bytes) -> Family | None:
    """Of a file by its first 16 bytes."""
    magic, form = head[:4], head[8:12]
    if form == b"WAVE" and magic in (b"RIFF", b"RF64", b"RIFX"):
        return _RIFX if magic == b"RIFX" else _RIFF
    if magic == b"FORM" and form in (b"AIFF", b"AIFC", b"8SVX", b"16SV"):
        return _AIFF if form.startswith(b"AIF") else _SVX
    if head[:8] == _W64_MAGIC:
        return _W64
    return _CAF if magic == b"caff" else None


def examine(file: Bytes, family: Family) -> Layout:
    """Where the samples end.

    Raises:
        Damaged: no chunk of samples; fewer bytes than it says; bytes behind it that are neither a chunk, a tag nor the
            rest of a recording whose header was never finished; a header that contradicts itself.
    """
    found = _find_samples(file, family)
    start, claimed = found.start, found.claimed
    there = file.size - start
    if claimed is None:
        if found.size.size == 4:
            return Layout(least_samples=found.frames)
        # In 64 bits, where libsndfile takes "unknown" for a number.
        whole = there + (0 if found.size is not family.size else family.skip + family.header * family.counts_header)
        return Layout((patched(file.size, (found.size_at, found.size.pack(whole))),), None, found.frames)
    if claimed > there:
        raise Damaged(f"is cut off: {max(0, there)} of {claimed} bytes of samples are there")
    if found.expected and claimed and not -2 < claimed - found.expected < 2:
        raise Damaged(f"counts samples of {found.expected} bytes and holds {claimed} bytes of them")
    end = start + claimed
    padded = end + -(claimed + family.skip) % family.align
    if file.size <= padded:
        return Layout(_padded(file, found.unpadded), least_samples=found.frames)
    if _is_no_sound(file, family, padded) or _is_no_sound(file, family, end):
        return Layout(() if family.readers_stop else (patched(end),), None, found.frames)
    extra = file.size - end
    if family.size.size == 4 and extra >> 32:  # longer than 32 bits can say
        rest = end + (extra >> 32 << 32)
        extra = rest - end if _is_no_sound(file, family, rest + rest % family.align) else extra
    elif claimed and (extra < _LEAST_SECONDS * found.bytes_per_second or not _was_left(file, family, padded)):
        raise Damaged(f"has {extra} bytes behind its samples that are no chunk: one of its sizes is wrong")
    total = claimed + extra
    size = total + family.skip + (family.header if family.counts_header else 0)
    if found.size.size == 4 and size >= _STREAMED[0][0]:
        size = 0xFFFF_FFFF  # all that follows
    view = patched(start + total, (found.size_at, found.size.pack(size)))
    if family is _RIFF and found.size.size == 4 and total >> 32:
        view = _as_rf64(start, total)
    return Layout(
        (view,),
        f"its header counts {claimed} of {total} bytes of samples, as of a recording that was not finished; "
        "all are heard",
    )


def _padded(file: Bytes, unpadded: list[int]) -> tuple[tuple[Segment, ...], ...]:
    """A view with the padding that libsndfile wants; none where nothing is missing."""
    if not unpadded:
        return ()
    begins = [0, *unpadded]
    parts = [(segment, b"\0") for segment in zip(begins, [*unpadded, file.size], strict=True)]
    return (tuple(part for pair in parts for part in pair)[:-1],)


def _as_rf64(start: int, total: int) -> tuple[Segment, ...]:
    """A WAV file of more than 4 GiB in the container that is for these."""
    wide = b"ds64" + struct.pack("<IQQQI", 28, start + total + 36 - 8, total, 0, 0)
    unknown = b"\xff" * 4
    return (b"RF64" + unknown + b"WAVE" + wide, (12, start - 4), unknown, (start, start + total))


def _find_samples(file: Bytes, family: Family) -> _Samples:
    at, found = family.first, _Samples(0, 0, 0, family.size)
    wide_at: int | None = None
    while True:
        head = file.at(at, family.header)
        if len(head) < family.header:
            raise Damaged("is cut off before its samples, or has none")
        kind, (size,) = head[: family.id_bytes], family.size.unpack(head[family.id_bytes :])
        inside = at + family.header
        if kind.startswith(family.data):
            break
        if kind == b"ds64":
            wide_at = inside + 8
        size -= family.header if family.counts_header else 0
        if size < 0:
            raise Damaged("has a chunk of a size below 0: its header is damaged")
        _note_format(kind[:4], file.at(inside, min(size, _LONGEST_HEADER)), family, found)
        at = inside + size + -size % family.align
        if family.align == 2 and size % 2 and not _is_id(file.at(at, 4)) and _is_id(file.at(at - 1, 4)):
            at -= 1  # programs that leave the padding out
            found.unpadded.append(at)
    found.start, found.size_at = inside + family.skip, at + family.id_bytes
    if family is _RIFF and size == 0xFFFF_FFFF and wide_at is not None:
        (size,), found.size_at, found.size = _LE64.unpack(file.at(wide_at, 8).ljust(8, b"\0")), wide_at, _LE64
        found.claimed = None if size >> 63 else size
    elif family.means_unknown(size) and size != file.size - inside:
        found.claimed = None
    else:
        found.claimed = max(0, size - family.skip - (family.header if family.counts_header else 0))
    return found


def _note_format(kind: bytes, chunk: bytes, family: Family, found: _Samples) -> None:
    """What a chunk says of the samples.

    Raises:
        Damaged: its numbers contradict each other.
    """
    if kind == b"fmt " and len(chunk) >= 16 and family in (_RIFF, _RIFX, _W64):
        order = ">" if family is _RIFX else "<"
        tag, channels, rate, found.bytes_per_second, frame, bits = struct.unpack(order + "2H2I2H", chunk[:16])
        if tag == 0xFFFE and len(chunk) >= 26:
            (tag,) = struct.unpack(order + "H", chunk[24:26])
        if tag in (1, 3, 6, 7):
            _check_width(channels, bits, frame)
            other = found.bytes_per_second // max(1, frame)
            if other != rate and rate % 25 and other % 25 == 0:
                raise Damaged(f"says two sample rates, {rate} and {other} Hz")
    elif kind == b"COMM" and len(chunk) >= 18:
        channels, frames, bits = struct.unpack(">HIH", chunk[:8])
        coding = chunk[18:22] or b"NONE"
        if coding in _AIFF_BYTES:
            found.expected = frames * channels * (_AIFF_BYTES[coding] or -(-bits // 8))
    elif kind == b"desc" and len(chunk) >= 32 and chunk[8:12] == b"lpcm":
        frame, _, channels, bits = struct.unpack(">4I", chunk[16:32])
        _check_width(channels, bits, frame)
    elif kind == b"pakt" and family is _CAF and len(chunk) >= 16:
        found.frames = struct.unpack(">q", chunk[8:16])[0]


def _check_width(channels: int, bits: int, frame: int) -> None:
    width, rest = divmod(frame, channels) if channels else (0, 1)
    if rest or bits > 8 * width or (8 * width - bits >= 8 and bits not in (0, 12, 20, 24)):
        raise Damaged(f"says {channels} channels of {bits} bits in {frame} bytes: its header is damaged")


def _is_id(kind: bytes) -> bool:
    return len(kind) == 4 and all(0x20 <= byte < 0x7F for byte in kind)


def _is_no_sound(file: Bytes, family: Family, at: int) -> bool:
    """Whether what follows, up to the end, is chunks, a tag or zeros; the last chunk may be cut off."""
    while file.size - at >= family.header:
        head = file.at(at, family.header)
        (size,) = family.size.unpack(head[family.id_bytes :])
        size -= family.header if family.counts_header else 0
        if not _is_id(head[:4]) or size < 0 or (size > file.size - at - family.header and head[:4] not in _KNOWN):
            break
        at += family.header + size + -size % family.align
    return at >= file.size or file.at(at, 11).startswith(_TAGS) or file.only_zeros(at)


def _was_left(file: Bytes, family: Family, end: int) -> bool:
    """Whether the size of the whole file, too, is from a time before its end."""
    if family.whole is None:
        return True
    at, misses = family.whole
    (whole,) = family.size.unpack(file.at(at, family.size.size))
    return whole + misses <= end or family.means_unknown(whole)
