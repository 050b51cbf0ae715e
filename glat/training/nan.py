"""A loss or gradient that is not finite: which clips were in the batch, and the batch itself, for a look at it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..data import Batch
from ..errors import UserError
from ..files import replaced
from ..runs.checkpoints import naming_failures
from .learner import Learner, Seen

MOST_NAMED = 8
MOST_SKIPPED_IN_A_ROW = 100


def account_for(
    folder: Path,
    step: int,
    rows: Tensor,
    names: Sequence[str],
    load: Callable[[Tensor], Batch],
    learner: Learner,
    seen: Seen,
) -> str:
    """Name the clips of a step that went wrong, and write its batch to ``nan-STEP.safetensors`` in the run's folder.

    Args:
        step: from 0.
        rows: of its clips, [B] int64.
        names: of all training clips.
        load: the clips of some rows.
        learner: its model, whose weights the step has not changed, tells which clips it cannot score.

    Returns:
        What to say before the run goes on.

    Raises:
        UserError: with ``--on-nan stop``, or where too many steps in a row were skipped.
    """
    path = folder / f"nan-{step + 1:012d}.safetensors"
    pieces, unscored = [], []
    # No more at once than training has.
    for piece in rows.split(max(1, len(rows) // (learner.ranks.size * learner.config.accumulate))):
        batch = load(piece)
        unscored += [names[int(row)] for row in piece[~_scored(learner, batch)]]
        pieces.append(batch)
    whole = {name: torch.cat([getattr(piece, name).cpu() for piece in pieces]) for name in Batch._fields}
    everyone = [names[int(row)] for row in rows]
    metadata = {"step": str(step + 1), "names": json.dumps(everyone, ensure_ascii=False)}
    with naming_failures(path), replaced(path) as temporary:
        save_file(whole, temporary, metadata=metadata)
    named = unscored or everyone
    which = "clips that have no finite score" if unscored else "clips, each of which has finite scores,"
    text = (
        f"the loss or its gradient is not finite at step {step + 1}: {which} "
        f"{', '.join(named[:MOST_NAMED])}{', ...' if len(named) > MOST_NAMED else ''}; the batch is in {path}"
    )
    if learner.config.on_nan == "stop":
        raise UserError(
            f"{text}; the run's checkpoints are from before: look at the clips, choose a lower --learning-rate, or go "
            "on with --resume auto --on-nan skip"
        )
    if seen.in_a_row >= MOST_SKIPPED_IN_A_ROW:
        raise UserError(f"{text}; the last {seen.in_a_row} steps were skipped: choose a lower --learning-rate")
    return f"{text}; skipped ({seen.skipped} steps so far)"


@torch.inference_mode()
def _scored(learner: Learner, batch: Batch) -> Tensor:
    """Which clips get finite scores on their own: bool [B], on the CPU. In evaluation mode no clip touches another."""
    model = learner.model
    was_training = model.training
    model.eval()
    with learner.autocast():
        scores = model(batch.wave, batch.lengths)
    model.train(was_training)
    return (scores.clip_logits.isfinite().all(1) & scores.crop_logits.isfinite().all(2).all(1)).cpu()
