"""Evaluations while a run goes on."""

from ..data import ClipSource
from ..data.loading.batches import Loading
from ..evaluation.score import Evaluation, evaluate
from ..terminal import Console
from .keeper import Keeper
from .learner import Learner


class Evaluator:
    """Evaluates the model of a run and hands the scores to its keeper; every rank calls it and scores a part.

    Args:
        learner: its averaged weights are evaluated where it has them, else its model.
        keeper: writes the scores.
        clips: to evaluate on.
        part_size: clips that a rank trains on at once.
        loading: how the clips are read.
        console: where the scores are printed.
    """

    def __init__(
        self, learner: Learner, keeper: Keeper, clips: ClipSource, part_size: int, loading: Loading, console: Console
    ) -> None:
        self._learner, self._keeper, self._clips = learner, keeper, clips
        self._loading, self._console = loading, console
        # A GPU idles on the few clips that a rank may train on.
        self._batch_size = max(part_size, 16) if learner.device.type == "cuda" else part_size

    def at(self, step: int) -> Evaluation:
        """Evaluate after `step` steps."""
        learner = self._learner
        result = evaluate(
            learner.evaluated_model,
            self._clips,
            self._batch_size,
            learner.device,
            learner.autocast,
            learner.ranks,
            self._loading,
        )
        self._keeper.evaluated(step, result, self._clips)
        scores = ", ".join(f"{stream} {m.mean_ap:.3f}" for stream, m in result.metrics.items())
        self._console.print(f"step {step}: mAP {scores}")
        return result
