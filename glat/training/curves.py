"""TensorBoard's curves of a run, which it writes by a thread of its own."""

import threading
from pathlib import Path

from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from ..runs.checkpoints import naming_failures


class Curves:
    """Writes points and pictures. A full disk is a UserError of the call after, not a thread's traceback.

    Args:
        folder: of the run.
        purge_step: points of this step and of later ones, which an earlier process wrote, are not shown any more.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        self._folder, self._usual = folder, threading.excepthook
        threading.excepthook = self._thread_failed
        with naming_failures(folder):
            self._writer = SummaryWriter(folder, purge_step=purge_step)

    def add(self, step: int, **values: float | None) -> None:
        """Add a point to each of some curves; None, as metrics hold what is not finite, adds none."""
        with naming_failures(self._folder):  # a write may fail for what was added before
            for name, value in values.items():
                if value is not None:
                    self._writer.add_scalar(name, value, step)

    def show(self, name: str, figure: Figure, step: int) -> None:
        """Add a picture."""
        with naming_failures(self._folder):
            self._writer.add_figure(name, figure, step)

    def flush(self) -> None:
        """Write what was added."""
        with naming_failures(self._folder):
            self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        try:
            with naming_failures(self._folder):
                self._writer.close()
        finally:
            threading.excepthook = self._usual

    def _thread_failed(self, found: threading.ExceptHookArgs) -> None:
        # TensorBoard raises it again, in the thread that writes the next point.
        if type(found.thread).__name__ != "_AsyncWriterThread":
            self._usual(found)
