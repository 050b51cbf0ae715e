"""Arithmetic that gives the same bits on every machine.

It uses only operations that are exact or correctly rounded everywhere: integers; + − × ÷ and square roots in float64;
running sums and products, whose order is fixed. It never uses sin, exp, pow or log, nor sums of floats by np.sum,
np.mean, np.dot or an FFT: their last bits depend on the processor. NumPy promises only the raw stream of PCG64 to stay
the same (NEP 19), so every draw is made from that.
"""

import math
from decimal import Context, Decimal
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

CYCLE = 1 << 32  # one turn of an integer phase
_TABLE_BITS = 14  # of the sine table: its steps lie 84 dB below the tone


class Draw:
    """Random numbers, a pure function of `key` (integers from 0)."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def _bits53(self) -> int:
        return int(self._bits.random_raw()) >> 11

    def integer(self, low: int, high: int) -> int:
        """Uniform on low, low + 1, ..., high."""
        return low + (self._bits53() * (high - low + 1) >> 53)

    def uniform(self, low: float, high: float) -> float:
        """Uniform on [low, high)."""
        return low + (high - low) * (self._bits53() / (1 << 53))

    def noise(self, samples: int) -> Ints:
        """White, uniform on ±32768; [samples] int64."""
        raw = self._bits.random_raw(-(-samples // 4))
        return raw.astype("<u8").view("<i2")[:samples].astype(np.int64)


def phase(frequency_hz: float | Floats, samples: int, sample_rate_hz: int) -> Ints:
    """Integer phase of a tone whose frequency may vary with time: `CYCLE` a turn; [samples] int64."""
    turns = np.asarray(frequency_hz * (CYCLE / sample_rate_hz)).astype(np.int64)
    return np.cumsum(np.broadcast_to(turns, samples))


def sine(phase: Ints) -> Floats:
    """sin(2π phase / CYCLE), to 1e-3."""
    return _SINE[(phase >> (32 - _TABLE_BITS)) & ((1 << _TABLE_BITS) - 1)]


def _sine_table() -> Floats:
    """One turn of the sine by its Taylor polynomial on a quarter turn (error below 4e-6)."""
    count = 1 << _TABLE_BITS
    turn = (np.arange(count) * 2 + 1 - count) / (2 * count)  # (−½, ½), shifted by half a turn
    quarter = np.where(np.abs(turn) > 0.25, np.copysign(0.5, turn) - turn, turn)
    x = quarter * -6.283185307179586  # the half turn of the shift flips the sign
    square = x * x
    poly: Any = 1 / 362880
    for coefficient in (-1 / 5040, 1 / 120, -1 / 6, 1.0):
        poly = poly * square + coefficient
    return np.asarray(poly * x)


_SINE = _sine_table()


def decay(samples: int, sample_rate_hz: int, tau_seconds: float) -> Floats:
    """Exponential decay with time constant `tau_seconds`; [samples], 1 at the start."""
    ratio = np.full(samples, 1 - 1 / (tau_seconds * sample_rate_hz))
    ratio[:1] = 1.0
    return np.multiply.accumulate(ratio)


def fade(samples: int, attack_samples: int, release_samples: int) -> Floats:
    """Straight ramps at both ends, 1 between; [samples], never 0."""
    i = np.arange(samples)
    ramps = np.minimum((i + 1) / max(1, attack_samples), (samples - i) / max(1, release_samples))
    return np.minimum(ramps, 1.0)


def smooth(x: Ints, width: int) -> Ints:
    """Sums over `width` neighbours (a low-pass); [S - width + 1] from [S]."""
    total = np.cumsum(x)
    out = total[width - 1 :].copy()
    out[1:] -= total[:-width]
    return out


def rms(x: NDArray[np.int16] | Ints) -> float:
    """Root mean square of at least one integer sample; their squares must add up to less than 2**63."""
    wide = x.astype(np.int64)
    return math.sqrt(int((wide * wide).sum()) / len(wide))


def gain(level_db: float) -> float:
    """10 ** (level_db / 20), in decimal arithmetic, which is the same everywhere."""
    return float(Context(prec=28).power(Decimal(10), Decimal(repr(float(level_db))) / 20))
