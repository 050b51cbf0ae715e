"""A loss or gradient that is not finite: which clips were in the batch, and the batch itself, for a look at it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..data import Batch
from ..errors import UserError
from ..files import replaced
from ..runs.checkpoints import naming_failures
from .compiling import CompiledStep
from .learner import Learner, Readout

MOST_NAMED = 8
MOST_SKIPPED_IN_A_ROW = 100


class BadSteps:
    """Explains steps that were not finite: names their clips, and keeps their batch in the run's folder.

    Args:
        folder: of the run.
        name_of: a row or drawn row of the training clips.
        load: the clips of some rows.
        learner: its model, whose weights such a step has not changed, tells which clips it cannot score.
        compiled: the learner's step, which may be what is wrong.
    """

    def __init__(
        self,
        folder: Path,
        name_of: Callable[[int], str],
        load: Callable[[Tensor], Batch],
        learner: Learner,
        compiled: CompiledStep,
    ) -> None:
        self._folder, self._name_of, self._load, self._learner = folder, name_of, load, learner
        self._compiled = compiled

    def explain(self, readout: Readout, heard: Mapping[int, Tensor]) -> list[str]:
        """What to print of the first bad step since the last report; nothing where all were finite.

        Args:
            readout: the same on every rank, and every rank calls this.
            heard: rows [B] int64 of each step since the last report.

        Raises:
            UserError: with ``--on-nan stop``, where too many steps in a row were skipped, or where it is torch.compile
                that is wrong and its mode was asked for.
        """
        step = readout.first_bad
        if step is None:
            return []
        if self._learner.ranks.on_first(self._is_compilers_fault, heard[step]):
            what = f"gave, at step {step + 1}, a loss or gradients that are not finite, where the uncompiled step's are"
            self._compiled.give_up(self._learner, what)
            return []
        return [self._learner.ranks.on_first(self._explain, step, readout, heard[step])]

    def _is_compilers_fault(self, rows: Tensor) -> bool:
        return self._compiled.mode != "off" and self._compiled.is_at_fault(
            self._learner, map(self._load, self._parts(rows))
        )

    def _parts(self, rows: Tensor) -> tuple[Tensor, ...]:
        """No more at once than training has."""
        return rows.split(max(1, len(rows) // (self._learner.ranks.size * self._learner.config.accumulate)))

    def _explain(self, step: int, readout: Readout, rows: Tensor) -> str:
        path = self._folder / f"nan-{step + 1:012d}.safetensors"
        config = self._learner.config
        pieces, unscored = [], []
        for piece in self._parts(rows):
            batch = self._load(piece)
            unscored += [self._name_of(int(row)) for row in piece[~_scored(self._learner, batch)]]
            pieces.append(batch)
        whole = {name: torch.cat([getattr(piece, name).cpu() for piece in pieces]) for name in Batch._fields}
        everyone = [self._name_of(int(row)) for row in rows]
        metadata = {"step": str(step + 1), "names": json.dumps(everyone, ensure_ascii=False)}
        with naming_failures(path), replaced(path) as temporary:
            save_file(whole, temporary, metadata=metadata)
        named = unscored or everyone
        which = "clips that have no finite score" if unscored else "clips, each of which has finite scores,"
        text = (
            f"the loss or its gradient is not finite at step {step + 1}: {which} "
            f"{', '.join(named[:MOST_NAMED])}{', ...' if len(named) > MOST_NAMED else ''}; the batch is in {path}"
        )
        if config.on_nan == "stop":
            raise UserError(
                f"{text}; the run's checkpoints are from before: look at the clips, choose a lower --learning-rate, "
                "or go on with --resume auto --on-nan skip"
            )
        if readout.in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise UserError(f"{text}; the last {readout.in_a_row} steps were skipped: choose a lower --learning-rate")
        return f"{text}; skipped ({readout.skipped} steps so far)"


@torch.inference_mode()
def _scored(learner: Learner, batch: Batch) -> Tensor:
    """Which clips get finite scores: bool [B], on the CPU. In evaluation mode a clip's scores depend on it alone."""
    model = learner.model
    was_training = model.training
    model.eval()
    with learner.autocast():
        scores = model(batch.wave, batch.lengths)
    model.train(was_training)
    return (scores.clip_logits.isfinite().all(1) & scores.crop_logits.isfinite().all(2).all(1)).cpu()
