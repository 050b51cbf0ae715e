"""The flags that name a trained model, of the commands that use one."""

from dataclasses import dataclass
from pathlib import Path

from ..config import CropPooling
from ..hub.fetch import local
from ..model import GlobalLocal
from ..runs.folder import BEST_WEIGHTS, WEIGHTS, Run, open_run
from ..runs.weights import load_model
from ..urls import url_of


@dataclass(frozen=True, kw_only=True)
class TrainedFlags:
    """A run, and what of it."""

    run: Path
    """The folder of a training run, or hf://owner/name[@revision] on the Hugging Face Hub."""
    best: bool = False
    """The weights of the run's best evaluation, in place of those of its last checkpoint."""
    crop_pooling: CropPooling | None = None
    """What makes the local stream's score of its crops' probabilities; without it, what the run was trained with."""
    allow_code: str | None = None
    """Modules whose code may run, separated by commas: of a run that was trained with a network of your own (--backbone
    module:factory). Name only code that you trust; the module is found where Python looks, then in this folder."""

    @property
    def named(self) -> str:
        """The run as it was named, for messages."""
        return url_of(self.run) or str(self.run)

    def recorded(self) -> Run:
        """The run as it was recorded, fetched where it lies on the hub.

        Raises:
            UserError: as of `local` and `open_run`.
        """
        return open_run(local(self.run))

    def open(self, opened: Run | None = None) -> tuple[Run, GlobalLocal]:
        """The run, and its model in evaluation mode, on the CPU.

        Args:
            opened: the run, where the caller has opened it.

        Raises:
            UserError: as of `recorded` and `load_model`.
        """
        opened = (opened or self.recorded()).pooled_by(self.crop_pooling)
        allowed = self.allow_code.split(",") if self.allow_code else ()
        return opened, load_model(opened, BEST_WEIGHTS if self.best else WEIGHTS, allowed)
