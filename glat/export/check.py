"""Whether an exported model says what the run says."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UserError
from ..inference import for_inference
from ..kernels import Crops, select_crops
from ..model import GlobalLocal, Scores
from .graph import OUTPUTS, outputs_of
from .selection import crop_starts
from .sounds import Sounds

Outputs = Mapping[str, NDArray[Any]]
Hear = Callable[[NDArray[np.float32]], Outputs]  # [B, S] to the outputs of a file

TOLERANCE = 1e-5  # of probabilities
_TIE = 1e-4  # of scores, relative from 1 on: rounding of a float32 network in another order of its sums
_BATCH = 3  # after the first clip, which goes alone: any size is to work


@dataclass(frozen=True)
class Parity:
    """How far an exported model and the run's own inference lie apart.

    Attributes:
        sounds: what they were compared on, in words.
        clips: their number.
        crops: crops of all clips.
        ties: crops among them that differ, because two scores are equal but for rounding.
        largest: by output, the largest difference of a probability; over all clips, given the same crops.
        tolerance: what none of them exceeds.
    """

    sounds: str
    clips: int
    crops: int
    ties: int
    largest: Mapping[str, float]
    tolerance: float


def compare(model: GlobalLocal, hear: Hear, sounds: Sounds, tolerance: float = TOLERANCE) -> Parity:
    """Compare what a file says with what the run's own inference says, of the same clips.

    The crops are to be the same, each with its class and its first sample. They may differ where the run's own scores
    of the two choices differ by rounding alone, as those of frames of silence do: the local stream is then compared on
    the crops of the file.

    Args:
        model: the trained model; it is left as it is.
        hear: runs the file.
        sounds: clips to compare on.
        tolerance: largest difference of a probability.

    Raises:
        UserError: a probability or a crop that differs; a number that is not finite on one side alone.
    """
    reference = _Reference(model)
    largest = {name: 0.0 for name, described in OUTPUTS.items() if "float" in described}
    crops = ties = 0
    for rows in _batches(len(sounds.names)):
        waves, names = sounds.waves[rows], sounds.names[rows]
        found = hear(waves)
        changed = reference.changed(waves, found)
        if None in changed:
            raise UserError(f"the crops of {names[changed.index(None)]} are not those of the run")
        ties += sum(count or 0 for count in changed)
        crops += found["crop_classes"].size
        wanted = reference.given_the_crops_of(waves, found)
        for output in largest:
            for row, name in enumerate(names):
                apart = _apart(wanted[output][row].numpy(), found[output][row])
                largest[output] = max(largest[output], apart)
                if not apart <= tolerance:
                    raise UserError(f"{output} of {name} differ by {apart:.1e}, and {tolerance:.0e} is allowed")
    return Parity(sounds.what, len(sounds.names), crops, ties, largest, tolerance)


def _batches(count: int) -> Iterator[slice]:
    yield slice(0, 1)
    for first in range(1, count, _BATCH):
        yield slice(first, min(first + _BATCH, count))


def _apart(mine: NDArray[Any], theirs: NDArray[Any]) -> float:
    if mine.shape != theirs.shape or (np.isfinite(mine) != np.isfinite(theirs)).any():
        return float("inf")
    return float(np.abs(np.nan_to_num(mine - theirs)).max(initial=0.0))


class _Reference:
    """The run's own inference, whose crops can be given."""

    def __init__(self, model: GlobalLocal) -> None:
        self.model = for_inference(model)

    @torch.inference_mode()
    def _hear(self, waves: NDArray[np.float32], selector: Callable[..., Crops]) -> Scores:
        cast(Any, self.model).selector = selector
        scores: Scores = self.model(torch.from_numpy(waves))
        return scores

    def changed(self, waves: NDArray[np.float32], found: Outputs) -> list[int | None]:
        """Of each clip, how many crops of a file are others than the run's, all at ties; None: not at a tie."""
        ranks: list[Tensor] = []

        def select(rank_scores: Tensor, frame_logits: Tensor, wave: Tensor, **options: Any) -> Crops:
            ranks.append(rank_scores)
            return select_crops(rank_scores, frame_logits, wave, **options)

        scores = self._hear(waves, select)
        return [self._changed(scores, ranks[0], found, row, waves.shape[1]) for row in range(len(waves))]

    def given_the_crops_of(self, waves: NDArray[np.float32], found: Outputs) -> dict[str, Tensor]:
        """The outputs where the crops are those of a file."""
        classes, starts, peaks = (
            torch.from_numpy(found[name]) for name in ("crop_classes", "crop_starts", "crop_peaks")
        )

        def select(rank_scores: Tensor, frame_logits: Tensor, wave: Tensor, **options: Any) -> Crops:
            W = options["crop_samples"]
            of_sample = starts[:, :, None] + torch.arange(W)
            audio = wave[:, None, :].expand(-1, starts.shape[1], -1).gather(2, of_sample)
            logits = frame_logits.gather(2, classes[:, None, :].expand(-1, frame_logits.shape[1], -1)).mT
            here = _peaks(logits, starts, peaks, wave.shape[1], W)
            return Crops(audio, classes, starts, here.sigmoid())

        return outputs_of(self._hear(waves, select))

    def _changed(self, scores: Scores, ranks: Tensor, found: Outputs, row: int, S: int) -> int | None:
        names = ("crop_classes", "crop_starts", "crop_peaks")
        mine = [part[row] for part in scores.crops[1:]]
        theirs = [torch.from_numpy(found[name][row]) for name in names]
        differ = (mine[0] != theirs[0]) | (mine[1] != theirs[1])
        if not differ.any():
            return 0
        L, W = ranks.shape[1], self.model.crop_samples
        inside = (theirs[0] >= 0) & (theirs[0] < L) & (theirs[1] >= 0) & (theirs[1] <= S - W)
        if not inside.all() or len(set(theirs[0].tolist())) < len(theirs[0]):
            return None
        logits = scores.frame_logits[row].T  # [L, T]
        for n in differ.nonzero()[:, 0].tolist():
            best = []
            for classes, starts, peaks in (mine, theirs):
                best.append(_peaks(logits[classes[n]], starts[n], peaks[n], S, W))
            same_class = bool(mine[0][n] == theirs[0][n])
            one, other = best if same_class else ranks[row, torch.stack([mine[0][n], theirs[0][n]])]
            if not _tie(float(one), float(other)):
                return None
            if self.model.config.suppress != "none":
                break  # what follows is searched around another crop
        return int(differ.sum())


def _peaks(logits: Tensor, starts: Tensor, peaks: Tensor, S: int, W: int) -> Tensor:
    """[...]: of the logits [..., T] of the frames whose crops begin at `starts` [...], those nearest to `peaks` [...].

    NaN where no frame's crop begins there.
    """
    T = logits.shape[-1]
    at = starts[..., None] == crop_starts(torch.arange(T), S, T, W)
    away = (logits.sigmoid() - peaks[..., None]).abs().masked_fill(~at, torch.inf)
    nearest = logits.gather(-1, away.argmin(-1, keepdim=True))[..., 0]
    return torch.where(at.any(-1), nearest, torch.nan)


def _tie(one: float, other: float) -> bool:
    return one == other or abs(one - other) <= _TIE * max(1.0, abs(one), abs(other))
