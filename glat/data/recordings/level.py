"""What of a recording can be heard: one rule for every command.

A recording is refused where it holds no sound (zeros, a constant, silence in 16 bits) or is on another scale than ±1.
Everything else is heard, and what is odd about it is said: samples at full scale, an offset, a faint recording,
channels that cancel when they are averaged.
"""

import numpy as np
from numpy.typing import NDArray

FULL_SCALE = 32_766.5 / 32_768  # what 16 bits cannot pass, whatever decoder
LOUDEST = 2.0  # of full scale: a decoder's overshoot stays below, samples on another scale do not
SILENT = "is silent (only zeros)"
SILENT_IN_16_BITS = "is silent in 16 bits"
CLIPPED_SHARE = 1e-3
CLIPPED = "it is clipped"
_FAINT = 1e-3  # of full scale: -60 dB
_OFFSET = 0.05  # of full scale
# Power of the average over what channels without anything in common leave; 1 also where one channel alone sounds.
CANCELLED = 0.1


class Meter:
    """Measures a recording block by block while it is averaged to mono."""

    def __init__(self, channel: int | None = None) -> None:
        """`channel`: take this one in place of the average."""
        self.channel = channel
        self.samples = 0
        self.clipped = 0  # samples, with any channel at full scale
        self._least, self._most = np.inf, -np.inf
        self._all_least, self._all_most = np.inf, -np.inf
        self._sum = 0.0
        self._mono_power = 0.0
        self._powers: NDArray[np.float64] | None = None

    def mono(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n] of a block [n, channels], measured."""
        if not len(block):
            return block[:, 0]
        least, most = float(block.min()), float(block.max())
        with np.errstate(over="ignore", invalid="ignore"):  # infinite samples are refused when all is measured
            mono_least, mono_most = least, most
            if block.shape[1] == 1:
                mono = block[:, 0]
            else:
                mono = _average(block) if self.channel is None else np.ascontiguousarray(block[:, self.channel])
                powers = np.array([np.dot(channel, channel) for channel in block.T], np.float64)
                self._powers = powers if self._powers is None else self._powers + powers
                self._mono_power += float(np.dot(mono, mono))
                mono_least, mono_most = float(mono.min()), float(mono.max())
            if most >= FULL_SCALE or least <= -FULL_SCALE:
                self.clipped += int(((block >= FULL_SCALE) | (block <= -FULL_SCALE)).any(axis=1).sum())
            self._sum += float(mono.sum())
            # NaN passes through all four.
            self._least, self._most = min_of(self._least, mono_least), max_of(self._most, mono_most)
            self._all_least, self._all_most = min_of(self._all_least, least), max_of(self._all_most, most)
        self.samples += len(mono)
        return mono

    @property
    def peak(self) -> float:
        """Of the mono samples, in full scales."""
        return max(self._most, -self._least)

    @property
    def clipped_share(self) -> float:
        return self.clipped / max(1, self.samples)

    def cancelled(self) -> int | None:
        """The loudest channel, where averaging the channels cancels their sound; None where it does not."""
        if self._powers is None or self.channel is not None or not np.isfinite(self._powers).all():
            return None
        unrelated = float(self._powers.sum()) / len(self._powers) ** 2
        return int(self._powers.argmax()) if self._mono_power < CANCELLED * unrelated else None

    def refusal(self) -> str | None:
        """Why there is nothing to hear."""
        if not self.samples:
            return "holds no samples"
        if not (np.isfinite(self._all_least) and np.isfinite(self._all_most)):
            return "holds NaN or infinite samples"
        if self._least == self._most == 0:
            return SILENT
        if reason := wrong_peak(self.peak):
            return reason
        offset = self._sum / self.samples
        if self.samples > 1 and max(self._most - offset, offset - self._least) * 32_767 < 1:
            return f"is constant: an offset of {offset:.3g} times full scale, and no sound"
        return None

    def remarks(self) -> tuple[str, ...]:
        """What is odd about what is heard."""
        return remarks_on(self.clipped_share, self._sum / max(1, self.samples), self.peak)


def _average(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the channels; of two by a sum, which is the same to the bit and a hundred times as fast."""
    if block.shape[1] == 2:
        return (block[:, 0] + block[:, 1]) * np.float32(0.5)
    mean: NDArray[np.float32] = block.mean(axis=1)
    return mean


def remarks_on(clipped: float, offset: float, peak: float) -> tuple[str, ...]:
    """What is odd about a recording that is heard: the share of its samples at full scale, their mean, their peak."""
    found = []
    if clipped > CLIPPED_SHARE:
        found.append(f"{clipped:.1%} of its samples are at full scale: {CLIPPED}")
    if abs(offset) > _OFFSET:
        found.append(f"it has an offset (DC) of {offset:.0%} of full scale")
    if peak < _FAINT:
        found.append(f"it is faint: it peaks at {20 * np.log10(peak):.0f} dB of full scale")
    return tuple(found)


def wrong_peak(peak: float) -> str | None:
    """Why samples of this peak make no clip: above twice full scale (another scale), or silent in 16 bits."""
    if not peak <= LOUDEST:  # nan, too: the resampler makes it of samples near the end of float32
        return f"peaks at {peak:.4g} times full scale: its samples are on another scale; scale it to ±1"
    return None if np.float32(peak) * 32_767 >= 1 else SILENT_IN_16_BITS


def min_of(a: float, b: float) -> float:
    """The smaller one; NaN where one is."""
    return b if b < a or b != b else a


def max_of(a: float, b: float) -> float:
    """The larger one; NaN where one is."""
    return b if b > a or b != b else a
