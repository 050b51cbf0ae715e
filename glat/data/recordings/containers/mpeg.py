"""MPEG audio (MP3): the frames are counted, whatever the counting frame at the start says."""

import struct
from dataclasses import dataclass

from .layout import Bytes, Damaged, Layout, Segment, patched

_BITRATES = {  # kbit/s by (MPEG version 1, layer)
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44_100, 48_000, 32_000)
_BUFFER = 1 << 18
_FAR = 1 << 16  # bytes between a tag and the first frame
_LONGEST_TAG = 1 << 24
_ENOUGH = 4  # frames in a row, of bytes that should be none
_DELAY_FRAMES = 6


@dataclass(frozen=True)
class _Frame:
    size: int  # bytes
    rate_hz: int
    layer: int
    is_first_version: bool
    is_mono: bool
    header: bytes

    @property
    def tag_at(self) -> int:
        """Where a counting frame's tag stands: behind the header and the empty side information."""
        if self.is_first_version:
            return 4 + (17 if self.is_mono else 32)
        return 4 + (9 if self.is_mono else 17)

    def least_samples(self, frames: int) -> int:
        """What so many frames decode to, less what encoders note as their delay and padding."""
        samples = 384 if self.layer == 1 else 1152 if self.layer == 2 or self.is_first_version else 576
        return max(0, frames - _DELAY_FRAMES) * samples

    def follows(self, other: "_Frame") -> bool:
        return (self.rate_hz, self.layer, self.is_first_version) == (
            other.rate_hz,
            other.layer,
            other.is_first_version,
        )


