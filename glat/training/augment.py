"""Augmentation of a batch before both streams hear it: shift, gain and mixup, on the batch's device.

Every draw is a tensor from the device's generator, so that ``torch.manual_seed`` fixes them all, and the functions
compile into the graph of the training step without a recompilation or a wait for the device.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Beta

from ..config import FeedConfig
from ..data import Batch
from ..errors import UserError
from ..frontend import to_float


def mixup(batch: Batch, alpha: float) -> Batch:
    """Mix every clip with one of the batch, waves and targets alike: ``λ_b x_b + (1 - λ_b) x_p(b)``.

    p is a random permutation, in which a clip may meet itself; every λ_b is drawn from Beta(alpha, alpha).

    Args:
        batch: B clips.
        alpha: above 0; 1 draws λ uniformly, less draws it closer to 0 or 1.

    Returns:
        B clips: wave [B, S] float32, of int16 with full scale ±1; lengths [B], the longer of the two; targets [B, L].

    Source: Zhang et al., "mixup", 2018. Deviation: a λ for every clip in place of one for the batch, as PANNs.
    """
    # Not randperm: Inductor's pattern for an index by it fails to match (torch 2.13).
    partner = torch.rand(len(batch.wave), device=batch.wave.device).argsort()
    return _mix(batch, Batch(*(part[partner] for part in batch)), alpha)


def pair_mixup(batch: Batch, alpha: float) -> Batch:
    """Mix 2 B clips to B, rows 0, 2, 4, ... with rows 1, 3, 5, ...: ``λ_b x_2b + (1 - λ_b) x_2b+1``.

    No clip counts twice, where `mixup` has every clip in two.

    Args:
        batch: 2 B clips.
        alpha: as in `mixup`; PANNs: 1.

    Returns:
        B clips, as from `mixup`.

    Raises:
        UserError: an odd number of clips.

    Source: the released program of PANNs, ``do_mixup``. Deviation: waves are mixed, not spectrograms, so that the
    local stream hears what the global stream hears.
    """
    if len(batch.wave) % 2:
        raise UserError(f"a batch of {len(batch.wave)} clips does not divide into pairs; choose an even number")
    return _mix(Batch(*(part[0::2] for part in batch)), Batch(*(part[1::2] for part in batch)), alpha)


def _mix(first: Batch, second: Batch, alpha: float) -> Batch:
    share = torch.full((len(first.wave), 1), alpha, device=first.wave.device)
    share = Beta(share, share, validate_args=False).sample()  # the validation would wait for the device
    return Batch(
        share * to_float(first.wave) + (1 - share) * to_float(second.wave),
        torch.maximum(first.lengths, second.lengths),
        share * first.targets + (1 - share) * second.targets,
    )


def random_gain(wave: Tensor, low_db: float, high_db: float) -> Tensor:
    """Every clip times ``10^(g / 20)``, g uniform from `low_db` to `high_db`; what passes full scale is not clipped.

    Args:
        wave: [B, S] float32 or int16.

    Returns:
        [B, S] float32, of int16 with full scale ±1.
    """
    uniform = torch.rand(len(wave), 1, device=wave.device)
    return to_float(wave) * 10 ** ((low_db + (high_db - low_db) * uniform) / 20)


def random_shift(wave: Tensor, lengths: Tensor, max_samples: int) -> Tensor:
    """Every clip rolled by whole samples, uniform from -max_samples to max_samples; what leaves at one end comes back.

    A padded clip is rolled inside its valid samples, so that lengths and padding stay as they are.

    Args:
        wave: [B, S] of any dtype.
        lengths: [B] int64, valid samples.
        max_samples: from 0; may pass the clip's length.

    Returns:
        [B, S] of the wave's dtype.

    Source: Koutini et al., "PaSST", 2022, whose program rolls waveforms. Deviation: padding stays in place.
    """
    shift = torch.randint(-max_samples, max_samples + 1, (len(wave), 1), device=wave.device)
    position = torch.arange(wave.shape[1], device=wave.device)
    valid = lengths[:, None]
    source = torch.where(position < valid, (position - shift) % valid.clamp(min=1), position)
    return wave.gather(1, source)


def augmentation(config: FeedConfig, sample_rate_hz: int) -> "Augment | None":
    """What `config` asks for; None where that is nothing."""
    if config.mixup == "none" and not config.gain_db and not config.shift_seconds:
        return None
    return Augment(
        sample_rate_hz,
        mixup=config.mixup,
        mixup_alpha=config.mixup_alpha,
        gain_db=config.gain_db,
        shift_seconds=config.shift_seconds,
    )


class Augment(nn.Module):
    """Shift, then gain, then mixup of a batch while training; in evaluation the batch as it is.

    Args:
        sample_rate_hz: of the waves.
        mixup: "none"; "permuted", see `mixup`; or "paired", see `pair_mixup`, which halves the batch.
        mixup_alpha: of Beta(alpha, alpha).
        gain_db: a gain from -gain_db to gain_db; 0: none.
        shift_seconds: a roll from -shift_seconds to shift_seconds; 0: none.

    Args of forward:
        batch: B clips.

    Returns of forward:
        B clips, B / 2 of "paired"; int16 waves become float32 where there is a gain or mixup.

    Raises:
        UserError: a value that cannot be meant.
    """

    def __init__(
        self,
        sample_rate_hz: int,
        *,
        mixup: Literal["none", "permuted", "paired"] = "none",
        mixup_alpha: float = 1.0,
        gain_db: float = 0.0,
        shift_seconds: float = 0.0,
    ) -> None:
        super().__init__()
        if mixup not in ("none", "permuted", "paired"):
            raise UserError(f"there is no mixup {mixup!r}; choose none, permuted or paired")
        if not 0 < mixup_alpha < math.inf:
            raise UserError(f"mixup's alpha is {mixup_alpha}; give a number above 0, such as 1")
        for name, value, unit in (("gain", gain_db, "dB"), ("shift", shift_seconds, "s")):
            if not 0 <= value < math.inf:
                raise UserError(f"the largest {name} is {value} {unit}; give 0 for none, or more")
        self.mixup, self.mixup_alpha, self.gain_db = mixup, mixup_alpha, gain_db
        self.max_shift_samples = round(shift_seconds * sample_rate_hz)

    def forward(self, batch: Batch) -> Batch:
        if not self.training:
            return batch
        wave, lengths, targets = batch
        if self.max_shift_samples:
            wave = random_shift(wave, lengths, self.max_shift_samples)
        if self.gain_db:
            wave = random_gain(wave, -self.gain_db, self.gain_db)
        batch = Batch(wave, lengths, targets)
        if self.mixup == "permuted":
            return mixup(batch, self.mixup_alpha)
        return pair_mixup(batch, self.mixup_alpha) if self.mixup == "paired" else batch
