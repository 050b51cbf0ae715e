"""What a run leaves in its folder while it goes on, and how it goes on from there."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from ..config import TrainConfig, to_json
from ..data import ClipSource
from ..errors import UserError
from ..frontend import to_float
from ..inference import for_inference
from ..plots.tagged import draw_tagged
from ..runs import checkpoints
from ..runs import folder as run
from ..tagging import tag_wave
from .best import Best
from .learner import Learner

SHOWN = 2  # clips in the picture: a second on a CPU


class Keeper:
    """Metrics, checkpoints and weights of a run; rank 0 writes them, and every rank calls the methods.

    Args:
        folder: of the run, recorded.
        config: with everything chosen.
        facts: versions and machine, for the checkpoints.
        checkpoint: to go on from: it is restored into the learner and the random generators. None: the run starts.

    Attributes:
        first_step: steps that earlier processes made.
        best: the best evaluation.
        sampler: the state of what draws the clips; empty for a run that starts.
        notes: what to say of how the run goes on.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        facts: Mapping[str, str],
        learner: Learner,
        checkpoint: Path | None,
    ) -> None:
        self.folder, self.config, self.facts, self.learner, self.ranks = folder, config, facts, learner, learner.ranks
        self.first_step, self.best = 0, Best()
        self.sampler: dict[str, Any] = {}
        self.notes: list[str] = []
        restored = False
        if checkpoint is not None:
            state = checkpoints.read(checkpoint)
            run.load_weights(learner.model, state["model"], checkpoint)
            learner.load_state_dict(state["learner"])
            self.first_step, self.best, self.sampler = state["step"], Best(**state["best"]), state["sampler"]
            self.notes.append(f"going on after step {self.first_step}")
            if len(state["random"]) != self.ranks.size:
                before = len(state["random"])
                self.notes.append(f"{self.ranks.size} processes instead of {before}: their random draws differ")
            restored = checkpoints.set_random_state(state["random"], self.ranks.rank)
            self._export(self.first_step)  # the last process may have been killed before it did
        if self.ranks.rank and not restored:
            # Ranks hear other clips, and are to hide other parts of them.
            torch.manual_seed(config.optim.seed + 1_000_003 * self.ranks.rank)
        self.curves = None
        if self.ranks.first:
            run.forget_metrics_after(folder, self.first_step if checkpoint else -1, self.best.last)
            self.curves = SummaryWriter(folder, purge_step=self.first_step + 1 if checkpoint else None)

    def log(self, step: int, **values: float) -> None:
        """Add a line to the metrics, and points to the curves."""
        if self.curves is not None:
            run.append_metrics(self.folder, step=step, **values)
            with checkpoints.naming_failures(self.folder):  # a write may fail for what was added before
                for name, value in values.items():
                    self.curves.add_scalar(name, value, step)

    def show(self, step: int, clips: ClipSource) -> None:
        """Add a picture of the crops of the first clips to the curves."""
        if self.curves is None:
            return
        model, device, tagged = for_inference(self.learner.evaluated_model), self.learner.device, []
        for row in range(min(SHOWN, len(clips))):
            with suppress(UserError):  # a bad recording, or weights gone bad: said where they are met
                wave = to_float(torch.from_numpy(clips.read(row))).numpy()
                tagged.append(tag_wave(clips.names[row], wave, model, clips.classes, clips.clip_samples, 3, device))
        if tagged:
            self.curves.add_figure("crops", draw_tagged(tagged), step)

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

    def close(self) -> None:
        """Flush the curves."""
        if self.curves is not None:
            self.curves.close()
