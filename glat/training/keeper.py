"""What a run leaves in its folder while it goes on, and how it goes on from there."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from ..config import TrainConfig, to_json
from ..data import ClipSource, Skipped
from ..data.loading.samplers import Sampler
from ..errors import UserError
from ..evaluation.score import Evaluation
from ..frontend import to_float
from ..inference import for_inference
from ..plots.runs import Recorded, plot_curves
from ..plots.tagged import draw_tagged
from ..runs import checkpoints
from ..runs import folder as run
from ..tagging import tag_wave
from .best import Best
from .learner import Learner

SHOWN = 2  # clips in the picture: a second on a CPU


class Keeper:
    """Writes a run's metrics, curves, checkpoints and weights, on rank 0; every rank calls the methods.

    Args:
        folder: of the run, recorded.
        config: with everything chosen.
        facts: versions and machine, for the checkpoints.
        learner: whose state is saved.

    Attributes:
        first_step: steps that earlier processes made.
        best: the best evaluation.
    """

    def __init__(self, folder: Path, config: TrainConfig, facts: Mapping[str, str], learner: Learner) -> None:
        self.folder, self.config, self.facts, self.learner, self.ranks = folder, config, facts, learner, learner.ranks
        self.first_step, self.best = 0, Best()
        self._curves: SummaryWriter | None = None

    def restore(self, checkpoint: Path | None, sampler: Sampler) -> list[str]:
        """Go on from a checkpoint: restore weights, optimiser, sampler and random generators; None: the run starts.

        Metrics of later steps are dropped: they are about to be written again.

        Returns:
            What to print.
        """
        lines, draws_restored = [], False
        if checkpoint is not None:
            state = checkpoints.read(checkpoint)
            run.load_weights(self.learner.model, state["model"], checkpoint)
            self.learner.load_state_dict(state["learner"])
            sampler.restore(state["sampler"])
            self.first_step, self.best = state["step"], Best(**state["best"])
            lines.append(f"going on after step {self.first_step}")
            if len(state["random"]) != self.ranks.size:
                before = len(state["random"])
                lines.append(f"{self.ranks.size} processes instead of {before}: their random draws differ")
            draws_restored = checkpoints.set_random_state(state["random"], self.ranks.rank)
            self._export(self.first_step)  # the last process may have been killed before it did
        if self.ranks.rank and not draws_restored:
            # Ranks hear other clips, and are to hide other parts of them.
            torch.manual_seed(self.config.optim.seed + 1_000_003 * self.ranks.rank)
        if self.ranks.first:
            run.forget_metrics_after(self.folder, self.first_step if checkpoint else -1, self.best.last)
            self._curves = SummaryWriter(self.folder, purge_step=self.first_step + 1 if checkpoint else None)
        return lines

    def log(self, step: int, **values: float) -> None:
        """Add a line to the metrics, and points to the curves."""
        if self._curves is not None:
            run.append_metrics(self.folder, step=step, **values)
            with checkpoints.naming_failures(self.folder):  # a write may fail for what was added before
                for name, value in values.items():
                    self._curves.add_scalar(name, value, step)

    def evaluated(self, step: int, result: Evaluation, clips: ClipSource) -> None:
        """Take an evaluation after `step` steps into account; one that is made again changes nothing.

        Args:
            clips: those that were evaluated; a picture shows the crops of the first of them.
        """
        if step <= self.best.last:
            return
        self.best.note(step, result.metrics["fused"].mean_ap)
        self.log(step, **{f"mAP_{stream}": m.mean_ap for stream, m in result.metrics.items()})
        if self._curves is not None:
            self._show(step, clips, self._curves)

    def _show(self, step: int, clips: ClipSource, curves: SummaryWriter) -> None:
        model, device, tagged = for_inference(self.learner.evaluated_model), self.learner.device, []
        for row in range(min(SHOWN, len(clips))):
            with suppress(UserError):  # a bad recording, or weights gone bad: said where they are met
                wave = to_float(torch.from_numpy(clips.read(row))).numpy()
                tagged.append(tag_wave(clips.names[row], wave, model, clips.classes, clips.clip_samples, 3, device))
        if tagged:
            curves.add_figure("crops", draw_tagged(tagged), step)

    def save(self, step: int, sampler: dict[str, Any]) -> None:
        """Write a checkpoint, then the weights alone.

        Args:
            sampler: the state of what draws the clips, after this step's.
        """
        state = {
            "step": step,
            "model": self.learner.model.state_dict(),
            "learner": self.learner.state_dict(),
            "sampler": sampler,
            "random": self.ranks.gather(checkpoints.random_state()),
            "best": vars(self.best),
            "config": to_json(self.config),
            "versions": dict(self.facts),
        }
        self.ranks.on_first(checkpoints.save, self.folder, state, self.config.run.keep)
        self._export(step)

    def _export(self, step: int) -> None:
        def write() -> None:
            model, best = self.learner.evaluated_model, self.best
            run.save_weights(self.folder, model, step=step)
            if best.step == step:
                run.save_weights(self.folder, model, run.BEST_WEIGHTS, step=step, fused_mAP=best.mean_ap)

        self.ranks.on_first(write)

    def finish(self, result: Evaluation, classes: tuple[str, ...], skipped: tuple[Skipped, ...]) -> None:
        """Write what came out: the last evaluation, the recordings that were left out, and the curves as a picture."""
        if self._curves is None:
            return
        self._curves.close()
        run.write_json(self.folder / run.SKIPPED, [vars(one) for one in skipped])
        run.write_json(self.folder / "evaluation.json", result.to_json(classes))
        plot_curves([Recorded.of(self.folder)], self.folder / "curves.png")
