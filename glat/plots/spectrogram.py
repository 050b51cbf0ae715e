"""Pictures of log-mel spectrograms, with frequencies on the axis."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.image import imsave
from numpy.typing import NDArray

from ..files import replaced
from ..frontend import LogMel, mel_filters

HOP_SAMPLES = 320  # from one column to the next
RANGE_DB = 80.0  # below the loudest bin; anything fainter is black
_TICKS_KHZ = (0.25, 0.5, 1, 2, 4, 8, 12)


def spectrogram_db(wave: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    """Log-mel of a wave [S] in dB, [F, H] with low frequencies first."""
    log_mel = LogMel(sample_rate_hz, hop_samples=HOP_SAMPLES, f_max_hz=_highest_hz(sample_rate_hz))
    padded = torch.from_numpy(wave)
    padded = torch.nn.functional.pad(padded, (0, max(0, log_mel.fft_samples - len(wave))))  # so that a click is shown
    with torch.inference_mode():
        return log_mel(padded[None])[0].T.numpy()


def draw_spectrogram(axes: Axes, wave: NDArray[np.float32], sample_rate_hz: int, start_seconds: float = 0.0) -> None:
    """Draw the spectrogram of a wave [S] against seconds and kHz; y counts mel bins from 0."""
    db = spectrogram_db(wave, sample_rate_hz)
    F, top = db.shape[0], float(db.max())
    end_seconds = start_seconds + len(wave) / sample_rate_hz
    extent = (start_seconds, end_seconds, 0, F)
    axes.imshow(db, origin="lower", aspect="auto", extent=extent, vmin=top - RANGE_DB, vmax=top, cmap="magma")
    ticks = frequency_ticks(sample_rate_hz, F)
    axes.set_yticks([at for _, at in ticks], [f"{khz:g}" for khz, _ in ticks])
    axes.set(ylabel="kHz", xlim=(start_seconds, end_seconds), ylim=(0, F))


def frequency_ticks(sample_rate_hz: int, mel_bins: int) -> list[tuple[float, float]]:
    """Round frequencies in kHz, each with where it lies on an axis that counts mel bins from 0."""
    filters = mel_filters(sample_rate_hz, 16_384, mel_bins, 50.0, _highest_hz(sample_rate_hz))
    centres_khz = filters.argmax(dim=0).numpy() * sample_rate_hz / 16_384 / 1000
    ticks = [khz for khz in _TICKS_KHZ if centres_khz[0] <= khz <= centres_khz[-1]]
    return list(zip(ticks, np.interp(ticks, centres_khz, np.arange(mel_bins) + 0.5).tolist(), strict=True))


def save_spectrogram(sound: Path, path: Path) -> None:
    """Write the spectrogram of a sound file as a small PNG without axes, whole or not at all."""
    wave, rate = soundfile.read(sound, dtype="float32")
    db = spectrogram_db(wave, rate)
    top = float(db.max())
    with replaced(path) as temporary:
        imsave(
            temporary,
            db.repeat(2, axis=0),
            vmin=top - RANGE_DB,
            vmax=top,
            cmap=colormaps["magma"],
            origin="lower",
            format="png",
        )


def _highest_hz(sample_rate_hz: int) -> float:
    return min(14_000.0, sample_rate_hz / 2)
