"""Waveform to log-mel spectrogram, its standardisation, and SpecAugment. Always in float32."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn


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
    """int16 samples as float32 with full scale ±1, as `select_crops` converts its crops; others unchanged."""
    return wave.float() * (1.0 / 32767.0) if wave.dtype == torch.int16 else wave


class LogMel(nn.Module):
    """Log-mel spectrogram in dB, ``10 log10(max(mel(|STFT|^2), 1e-10))``; by default PANNs' own.

    Periodic Hann window, frames centred on multiples of the hop. The DFT is an rFFT: PANNs' two convolutions with its
    real and imaginary part, without their 2 GFLOP a clip. Runs in float32 also under autocast, and holds no entry in
    the state dict.

    Args:
        sample_rate_hz, hop_samples, mel_bins, f_min_hz, f_max_hz: PANNs' are the defaults.
        fft_samples: of the DFT.
        window_samples: of the window, which zeros centre in the DFT; None: all of it.
        pad_mode: how the ends are continued: "reflect", or "constant" for zeros.
        magnitude: mel of |STFT| in place of its square.
        top_db: range below the loudest bin of each clip, where all below is cut off; None: no limit.
        drop_last_hop: H = S // hop_samples, 400 in place of 401.

    Args of forward:
        wave: [B, S], full scale ±1, S > fft_samples // 2 where the ends are reflected.

    Returns of forward:
        [B, H, F] float32 in dB, H = 1 + S // hop_samples: 1001 hops for 10 s.

    Source: Kong et al., "PANNs", 2020, section III and its program; what PANNs does not use, as librosa's
    melspectrogram and power_to_db have it. Deviation: none in value.
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
            # |z|^2 without the square root of abs(), and without a sum over pairs, which a CPU does ten times slower.
            power = spectrum.real.square() + spectrum.imag.square()
            # The clamp lies far below 1e-10, and keeps the gradient of the square root finite in silence.
            energy = power.clamp(min=1e-30).sqrt() if self.magnitude else power
            mel = energy.mT @ self.filters.float()
            db = 10 * mel.clamp(min=1e-10).log10()
            if self.top_db is not None:
                # Neither `maximum` nor `amax`, whose gradients look for equal values: see `pooling.largest`.
                floor = db.flatten(1).max(1).values[:, None, None] - self.top_db
                db = torch.where(db > floor, db, floor)
            return db[:, :-1] if self.drop_last_hop else db


class Standardise(nn.Module):
    """``(x - mean) / deviation`` of every mel bin, with statistics of the training data that the state dict keeps.

    Until they are estimated or loaded, mean 0 and deviation 1.

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
        """Take mean and deviation over all hops of spectrograms [B, H, F]; a bin that never changes is not scaled."""
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
    """Zero stripes of a batch of spectrograms, for every clip its own; the random numbers are drawn on the device.

    A stripe's width is uniform on 0 .. width - 1, its start on 0 .. axis - width - 1.

    Args:
        x: [B, 1, H, F], normalised (zero is the mean).
        time_stripes, mel_stripes: stripes a clip along each axis.
        time_width_hops, mel_width_bins: the widths' bound, exclusive.

    Returns:
        A new tensor [B, 1, H, F]; differentiable in x.

    Source: Park et al., "SpecAugment", 2019, with PANNs' sizes. Deviation: vectorised (PANNs loops over the clips, in
    place); widths are bounded by the axis, so that short crops can be augmented too.
    """
    B, _, H, F = x.shape
    hidden_hops = _stripes(B, H, time_stripes, time_width_hops, x.device)[:, None, :, None]
    hidden_bins = _stripes(B, F, mel_stripes, mel_width_bins, x.device)[:, None, None, :]
    # Products, not masked_fill: that fills a mask of x's size first, and took a CPU twenty times as long.
    return x * (~hidden_hops).to(x.dtype) * (~hidden_bins).to(x.dtype)


def _stripes(batch: int, length: int, stripes: int, width: int, device: torch.device) -> Tensor:
    """Where one of the stripes of each clip lies: bool [batch, length]."""
    uniform = torch.rand(2, batch, stripes, 1, device=device)
    widths = (uniform[0] * min(width, length)).floor()
    starts = (uniform[1] * (length - widths)).floor()
    position = torch.arange(length, device=device)
    return ((position >= starts) & (position < starts + widths)).any(dim=1)
