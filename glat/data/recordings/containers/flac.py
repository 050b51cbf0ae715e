"""FLAC: the number of samples in STREAMINFO against the number in the last frame's header."""

from .layout import Bytes, Damaged, Layout, patched

_TAIL = 1 << 17  # bytes searched for the last frame; 65 535 samples of 8 channels and 32 bits never take as many in use
_BLOCK_SAMPLES = {
    1: 192,
    **{code: 576 << (code - 2) for code in range(2, 6)},
    **{c: 256 << (c - 8) for c in range(8, 16)},
}
_RATES_HZ = dict(
    enumerate((88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000), start=1)
)
_POLYNOMIAL = 0x07
_SECOND = b"fLaC\0\0\0\x22"  # how a file begins, with its STREAMINFO


def examine(file: Bytes, start: int) -> Layout:
    """How many samples there are.

    Args:
        start: where ``fLaC`` stands: behind an ID3v2 tag, or 0.

    Raises:
        Damaged: no frame, or frames of fewer samples than STREAMINFO counts.
    """
    at = start + 4
    info = None
    while True:
        head = file.at(at, 4)
        if len(head) < 4:
            raise Damaged("is cut off within its header")
        size = int.from_bytes(head[1:], "big")
        if head[0] & 0x7F == 0 and info is None:
            info = (at + 4, file.at(at + 4, 18))
        at += 4 + size
        if head[0] & 0x80:
            break
    if info is None or len(info[1]) < 18:
        raise Damaged("has no STREAMINFO block: its header is damaged")
    info_at, fields = info
    begins = [start]
    while (again := file.find(_SECOND, max(at, begins[-1] + 1))) is not None:
        begins.append(again)
    if len(begins) > 1:
        spans = zip(begins, [*begins[1:], file.size], strict=True)
        return Layout(tuple((span,) for span in spans), f"holds {len(begins)} FLAC files in a row; all are heard")
    total = int.from_bytes(fields[13:18], "big") & 0xF_FFFF_FFFF
    fixed_samples = int.from_bytes(fields[:2], "big")
    found = _last_sample(file, at, fixed_samples, fields)
    if found is None:
        raise Damaged("is cut off: no frame follows its header" if file.size <= at else "is damaged: no frame is whole")
    if found < total:
        raise Damaged(f"is cut off: {found} of {total} samples are there")
    if found == total:
        return Layout()
    said = "does not say its length" if total == 0 else f"counts {total} of {found} samples"
    right = bytes([fields[13] & 0xF0 | found >> 32]) + (found & 0xFFFF_FFFF).to_bytes(4, "big")
    return Layout((patched(file.size, (info_at + 13, right)),), f"its header {said}; all are heard")


def _last_sample(file: Bytes, first_frame: int, fixed_samples: int, info: bytes) -> int | None:
    """The sample behind the last frame; None where no frame's header is whole."""
    start = max(first_frame, file.size - _TAIL)
    tail = file.at(start, file.size - start)
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        if tail[at + 1 : at + 2] in (b"\xf8", b"\xf9") and (end := _frame_end(tail[at : at + 16], fixed_samples)):
            rate_code, rate = tail[at + 2] & 15, int.from_bytes(info[10:13], "big") >> 4
            if _RATES_HZ.get(rate_code, rate) != rate:
                raise Damaged(f"says two sample rates, {rate} and {_RATES_HZ[rate_code]} Hz")
            return end
    return None


def _frame_end(head: bytes, fixed_samples: int) -> int | None:
    """The sample behind the frame that a header begins; None where the bytes are no header."""
    if len(head) < 6:
        return None
    block_code, rate_code, sample_code = head[2] >> 4, head[2] & 15, head[3] >> 1 & 7
    if block_code == 0 or rate_code == 15 or sample_code == 3 or head[3] & 1 or head[3] >> 4 > 10:
        return None
    ones = f"{head[4]:08b}".find("0")  # the number is coded as UTF-8 codes characters
    if ones in (-1, 1):
        return None
    length = max(1, ones)
    value = head[4] & (0x7F >> ones)
    for byte in head[5 : 4 + length]:
        if byte >> 6 != 2:
            return None
        value = value << 6 | byte & 0x3F
    at = 4 + length
    samples = _BLOCK_SAMPLES.get(block_code, 0)
    if block_code in (6, 7):
        width = block_code - 5
        samples = int.from_bytes(head[at : at + width], "big") + 1
        at += width
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at >= len(head) or _checksum(head[:at]) != head[at]:
        return None
    first = value if head[1] & 1 else value * fixed_samples
    return first + samples


def _checksum(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ _POLYNOMIAL) & 0xFF if value & 0x80 else value << 1
    return value
