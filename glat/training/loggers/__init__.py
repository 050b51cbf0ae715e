"""Where a run's curves go besides its metrics.jsonl: TensorBoard, Weights & Biases, MLflow, several of them or none.

A logger is a module of this package, imported when it is chosen, whose `start` returns a `Logger`. What fails in one is
said in a line, and the run goes on without it: the record of a run is its own folder.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from matplotlib.figure import Figure

from ...errors import Stopped, UserError, first_line
from ...runs.digests import read_record, write_record
from ...runs.folder import LOGGERS
from ...text import complain

NEEDED = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}  # what each imports
End = Literal["finished", "stopped", "failed"]
Row = Mapping[str, float | None]  # a line of the metrics: its step and some values; None where one is not finite


@dataclass(frozen=True)
class About:
    """What a logger is told of the run that it is to write.

    Attributes:
        folder: of the run.
        config: all settings, as config.json has them, by part and name.
        first_step: steps that earlier processes made. Points of later ones are about to come again.
        rows: the metrics up to that step.
        known_as: what `Logger.known_as` was in an earlier process of the same run; empty in the first one.
    """

    folder: Path
    config: dict[str, Any]
    first_step: int
    rows: Sequence[Row]
    known_as: Mapping[str, str]


class Logger(Protocol):
    """Writes the points, pictures and results of one run.

    Attributes:
        known_as: by what a later process finds the same run again.
        said: what to print when it starts; empty: nothing.
    """

    known_as: dict[str, str]
    said: str

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a point to each of some curves; None adds none."""

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Add a picture."""

    def summary(self, values: Mapping[str, float]) -> None:
        """Note what came out at the end."""

    def flush(self) -> None:
        """Bring what was added to where a kill does not reach it."""

    def close(self, end: End) -> None:
        """Write what is left; nothing is added afterwards."""


def require(names: Sequence[str]) -> None:
    """See that what loggers need is installed; nothing is imported.

    Raises:
        UserError: it is not.
    """
    for name in names:
        if name in NEEDED and find_spec(NEEDED[name]) is None:
            raise UserError(f"--logger {name} needs {name}: pip install 'glat[{name}]', or leave it out")


_OPEN: "list[Loggers]" = []


@contextmanager
def closed() -> Iterator[None]:
    """Close the loggers that the block, or the function, leaves open, and say to them how it ended."""
    try:
        yield
    except BaseException as error:
        end: End = "stopped" if isinstance(error, Stopped | KeyboardInterrupt) else "failed"
        while _OPEN:
            _OPEN.pop().abandon(end)
        raise


class Loggers:
    """The loggers of a run, on rank 0.

    Args:
        names: those of ``--logger``.
        about: all but `About.known_as`, which the run's folder has.

    Attributes:
        said: lines to print.
    """

    def __init__(self, names: Sequence[str], about: About) -> None:
        self._open: dict[str, Logger] = {}
        self.said: list[str] = []
        known = _known(about.folder)
        for name in names:
            if name != "none":
                self._start(name, about, known.get(name, {}))
        found = known | {name: logger.known_as for name, logger in self._open.items() if logger.known_as}
        if found != known:
            try:
                write_record(about.folder / LOGGERS, found)
            except OSError as error:
                complain(f"warning: {about.folder / LOGGERS} cannot be written ({error.strerror}); the run goes on")
        _OPEN.append(self)

    @property
    def any(self) -> bool:
        """Whether there is one left."""
        return bool(self._open)

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """As of `Logger`."""
        self._each(lambda logger: logger.scalars(step, values))

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """As of `Logger`."""
        self._each(lambda logger: logger.figure(name, figure, step))

    def flush(self) -> None:
        """As of `Logger`."""
        self._each(lambda logger: logger.flush())

    def finish(self, values: Mapping[str, float]) -> None:
        """Note what came out and close: the run has ended well."""
        self._each(lambda logger: logger.summary(values))
        self._each(lambda logger: logger.close("finished"))
        _OPEN.remove(self)

    def abandon(self, end: End) -> None:
        """Close as well as can be: the run ends for a reason that is said elsewhere."""
        for logger in self._open.values():
            with suppress(Exception):
                logger.close(end)

    def _start(self, name: str, about: About, known_as: Mapping[str, str]) -> None:
        def start() -> None:
            module = importlib.import_module(f".{name}", __package__)
            told = About(about.folder, about.config, about.first_step, about.rows, known_as)
            self._open[name] = logger = module.start(told)
            self.said += [logger.said] if logger.said else []

        self._try(name, start)

    def _each(self, call: Callable[[Logger], None]) -> None:
        for name, logger in list(self._open.items()):
            if not self._try(name, lambda logger=logger: call(logger)):  # type: ignore[misc]
                del self._open[name]
                with suppress(Exception):
                    logger.close("failed")

    def _try(self, name: str, call: Callable[[], None]) -> bool:
        """Whether a call went well; else it is said."""
        try:
            call()
        except Exception as error:
            complain(
                f"warning: --logger {name} failed ({type(error).__name__}: {first_line(error)[:200]}); the run goes on "
                "without it, and its metrics.jsonl has everything"
            )
            return False
        return True


def _known(folder: Path) -> dict[str, dict[str, str]]:
    """What the loggers of earlier processes noted of themselves."""
    try:
        found, _ = read_record(folder / LOGGERS)
        texts = {name: {str(key): str(value) for key, value in facts.items()} for name, facts in found.items()}
    except FileNotFoundError:
        return {}
    except (UserError, AttributeError) as error:
        complain(f"warning: {first_line(error)}: wandb and MLflow get a run anew")
        return {}
    return texts
