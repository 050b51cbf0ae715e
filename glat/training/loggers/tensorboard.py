"""TensorBoard's curves of a run, which it writes by a thread of its own, in the run's folder."""

import threading
from collections.abc import Mapping

from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from . import About, End


def start(about: About) -> "TensorBoard":
    """Write event files into the run's folder."""
    return TensorBoard(about)


class TensorBoard:
    """Writes points and pictures. A full disk is an error of the call after, not a thread's traceback."""

    def __init__(self, about: About) -> None:
        self.known_as, self.said = dict[str, str](), ""
        self._usual = threading.excepthook
        threading.excepthook = self._thread_failed
        new = not any(about.folder.glob("events.out.tfevents.*"))
        # Points of that step and of later ones, which an earlier process wrote, are not shown any more.
        self._writer = SummaryWriter(about.folder, purge_step=about.first_step)
        for row in about.rows:
            if new or row["step"] == about.first_step:
                self.scalars(int(row["step"] or 0), row)

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """As of `Logger`."""
        for name, value in values.items():
            if value is not None and name != "step":
                self._writer.add_scalar(name, value, step)  # it may raise for what was added before

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """As of `Logger`."""
        self._writer.add_figure(name, figure, step)

    def summary(self, values: Mapping[str, float]) -> None:
        """Nothing: the last points of the curves say it."""

    def flush(self) -> None:
        """As of `Logger`."""
        self._writer.flush()

    def close(self, end: End) -> None:
        """As of `Logger`."""
        try:
            self._writer.close()
        finally:
            threading.excepthook = self._usual

    def _thread_failed(self, found: threading.ExceptHookArgs) -> None:
        # TensorBoard raises it again, in the thread that writes the next point.
        if type(found.thread).__name__ != "_AsyncWriterThread":
            self._usual(found)
