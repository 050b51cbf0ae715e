"""The run in Weights & Biases: offline, in the run's folder, unless ``WANDB_MODE`` says otherwise."""

import io
import math
import os
import uuid
from collections.abc import Mapping

import PIL.Image
from matplotlib.figure import Figure

from . import About, End

# It reports its own errors over the network otherwise. Read when it is imported.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

WAIT_SECONDS = 30  # for a server
STATUS: dict[End, int] = {"finished": 0, "stopped": 75, "failed": 1}


def start(about: About) -> "WeightsAndBiases":
    """Start the run there, or go on with it."""
    return WeightsAndBiases(about)


class WeightsAndBiases:
    """Writes a run of Weights & Biases, whose axis is the training's step."""

    def __init__(self, about: About) -> None:
        mode = os.environ.get("WANDB_MODE", "offline")
        known = about.known_as.get("id")
        self._run = wandb.init(
            id=known or uuid.uuid4().hex[:8],
            resume="allow",
            name=about.folder.resolve().name,
            project=os.environ.get("WANDB_PROJECT", "glat"),
            dir=os.environ.get("WANDB_DIR", about.folder),
            config=about.config,
            mode=mode,  # type: ignore[arg-type]
            reinit="create_new",
            settings=wandb.Settings(
                console="off",  # train.py's output is its own
                silent=True,
                init_timeout=WAIT_SECONDS,
                login_timeout=WAIT_SECONDS,
                finish_timeout=WAIT_SECONDS,
            ),
        )
        self.known_as = {"id": self._run.id}
        place = f"offline, in {self._run.settings.sync_dir}" if mode == "offline" else mode
        self.said = f"wandb       run {self._run.id}, {place}"
        # Wandb's own count of steps never goes back, which a run that goes on from a checkpoint may.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        if known is None:
            for row in about.rows:
                self.scalars(int(row["step"] or 0), row)

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """As of `Logger`."""
        self._run.log({name: value for name, value in values.items() if value is not None} | {"step": step})

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """As of `Logger`."""
        file = io.BytesIO()
        figure.savefig(file, format="png")
        with PIL.Image.open(file) as image:
            self._run.log({name: wandb.Image(image), "step": step})

    def summary(self, values: Mapping[str, float]) -> None:
        """As of `Logger`."""
        self._run.summary.update({name: value for name, value in values.items() if math.isfinite(value)})

    def flush(self) -> None:
        """Nothing: a process of its own has it already."""

    def close(self, end: End) -> None:
        """As of `Logger`."""
        self._run.finish(exit_code=STATUS[end])
