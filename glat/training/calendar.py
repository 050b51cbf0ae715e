"""When a run reports, evaluates and saves."""

from typing import NamedTuple

from ..config import RunConfig


class Due(NamedTuple):
    """What is due after a step."""

    log: bool
    evaluate: bool
    save: bool


class Calendar:
    """The steps at which a run reports, evaluates and saves.

    Args:
        config: ``--log-every``, ``--eval-every``, ``--save-every``; where one is open, only the last step counts.
        steps: of the whole run.
    """

    def __init__(self, config: RunConfig, steps: int) -> None:
        self._every = [every or steps for every in (config.log_every, config.eval_every, config.save_every)]
        self._steps = steps

    def due(self, done: int, last: bool = False) -> Due:
        """What is due after `done` steps; everything, where they are the last ones."""
        log, evaluate, save = (last or done == self._steps or done % every == 0 for every in self._every)
        # Saved before it is evaluated: a signal may end an evaluation, which is then made when the run goes on.
        return Due(log or save, evaluate, save or evaluate)
