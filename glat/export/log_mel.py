"""`LogMel` in operators that every runtime has: the DFT as two small matrix products."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..frontend import LogMel


class PlainLogMel(nn.Module):
    """What a `LogMel` computes, without an FFT and without complex numbers.

    With ``N = N1 N2`` samples of the DFT, ``n = N2 n1 + n2`` and ``k = k1 + N1 k2``::

        A[k1, n2] = sum over n1 of  x[N2 n1 + n2] exp(-2 pi i n1 k1 / N1)
        X[k1, k2] = sum over n2 of  A[k1, n2] exp(-2 pi i n2 (k1 + N1 k2) / N)

    that is Cooley and Tukey's first step, whose sums are N1 and N2 long and not N: an eighth of the work of a DFT by
    one matrix product or convolution, with an FFT's rounding on average. The power does not ask where in the DFT the
    window lies, so that zeros around it are left out.

    Args:
        log_mel: what to compute; it is left as it is.

    Args of forward:
        wave: [B, S] float32, S known.

    Returns of forward:
        As of `LogMel`.
    """

    window: Tensor
    first: Tensor
    second: Tensor
    filters: Tensor

    def __init__(self, log_mel: LogMel) -> None:
        super().__init__()
        self.fft_samples, self.hop_samples = log_mel.fft_samples, log_mel.hop_samples
        self.window_samples, self.pad_mode = log_mel.window_samples, log_mel.pad_mode
        self.magnitude, self.top_db, self.drop_last_hop = log_mel.magnitude, log_mel.top_db, log_mel.drop_last_hop
        N = self.fft_samples
        self.columns = next(n for n in range(math.isqrt(N), 0, -1) if N % n == 0)  # N2
        N1, N2, W = N // self.columns, self.columns, self.window_samples
        self.rows = -(-W // N2)  # of n1 that the window reaches
        k2 = N2 // 2 + 1  # holds all k up to N / 2
        n1, k1 = torch.arange(self.rows), torch.arange(N1)
        self.register_buffer("window", log_mel.window.detach().float().cpu().clone(), persistent=False)
        self.register_buffer("first", _stacked(k1[:, None] * n1, N1, 0), persistent=False)  # [2 N1, n1]
        n2, k = torch.arange(N2), k1[:, None] + N1 * torch.arange(k2)
        turn = _stacked(k[:, None, :] * n2[:, None], N, 0)  # [2 N1, n2, k2], cosines and then minus sines
        cos, sin = turn[:N1], turn[N1:]
        # (a + ib)(cos + i sin) for the pairs (a, b): [N1, 2 n2, 2 k2]
        second = torch.cat([torch.cat([cos, sin], 2), torch.cat([-sin, cos], 2)], 1)
        self.register_buffer("second", second, persistent=False)
        filters = torch.zeros(N1, k2, log_mel.filters.shape[1])
        inside = k <= N // 2
        filters[inside] = log_mel.filters.detach().float().cpu()[k[inside]]
        self.register_buffer("filters", filters.flatten(0, 1), persistent=False)  # [N1 k2, F]

    def forward(self, wave: Tensor) -> Tensor:
        N1, N2 = self.fft_samples // self.columns, self.columns
        frames = self._frames(wave) * self.window  # [B, H, W]
        B, H = frames.shape[0], frames.shape[1]
        frames = F.pad(frames, (0, self.rows * N2 - self.window_samples)).unflatten(2, (self.rows, N2))
        once = (self.first @ frames).unflatten(2, (2, N1))  # [B, H, 2, N1, N2]
        once = once.permute(3, 0, 1, 2, 4).reshape(N1, B * H, 2 * N2)
        real, imaginary = (once @ self.second).chunk(2, dim=2)  # [N1, B H, k2] each
        power = real * real + imaginary * imaginary
        energy = power.clamp(min=1e-30).sqrt() if self.magnitude else power
        mel = (energy.transpose(0, 1).flatten(1) @ self.filters).unflatten(0, (B, H))
        db = 10 * mel.clamp(min=1e-10).log10()
        if self.top_db is not None:
            floor = db.flatten(1).max(1).values[:, None, None] - self.top_db
            db = torch.where(db > floor, db, floor)
        return db[:, :-1] if self.drop_last_hop else db

    def computes_as(self, other: "PlainLogMel") -> bool:
        """Whether both give the same of any wave."""

        def plain(module: PlainLogMel) -> dict[str, object]:
            return {name: value for name, value in vars(module).items() if not name.startswith("_")}

        return plain(self) == plain(other) and all(
            torch.equal(mine, theirs) for mine, theirs in zip(self.buffers(), other.buffers(), strict=True)
        )

    def _frames(self, wave: Tensor) -> Tensor:
        """[B, H, W]: the samples under the window at every hop."""
        S, W, hop = wave.shape[1], self.window_samples, self.hop_samples
        half, inset = self.fft_samples // 2, (self.fft_samples - W) // 2
        padded = F.pad(wave[:, None], (half, half), mode=self.pad_mode)[:, 0]
        H = 1 + (S + 2 * half - self.fft_samples) // hop
        # Hops and windows are whole numbers of blocks: an index a block is a small constant, an index a sample is not.
        block = math.gcd(hop, W)
        end = (H - 1) * hop + W
        blocks = padded[:, inset : inset + end].unflatten(1, (end // block, block))
        of_frame = torch.arange(H)[:, None] * (hop // block) + torch.arange(W // block)
        return blocks.index_select(1, of_frame.flatten()).reshape(wave.shape[0], H, W)


def _stacked(turns: Tensor, period: int, dim: int) -> Tensor:
    """Cosines and minus sines of ``2 pi turns / period``, one behind the other, rounded once."""
    angle = 2 * math.pi * (turns % period).double() / period
    return torch.cat([angle.cos(), -angle.sin()], dim).float()


def with_plain_log_mel(network: nn.Module) -> None:
    """Put a `PlainLogMel` in the place of every `LogMel`, in place; streams that hear alike share one."""
    made: list[PlainLogMel] = []
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is LogMel:
                plain = PlainLogMel(child)
                setattr(parent, name, next((other for other in made if other.computes_as(plain)), plain))
                made.append(plain)
