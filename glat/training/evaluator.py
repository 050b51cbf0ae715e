"""Evaluations while a run goes on, and at its end when each class sounds."""

from dataclasses import replace
from importlib.util import find_spec
from typing import cast

from ..data import ClipSource
from ..data.loading.batches import Loading
from ..errors import UserError
from ..evaluation.events.report import event_report
from ..evaluation.events.scores import EventScores
from ..evaluation.score import Evaluation, Scored, evaluation_of, score
from ..terminal import Console
from .keeper import Keeper
from .learner import Learner

MOST_COUNTED = 60_000  # clips times classes; counting takes about 1 ms of a core for each of them


class Evaluator:
    """Evaluates the model of a run and hands the scores to its keeper; every rank calls it and scores a part.

    Args:
        learner: its averaged weights are evaluated where it has them, else its model.
        keeper: writes the scores.
        clips: to evaluate on.
        part_size: clips that a rank trains on at once.
        loading: how the clips are read.
        console: where the scores are printed.

    Attributes:
        notes: why `finish` makes no event metrics, of clips whose times are known; empty where it does.
    """

    def __init__(
        self, learner: Learner, keeper: Keeper, clips: ClipSource, part_size: int, loading: Loading, console: Console
    ) -> None:
        self._learner, self._keeper, self._clips = learner, keeper, clips
        self._loading, self._console = loading, console
        # A GPU idles on the few clips that a rank may train on.
        self._batch_size = max(part_size, 16) if learner.device.type == "cuda" else part_size
        self._in_time, self.notes = events_scored(clips)
        self._last: tuple[Evaluation, Scored | None] | None = None

    def at(self, step: int) -> None:
        """Evaluate after `step` steps."""
        learner = self._learner
        scored = score(
            learner.evaluated_model,
            self._clips,
            self._batch_size,
            learner.device,
            learner.autocast,
            learner.ranks,
            self._loading,
            in_time=self._in_time,
        )
        result = learner.ranks.on_first(lambda: evaluation_of(cast(Scored, scored), learner.model.crop_samples))
        self._last = result, scored
        self._keeper.evaluated(step, result, self._clips)
        scores = ", ".join(f"{stream} {m.mean_ap:.3f}" for stream, m in result.metrics.items())
        self._console.print(f"step {step}: mAP {scores}")

    def finish(self, step: int) -> Evaluation:
        """The last evaluation, made after `step` steps where there is none yet; with event metrics, where times are
        known."""
        if self._last is None:
            self.at(step)
        assert self._last is not None
        result, scored = self._last
        if self._in_time:
            when = self._learner.ranks.on_first(self._event_scores, scored)
            if isinstance(when, EventScores):
                return replace(result, when=when)
            self.notes = [when]
        return result

    def _event_scores(self, scored: Scored | None) -> EventScores | str:
        """Or why there are none: a run that has ended is not to fail for them."""
        assert scored is not None  # rank 0
        try:
            return event_report(scored, self._learner.model.crop_samples, {}, 0, 0).short()
        except UserError as error:
            return str(error)


def events_scored(clips: ClipSource) -> tuple[bool, list[str]]:
    """Whether event metrics are made of clips at a run's end; where they could be and are not, why."""
    if clips.events is None or not any(clips.events):
        return False, []
    if len(clips) * len(clips.classes) > MOST_COUNTED:
        return False, ["PSDS and F1 of when each class sounds: glat evaluate, which takes minutes for so many clips"]
    if find_spec("sed_scores_eval") is None:
        return False, ["PSDS and F1 of when each class sounds: pip install 'glat[events]', then glat evaluate"]
    return True, []
