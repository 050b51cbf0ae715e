"""Scores on fresh soundscapes, which no choice depended on: other mixes of the recordings, scored after the study."""

from collections.abc import Callable
from pathlib import Path

from glat.data import Clips
from glat.machine import pick_device, pick_precision

from .collect import Run
from .plan import CONFIRMED_OF, FOUND_ON, Scale
from .training import hear, trained

FRESH = "fresh.npz"
ROWS = {prefix + row for prefix in CONFIRMED_OF for row in ("alone", "longer", "glat", "pool-max")}


def of_main_rows(row: str, seed: int) -> bool:
    """Whether `CONFIRMED` asks for a row of a seed: nothing was chosen by it."""
    return row in ROWS and seed != FOUND_ON


def heard_afresh(
    runs: list[Run], out: Path, scale: Scale, clips: Clips, wanted: Callable[[str, int], bool] = of_main_rows
) -> list[Run]:
    """The runs of the rows and seeds that are wanted, with their scores of `clips`; kept in their folders.

    A run's file has all that were asked of it: no two pages share a run.
    """
    device = pick_device()
    precision = pick_precision(True, device)
    found = []
    for run in runs:
        rows = tuple(row for row in run.job.rows if wanted(row.name, run.seed))
        if not rows:
            continue
        folder = run.job.folder(out, run.seed)
        path = folder / FRESH
        if not path.exists():
            streams = trained(run.job, run.seed, scale, len(clips.classes), folder)
            heard = hear(rows, streams.to(device), clips, device, lambda: precision.autocast(device))
            heard.save(path)
        found.append(Run.read(run.job, run.seed, run.result, path))
    return found