def frame_of(head: bytes) -> _Frame | None:
    """The frame whose header four bytes are, if they are one; not of free bit rates."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer_code = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate_code, rate_code = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer_code == 0 or bitrate_code in (0, 15) or rate_code == 3 or head[3] & 3 == 2:
        return None
    layer, first = 4 - layer_code, version == 3
    bitrate = 1000 * _BITRATES[first, layer][bitrate_code]
    rate = _RATES_HZ[rate_code] // {3: 1, 2: 2, 0: 4}[version]
    padding = head[2] >> 1 & 1
    if layer == 1:
        size = (12 * bitrate // rate + padding) * 4
    else:
        size = (144 if layer == 2 or first else 72) * bitrate // rate + padding
    return _Frame(size, rate, layer, first, head[3] >> 6 == 3, head)


def begins(file: Bytes, start: int) -> bool:
    """Whether MPEG frames begin there: two in a row, or one that is the whole file."""
    frame = frame_of(file.at(start, 4))
    if frame is None:
        return False
    following = frame_of(file.at(start + frame.size, 4))
    return start + frame.size >= file.size or (following is not None and following.follows(frame))


def search(file: Bytes, start: int) -> int | None:
    """Where the first of two frames in a row begins, not far behind `start`."""
    block = file.at(start, _FAR)
    at = -1
    while (at := block.find(b"\xff", at + 1)) >= 0:
        if begins(file, start + at):
            return start + at
    return None


def search_before(file: Bytes, first: int) -> int:
    """Where the frames begin that lead to the one at `first`: inside a tag that claims more bytes than it has."""
    low = max(0, first - _LONGEST_TAG)
    before, sync, at = file.at(low, first - low), file.at(first, 2), -1
    while (at := before.find(sync, at + 1)) >= 0:
        here, frames = at, 0
        while here < len(before) and (frame := frame_of(before[here : here + 4])) is not None:
            here, frames = here + frame.size, frames + 1
        if here == len(before) and frames >= _ENOUGH:
            return low + at
    return first


def examine_from(file: Bytes, first: int, remark: str | None) -> Layout:
    """As `examine`, of frames that begin elsewhere than the tags before them say.

    Args:
        first: of the frames.
        remark: what is wrong with the bytes before.
    """
    layout = examine(file, first)
    # From the first frame on: a decoder would step over a tag as it counts itself.
    segments: list[Segment] = []
    for part in layout.views[0] if layout.views else ((first, file.size),):
        segments.append(part if isinstance(part, bytes) else (max(first, part[0]), part[1]))
    return Layout((tuple(segments),), "; ".join(filter(None, (layout.remark, remark))) or None, layout.least_samples)


def examine(file: Bytes, start: int) -> Layout:
    """How many frames there are.

    Args:
        start: of the first frame, behind the ID3v2 tags.

    Raises:
        Damaged: the last frame is cut off; bytes between frames that are none; fewer frames than are counted.
    """
    frames, first = _count(file, start)
    tag_at = start + first.tag_at
    tag = file.at(tag_at, 12)
    if tag[:4] in (b"Xing", b"Info"):
        flags, claimed = struct.unpack(">2I", tag[4:])
        field_at = tag_at + 8 if flags & 1 else None
    else:
        vbri = file.at(start + 36, 18)
        claimed = int.from_bytes(vbri[14:18], "big") if vbri[:4] == b"VBRI" else 0
        field_at = start + 50 if vbri[:4] == b"VBRI" else None
        if field_at is None:
            tag = _counting_frame(first, frames)
            return Layout(((tag, (start, file.size)),) if tag else (), None, first.least_samples(frames))
    frames -= 1  # the counting frame holds no sound
    least = first.least_samples(frames)
    if field_at is None:
        return Layout(least_samples=least)
    if claimed > frames + 1:
        raise Damaged(f"is cut off: {frames} of {claimed} MPEG frames are there")
    if claimed in (frames, frames + 1):
        return Layout(least_samples=least)
    return Layout(
        (patched(file.size, (field_at, struct.pack(">I", frames))),),
        f"its header counts {claimed} of {frames} MPEG frames; all are heard",
        least,
    )


def _counting_frame(first: _Frame, frames: int) -> bytes:
    """A frame that counts those which follow: without one, libmpg123 guesses their number and stops there."""
    if first.layer != 3:
        return b""
    header = bytes([first.header[0], first.header[1] | 1, *first.header[2:]])  # without a checksum
    room = frame_of(header)
    needed = first.tag_at + 12
    if room is None or room.size < needed:  # a bit rate with room for the tag
        header = bytes([header[0], header[1], header[2] & 0x0F | 0x90, header[3]])
        room = frame_of(header)
        assert room is not None
    body = header + bytes(first.tag_at - 4) + b"Xing" + struct.pack(">2I", 1, frames)
    return body.ljust(room.size, b"\0")


def _count(file: Bytes, start: int) -> tuple[int, _Frame]:
    """How many frames there are, and the first one."""
    first = frame_of(file.at(start, 4))
    assert first is not None
    at, frames = start, 0
    base, buffer = start, file.at(start, _BUFFER)
    sizes: dict[bytes, int] = {}  # of frames that follow the first, by header: a file has a few dozen of them
    while at < file.size:
        if at + 4 > base + len(buffer) and base + len(buffer) < file.size:
            base, buffer = at, file.at(at, _BUFFER)
        head = buffer[at - base : at - base + 4]
        size = sizes.get(head)
        if size is None and (frame := frame_of(head)) is not None and frame.follows(first):
            size = sizes[head] = frame.size
        if size is None:
            behind = _behind_tags(file, at)
            if behind is None:
                break
            at = behind
            base, buffer = at, file.at(at, _BUFFER)
            continue
        if at + size > file.size:
            raise Damaged("is cut off within its last MPEG frame")
        at += size
        frames += 1
    return frames, first


def _behind_tags(file: Bytes, at: int) -> int | None:
    """Where frames may go on behind a tag; None at the end.

    Raises:
        Damaged: bytes that are neither a frame nor a tag, with frames behind them or at the end.
    """
    head = file.at(at, 32)
    if head[:3] == b"ID3" and len(head) >= 10:
        return at + 10 + synchsafe(head[6:10]) + (10 if head[5] & 0x10 else 0)
    if head[:3] == b"TAG" and file.size - at <= 128 + 227:
        return None
    if head[:8] == b"APETAGEX" and len(head) >= 32:
        size, _, flags = struct.unpack("<3I", head[12:24])
        return at + max(32, size + (32 if flags & 1 << 29 else 0))
    if head[:11] == b"LYRICSBEGIN" or file.only_zeros(at):
        return None
    raise Damaged(f"is damaged: byte {at} begins neither an MPEG frame nor a tag")


def synchsafe(field: bytes) -> int:
    """ID3's sizes: seven bits a byte."""
    return sum((byte & 0x7F) << 7 * (3 - i) for i, byte in enumerate(field))
