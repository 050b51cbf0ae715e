"""The best evaluation of a run."""

import math
from dataclasses import dataclass


@dataclass
class Best:
    """The best evaluation so far by fused mAP, without that of the untrained model, and how long ago it was."""

    step: int = 0
    mean_ap: float = -math.inf
    since: int = 0  # evaluations after it
    last: int = -1  # step of the last evaluation
    due: bool = True  # whether this step is still to be evaluated: before the first step, and as checkpoints are saved

    def note(self, step: int, mean_ap: float) -> None:
        """Take an evaluation into account. NaN, where no class could be scored, is never better."""
        self.last, self.due = step, False
        if step == 0:
            return
        if mean_ap > self.mean_ap:
            self.step, self.mean_ap, self.since = step, mean_ap, 0
        else:
            self.since += 1

    def why_idle(self) -> str:
        """What to print where `exhausted`."""
        return f"{self.since} evaluations without a better fused mAP (--patience)"

    def exhausted(self, patience: int | None) -> bool:
        """Whether ``--patience`` ends the run."""
        return patience is not None and self.since >= patience
