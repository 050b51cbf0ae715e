"""Twelve classes of synthesised events, 50 ms to 8 s long, for the built-in soundscapes.

A weak model should confuse some of them: rising and falling chirps have the same average spectrum, an alarm is a row
of beeps, a bell is a beep that dies away, engine and hum share the low bins.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .portable_math import CYCLE, Draw, Floats, Ints, decay, fade, phase, sine, smooth

LEAST_RATE_HZ = 16_000  # chirps and crickets reach 6 500 Hz
_PEAK = 29_000  # largest int16 sample of an event
_HIGHEST = 0.45  # times the sampling rate; partials above are left out


def _tones(base: Ints, base_hz: float, partials: Sequence[tuple[float, float]], rate: int) -> Floats:
    """Sum of partials (multiple of the base frequency, amplitude) below `_HIGHEST`."""
    out = np.zeros(len(base))
    for multiple, amplitude in partials:
        if multiple * base_hz < _HIGHEST * rate:
            out += amplitude * sine(
                base * multiple if isinstance(multiple, int) else (base * multiple).astype(np.int64)
            )
    return out


def _gate(frequency_hz: float, duty: float, samples: int, rate: int) -> Floats:
    """1 for the share `duty` of every period, else 0, with edges of 4 ms; [samples]."""
    width = max(1, rate // 250)
    on = (phase(frequency_hz, samples + width - 1, rate) & (CYCLE - 1)) < int(duty * CYCLE)
    return smooth(on.astype(np.int64), width) / width


def _unit(x: Ints) -> Floats:
    return x / int(np.abs(x).max())


def _click(d: Draw, rate: int) -> Floats:
    n = int(d.uniform(0.05, 0.08) * rate)
    ring = sine(phase(d.uniform(1800, 5500), n, rate)) * decay(n, rate, d.uniform(0.004, 0.010))
    snap = d.noise(n) / 32768 * decay(n, rate, d.uniform(0.002, 0.006))
    return ring + d.uniform(0.3, 1.0) * snap


def _knock(d: Draw, rate: int) -> Floats:
    gap, blows = d.uniform(0.11, 0.24), d.integer(2, 5)
    pitch_hz, tau = d.uniform(140, 420), d.uniform(0.018, 0.045)
    n = int((blows * gap + 0.05) * rate)
    out = np.zeros(n)
    for blow in range(blows):
        start = int((blow + d.uniform(-0.12, 0.12) * (blow > 0)) * gap * rate)
        m = min(int(6 * tau * rate), n - start)
        body = sine(phase(pitch_hz, m, rate)) + 0.5 * sine(phase(2.31 * pitch_hz, m, rate))
        thud = d.noise(m) / 32768 * decay(m, rate, 0.004)
        out[start : start + m] += d.uniform(0.6, 1.0) * (body + 1.5 * thud) * decay(m, rate, tau)
    return out


def _beep(d: Draw, rate: int) -> Floats:
    n, pitch_hz = int(d.uniform(0.15, 0.7) * rate), d.uniform(700, 3200)
    partials = [(1, 1.0), (2, d.uniform(0, 0.4)), (3, d.uniform(0, 0.4))]
    return _tones(phase(pitch_hz, n, rate), pitch_hz, partials, rate) * fade(n, rate // 100, rate // 100)


def _chirp(d: Draw, rate: int, rising: bool) -> Floats:
    n = int(d.uniform(0.25, 1.0) * rate)
    low_hz = d.uniform(600, 1800)
    high_hz = low_hz * d.uniform(1.8, 3.5)
    t = np.arange(n) / n
    bend = d.uniform(-0.4, 0.4)
    course = t + bend * t * (1 - t)
    frequency_hz = low_hz + (high_hz - low_hz) * (course if rising else 1 - course)
    partials = [(1, 1.0), (2, d.uniform(0, 0.3))]
    return _tones(phase(frequency_hz, n, rate), high_hz, partials, rate) * fade(n, rate // 50, rate // 50)


def _bell(d: Draw, rate: int) -> Floats:
    n, pitch_hz = int(d.uniform(1.2, 3.0) * rate), d.uniform(500, 1600)
    tau = d.uniform(0.25, 0.7)
    out = np.zeros(n)
    for multiple, amplitude, damping in ((1.0, 1.0, 1.0), (2.0, 0.5, 0.7), (2.76, 0.6, 0.6), (5.4, 0.4, 0.3)):
        partial_hz = multiple * d.uniform(0.99, 1.01) * pitch_hz
        if partial_hz < _HIGHEST * rate:
            out += d.uniform(0.5, 1.0) * amplitude * sine(phase(partial_hz, n, rate)) * decay(n, rate, tau * damping)
    return out * fade(n, 1, rate // 10)


def _siren(d: Draw, rate: int) -> Floats:
    n = int(d.uniform(3.0, 6.0) * rate)
    low_hz = d.uniform(400, 700)
    high_hz = low_hz * d.uniform(1.6, 2.6)
    swing = 0.5 + 0.5 * sine(phase(d.uniform(0.3, 1.0), n, rate) + d.integer(0, CYCLE - 1))
    partials = [(1, 1.0), (2, d.uniform(0.1, 0.5)), (3, d.uniform(0.1, 0.5)), (4, d.uniform(0, 0.2))]
    tone = _tones(phase(low_hz + (high_hz - low_hz) * swing, n, rate), high_hz, partials, rate)
    return tone * fade(n, rate // 5, rate // 5)


def _alarm(d: Draw, rate: int) -> Floats:
    n, pitch_hz = int(d.uniform(1.5, 4.0) * rate), d.uniform(900, 3200)
    partials = [(1, 1.0), (2, d.uniform(0, 0.4)), (3, d.uniform(0, 0.4))]
    return _tones(phase(pitch_hz, n, rate), pitch_hz, partials, rate) * _gate(d.uniform(2.5, 8), 0.5, n, rate)


def _crickets(d: Draw, rate: int) -> Floats:
    n, pitch_hz = int(d.uniform(2.0, 5.0) * rate), d.uniform(3500, 6500)
    trill = np.maximum(sine(phase(d.uniform(22, 45), n, rate)), 0.0)
    return sine(phase(pitch_hz, n, rate)) * trill * _gate(d.uniform(1.5, 3.5), d.uniform(0.4, 0.7), n, rate)


def _hiss(d: Draw, rate: int) -> Floats:
    n = int(d.uniform(0.3, 1.3) * rate)
    width = max(2, int(d.uniform(3, 8) * rate / 32_000))
    white = d.noise(n + width - 1)
    high = white[:n] * width - smooth(white, width)  # a high-pass: the noise less its low-passed part
    return _unit(high) * fade(n, int(d.uniform(0.05, 0.4) * n), int(d.uniform(0.2, 0.6) * n))


def _engine(d: Draw, rate: int) -> Floats:
    n, pitch_hz = int(d.uniform(3.0, 7.0) * rate), d.uniform(28, 65)
    wobble = 1 + d.uniform(0.03, 0.12) * sine(phase(d.uniform(0.3, 2), n, rate))
    turning = phase(pitch_hz * wobble, n, rate)
    partials = [(k, d.uniform(0.3, 1.0) / (k if k > 4 else 3)) for k in range(1, 25)]
    width = max(2, rate // 900)
    rumble = _unit(smooth(smooth(d.noise(n + 2 * width - 2), width), width))
    firing = 0.6 + 0.4 * sine(turning >> 1)
    out = (_tones(turning, pitch_hz * 1.2, partials, rate) + d.uniform(0.5, 1.5) * rumble) * firing
    return out * fade(n, rate // 4, rate // 4)


def _hum(d: Draw, rate: int) -> Floats:
    n, pitch_hz = int(d.uniform(6.0, 8.0) * rate), d.uniform(90, 220)
    partials = [(k, d.uniform(0.1, 1.0) / k) for k in range(1, 8)]
    return _tones(phase(pitch_hz, n, rate), pitch_hz, partials, rate) * fade(n, rate // 3, rate // 3)


_MAKERS: dict[str, Callable[[Draw, int], Floats]] = {
    "alarm": _alarm,
    "beep": _beep,
    "bell": _bell,
    "chirp_down": lambda d, rate: _chirp(d, rate, rising=False),
    "chirp_up": lambda d, rate: _chirp(d, rate, rising=True),
    "click": _click,
    "crickets": _crickets,
    "engine": _engine,
    "hiss": _hiss,
    "hum": _hum,
    "knock": _knock,
    "siren": _siren,
}
CLASSES = tuple(_MAKERS)


def synthesise(label: int, draw: Draw, sample_rate_hz: int) -> NDArray[np.int16]:
    """One event of class `CLASSES[label]`; `draw` gives its pitch, length and rates. Needs `LEAST_RATE_HZ` or more.

    Returns:
        [S] int16, 50 ms to 8 s at `sample_rate_hz`, peak 29 000; the same bytes on every machine.
    """
    x = _MAKERS[CLASSES[label]](draw, sample_rate_hz)
    return (x * (_PEAK / float(np.abs(x).max()))).astype(np.int16)
