"""Numbers as people read them: three digits and a unit."""

import math


def three(x: float) -> str:
    """Three significant digits without an exponent: ``1290``, ``8.41``, ``0.084``."""
    if not math.isfinite(x) or x == 0:
        return f"{x:g}"
    return f"{x:.{max(0, 2 - math.floor(math.log10(abs(float(f'{x:.3g}')))))}f}"


def duration(seconds: float) -> str:
    """``8.41 ms``."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= scale:
            return f"{three(seconds / scale)} {unit}"
    return f"{three(seconds / 1e-6)} µs"


def amount(x: float, unit: str) -> str:
    """``61.4 GB/s`` of 6.14e10 and ``"B/s"``."""
    for scale, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= scale:
            return f"{three(x / scale)} {prefix}{unit}"
    return f"{three(x)} {unit}"
