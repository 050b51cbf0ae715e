"""What a run's end prints."""

import shlex
import time
from collections.abc import Iterable

from ..config import TrainConfig
from ..evaluation.score import Evaluation, remarks, table
from ..runs.folder import BEST_WEIGHTS
from ..terminal import Table


def lines(
    result: Evaluation,
    classes: tuple[str, ...],
    config: TrainConfig,
    best: tuple[int, float],
    started: float,
    more: Iterable[str] = (),
) -> list[str | Table]:
    """Table 2 of the last evaluation, event metrics where there are any, and what belongs to them.

    Args:
        best: step and fused mAP of the best evaluation; step 0: none.
        started: when the process began, of ``time.perf_counter``.
        more: what else is to be said.
    """
    found: list[str | Table] = [
        f"{config.model.backbone}, evaluated on {result.counted()}, {len(classes)} classes",
        table(result),
        *remarks(result, classes),
    ]
    if result.when is not None:
        found += [result.when.table(), result.when.remark()]
    found += more
    if best[0]:
        step_0 = "step 0, the untrained model, does not count"
        found.append(f"best fused mAP {best[1]:.3f} at step {best[0]}: {BEST_WEIGHTS} ({step_0})")
    folder = shlex.quote(str(config.run.run_dir))
    return [*found, f"{time.perf_counter() - started:.0f} s; use it: glat tag FILE --run {folder}"]
