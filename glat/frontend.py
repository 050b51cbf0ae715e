"""Log-mel spectrogram of a waveform, its standardisation, and SpecAugment; always in float32."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from .regions import region


def mel_filters(sample_rate_hz: int, fft_samples: int, mel_bins: int, f_min_hz: float, f_max_hz: float) -> Tensor:
    """Triangular mel filters [K, F] float32, K = fft_samples // 2 + 1 bins of the spectrum, each of unit area.

    Slaney's scale (linear to 1 kHz, logarithmic above, 27 steps a factor of 6.4) and area normalisation.

    Source: Slaney, "Auditory Toolbox", 1998, as librosa's ``filters.mel`` has it by default. Deviation: none.
    """
    step_hz, corner_hz, log_step = 200.0 / 3, 1000.0, np.log(6.4) / 27

    def to_mel(hz: float) -> float:
        return hz / step_hz if hz < corner_hz else corner_hz / step_hz + np.log(hz / corner_hz) / log_step

    mel = np.linspace(to_mel(f_min_hz), to_mel(f_max_hz), mel_bins + 2)
    corner = corner_hz / step_hz
    edges_hz = np.where(mel < corner, mel * step_hz, corner_hz * np.exp(log_step * (mel - corner)))
    bins_hz = np.arange(fft_samples // 2 + 1) * sample_rate_hz / fft_samples
    lower, centre, upper = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz[:, None] - lower) / (centre - lower)
    falling = (upper - bins_hz[:, None]) / (upper - centre)
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (upper - lower)
    return torch.from_numpy(triangles.astype(np.float32))


def to_float(wave: Tensor) -> Tensor:
    """Convert int16 samples to float32 with full scale ±1, as `select_crops` does; other dtypes are unchanged."""
    return wave.float() * (1.0 / 32767.0) if wave.dtype == torch.int16 else wave


class LogMel(nn.Module):
    """Log-mel spectrogram in dB, ``10 log10(max(mel(|STFT|^2), 1e-10))``; by default PANNs' own.

    Periodic Hann window, frames centred on multiples of the hop. The DFT is an rFFT, where PANNs uses two convolutions
    that take 2 GFLOP per clip. Computes in float32 even under autocast, and adds nothing to the state dict.

    Args:
        sample_rate_hz, hop_samples, mel_bins, f_min_hz, f_max_hz: PANNs' are the defaults.
        fft_samples: length of the DFT.
        window_samples: length of the window, which is centred in the DFT between zeros; None: fft_samples.
        pad_mode: padding at both ends: "reflect", or "constant" for zeros.
        magnitude: apply the mel filters to |STFT| instead of |STFT|^2.
        top_db: clamp values that lie more than this below the loudest bin of their clip; None: no clamp.
        drop_last_hop: H = S // hop_samples, without the + 1: TALNet's 400 hops, not 401.

    Args of forward:
        wave: [B, S], full scale ±1, S > fft_samples // 2 where the ends are reflected.

    Returns of forward:
        [B, H, F] float32 in dB, H = 1 + S // hop_samples: 1001 hops for 10 s.

    Source: Kong et al., "PANNs", 2020, section III, and its program. Options that PANNs does not use follow librosa's
    melspectrogram and power_to_db. Deviation: none in value.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        sample_rate_hz: int = 32_000,
        fft_samples: int = 1024,
        hop_samples: int = 320,
        mel_bins: int = 64,
        f_min_hz: float = 50.0,
        f_max_hz: float = 14_000.0,
        *,
        window_samples: int | None = None,
        pad_mode: str = "reflect",
        magnitude: bool = False,
        top_db: float | None = None,
        drop_last_hop: bool = False,
    ) -> None:
        super().__init__()
        self.fft_samples, self.hop_samples = fft_samples, hop_samples
        self.window_samples = window_samples or fft_samples
        self.pad_mode, self.magnitude, self.top_db, self.drop_last_hop = pad_mode, magnitude, top_db, drop_last_hop
        filters = mel_filters(sample_rate_hz, fft_samples, mel_bins, f_min_hz, f_max_hz)
        self.register_buffer("window", torch.hann_window(self.window_samples), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    @region
    def forward(self, wave: Tensor) -> Tensor:
        with torch.autocast(wave.device.type, enabled=False):
            spectrum = torch.stft(
                wave.float(),
                self.fft_samples,
                self.hop_samples,
                self.window_samples,
                window=self.window.float(),
                center=True,
                pad_mode=self.pad_mode,
                return_complex=True,
            )
            # abs() would take a square root, and a sum over (real, imaginary) pairs is ten times slower on a CPU.
            power = spectrum.real.square() + spectrum.imag.square()
            # Far below 1e-10; without the clamp the square root's gradient is infinite in silence.
            energy = power.clamp(min=1e-30).sqrt() if self.magnitude else power
            mel = energy.mT @ self.filters.float()
            db = 10 * mel.clamp(min=1e-10).log10()
            if self.top_db is not None:
                # Not `maximum` or `amax`: their gradients compare for equal values, see `pooling.largest`.
                floor = db.flatten(1).max(1).values[:, None, None] - self.top_db
                db = torch.where(db > floor, db, floor)
            return db[:, :-1] if self.drop_last_hop else db


class Standardise(nn.Module):
    """``(x - mean) / deviation`` for each mel bin, with statistics of the training data, which are in the state dict.

    Mean 0 and deviation 1 until they are estimated or loaded.

    Args of forward:
        x: [..., F].
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mel_bins: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(mel_bins))
        self.register_buffer("deviation", torch.ones(mel_bins))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation

    @torch.no_grad()
    def estimate(self, batches: Iterable[Tensor]) -> None:
        """Estimate mean and deviation over all hops of spectrograms [B, H, F]; constant bins get deviation 1."""
        count, total, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for batch in batches:
            hops = batch.double().flatten(0, -2).cpu()
            count, total, squares = count + len(hops), total + hops.sum(0), squares + hops.square().sum(0)
        assert count > 0
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-3, deviation, 1.0))  # 1e-3 dB: rounding


def spec_augment(
    x: Tensor, time_stripes: int = 2, time_width_hops: int = 64, mel_stripes: int = 2, mel_width_bins: int = 8
) -> Tensor:
    """Set random stripes of each clip's spectrogram to zero; the random numbers are drawn on the device.

    A stripe's width is uniform on 0 .. bound - 1, its start on 0 .. axis - width - 1.

    Args:
        x: [B, 1, H, F], normalised (zero is the mean).
        time_stripes, mel_stripes: number of stripes per clip along each axis.
        time_width_hops, mel_width_bins: bound on their widths, exclusive.

    Returns:
        A new tensor [B, 1, H, F]; differentiable in x.

    Source: Park et al., "SpecAugment", 2019, with PANNs' sizes. Deviation: vectorised (PANNs loops over the clips, in
    place); widths are bounded by the axis, so that short crops can be augmented too.
    """
    B, _, H, F = x.shape
    hidden_hops = _stripes(B, H, time_stripes, time_width_hops, x.device)[:, None, :, None]
    hidden_bins = _stripes(B, F, mel_stripes, mel_width_bins, x.device)[:, None, None, :]
    # Products: masked_fill makes a mask of x's size first, which is twenty times slower on a CPU.
    return x * (~hidden_hops).to(x.dtype) * (~hidden_bins).to(x.dtype)


def _stripes(batch: int, length: int, stripes: int, width: int, device: torch.device) -> Tensor:
    """One random stripe per clip: bool [batch, length], true inside it."""
    uniform = torch.rand(2, batch, stripes, 1, device=device)
    widths = (uniform[0] * min(width, length)).floor()
    starts = (uniform[1] * (length - widths)).floor()
    position = torch.arange(length, device=device)
    return ((position >= starts) & (position < starts + widths)).any(dim=1)
