"""What a run leaves in its folder while it goes on, and how it goes on from there."""

from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..config import TrainConfig, to_json
from ..data import ClipSource, Skipped
from ..data.loading.samplers import Sampler
from ..errors import UserError
from ..evaluation.score import Evaluation
from ..frontend import to_float
from ..plots.runs import Recorded, plot_curves
from ..plots.tagged import draw_tagged, drawn
from ..runs import checkpoints
from ..runs import folder as run
from ..runs.results import write_evaluation
from ..runs.weights import load_weights, save_weights, step_of_weights
from ..tagging.events import thresholds_of
from ..tagging.tagger import Tagger
from .best import Best
from .calendar import Calendar
from .learner import Learner
from .loggers import About, Loggers

SHOWN = 2  # clips in the picture: a second on a CPU


class Keeper:
    """Writes a run's metrics, curves, checkpoints and weights, on rank 0; every rank calls the methods.

    Args:
        folder: of the run, recorded.
        config: with everything chosen.
        facts: versions and machine, for the checkpoints.
        learner: whose state is saved.
        calendar: says which steps a run that nobody stops saves.

    Attributes:
        first_step: steps that earlier processes made.
        best: the best evaluation.
    """

    def __init__(
        self, folder: Path, config: TrainConfig, facts: Mapping[str, str], learner: Learner, calendar: Calendar
    ) -> None:
        self.folder, self.config, self.facts, self.learner, self.ranks = folder, config, facts, learner, learner.ranks
        self.first_step, self.best = 0, Best()
        self._calendar = calendar
        self._loggers: Loggers | None = None

    def restore(self, checkpoint: Path | None, sampler: Sampler) -> list[str]:
        """Go on from a checkpoint: restore weights, optimiser, sampler and random generators; None: the run starts.

        Metrics of later steps are dropped: they are about to be written again.

        Returns:
            What to print.
        """
        lines, draws_restored = [], False
        if checkpoint is not None:
            state = checkpoints.read(checkpoint)
            load_weights(self.learner.model, state["model"], checkpoint)
            self.learner.load_state_dict(state["learner"])
            sampler.restore(state["sampler"])
            self.first_step, self.best = state["step"], Best(**state["best"])
            lines.append(f"going on after step {self.first_step}")
            if len(state["random"]) != self.ranks.size:
                before = len(state["random"])
                lines.append(f"{self.ranks.size} processes instead of {before}: their random draws differ")
            draws_restored = checkpoints.set_random_state(state["random"], self.ranks.rank)
            self.ranks.on_first(self._restore_weights)
        if self.ranks.rank and not draws_restored:
            # Ranks hear other clips, and are to hide other parts of them.
            torch.manual_seed(self.config.optim.seed + 1_000_003 * self.ranks.rank)
        if self.ranks.first:
            lines += run.forget_metrics_after(self.folder, self.first_step if checkpoint else -1, self.best.last)
            rows = run.read_metrics(self.folder).rows
            about = About(self.folder, to_json(self.config), self.first_step, rows, {})
            self._loggers = Loggers(self.config.run.logger, about)
            lines += self._loggers.said
        return lines

    def _restore_weights(self) -> None:
        """Write the weights of the checkpoint and of the best evaluation before it: the last process may not have."""
        save_weights(self.folder, self.learner.evaluated_model, step=self.first_step)
        path, best = checkpoints.path_of(self.folder, self.best.step), self.best
        if not best.step or step_of_weights(self.folder, run.BEST_WEIGHTS) == best.step or not path.exists():
            return
        state, model = checkpoints.read(path), deepcopy(self.learner.evaluated_model)
        weights = state["learner"]["averaged"] or state["model"]
        load_weights(model, weights, path)
        save_weights(self.folder, model, run.BEST_WEIGHTS, step=best.step, fused_mAP=best.mean_ap)

    def log(self, step: int, **values: float) -> None:
        """Add a line to the metrics, and points to the loggers' curves."""
        if self._loggers is not None:
            run.append_metrics(self.folder, step=step, **values)
            self._loggers.scalars(step, values)

    def evaluated(self, step: int, result: Evaluation, clips: ClipSource) -> None:
        """Take an evaluation after `step` steps into account; one that is made again changes nothing.

        Args:
            clips: those that were evaluated; a picture shows the crops of the first of them.
        """
        if step <= self.best.last:
            return
        best = self.best
        best.note(step, result.metrics["fused"].mean_ap)
        self.log(step, **{f"mAP_{stream}": m.mean_ap for stream, m in result.metrics.items()})
        if self._loggers is not None and self._loggers.any:
            self._show(step, clips, self._loggers)
        if best.step == step:
            facts = {"step": step, "fused_mAP": best.mean_ap}
            model = self.learner.evaluated_model
            self.ranks.on_first(partial(save_weights, self.folder, model, run.BEST_WEIGHTS, **facts))

    def _show(self, step: int, clips: ClipSource, loggers: Loggers) -> None:
        classes, S = clips.classes, clips.clip_samples
        model, limits = self.learner.evaluated_model, thresholds_of(None, clips.classes)
        shown = []
        with suppress(UserError):  # a bad recording, or weights gone bad: said where they are met
            tagger = Tagger(model, classes, S, limits, limits, device=self.learner.device)
            for row in range(min(SHOWN, len(clips))):
                wave = to_float(torch.from_numpy(clips.read(row))).numpy()
                shown.append(drawn(tagger.tag(wave, clips.sample_rate_hz), clips.names[row], wave, top=3))
        if shown:
            loggers.figure("crops", draw_tagged(shown), step)

    def save(self, step: int, sampler: dict[str, Any], evaluation_due: bool) -> None:
        """Write a checkpoint, then the weights alone.

        Args:
            sampler: the state of what draws the clips, after this step's.
            evaluation_due: whether this step is evaluated next; a run that goes on from here then does it first.
        """
        state = {
            "step": step,
            "model": self.learner.model.state_dict(),
            "learner": self.learner.state_dict(),
            "sampler": sampler,
            "random": self.ranks.gather(checkpoints.random_state()),
            "best": vars(self.best) | {"due": evaluation_due},
            "config": to_json(self.config),
            "versions": dict(self.facts),
        }

        def write() -> None:
            if self._loggers is not None:
                self._loggers.flush()  # a kill after this costs no point that the checkpoint has passed
            checkpoints.save(self.folder, state)
            save_weights(self.folder, self.learner.evaluated_model, step=step)
            self._remove_old()

        self.ranks.on_first(write)

    def _remove_old(self) -> None:
        checkpoints.remove_old(
            self.folder, self.config.run.keep, self.best.step, lambda step: self._calendar.due(step).save
        )

    def finish(self, result: Evaluation, classes: tuple[str, ...], skipped: tuple[Skipped, ...]) -> None:
        """Write what came out: the last evaluation, the recordings that were left out, and the curves as a picture."""
        if self._loggers is None:
            return
        self._remove_old()
        run.write_json(self.folder / run.SKIPPED, [vars(one) for one in skipped])
        best = self.best
        idle = best.why_idle() if best.exhausted(self.config.optim.patience) else None
        about = {"step": best.last, "best": {"step": best.step, "fused_mAP": best.mean_ap}, "idle": idle}
        write_evaluation(self.folder, result.to_json(classes) | about)
        plot_curves([Recorded.of(self.folder)], self.folder / "curves.png")
        scores = {stream: metrics.means() for stream, metrics in result.metrics.items()}
        end = {f"end/{name}_{stream}": value for stream, means in scores.items() for name, value in means.items()}
        if result.when is not None:
            end |= {f"end/{name}": value for name, value in result.when.flat().items()}
        self._loggers.finish(end | {"end/step": best.last})
