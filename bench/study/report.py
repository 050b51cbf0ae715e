"""Write the study's results, pictures and page from its runs' folders."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from glat.errors import UserError
from glat.files import replaced, to_json_text

from . import pictures
from .collect import finished, summarise
from .crops import ROWS, said_of_crops
from .fresh import heard_afresh
from .page import PAGE, blocks, with_blocks
from .plan import FULL
from .running import note
from .training import soundscapes

FRESH_MIX = 1  # clips of the evaluation's recordings that no choice has seen
RESULTS = PAGE.parent / "study" / "results.json"


def write(out: Path, data: Path | None, to: Path, resamples: int) -> None:
    """Put ``study.md``, with its words as they are in docs/, and ``study/`` with results and pictures into `to`.

    Args:
        out, data: as for `running.run`.
        to: the folder.
        resamples: of the bootstrap.

    Raises:
        UserError: `out` holds no run that has ended, or a study of other recordings; no resample; a small study, or one
            of synthesised events, for docs/.
    """
    if resamples < 1:
        raise UserError(f"--resamples is {resamples}; give 1 or more")
    # Runs on finer frames have sections, results and commands of their own.
    runs = finished(out, lambda job: not job.is_fine)
    scale = note(out, data)
    if to.resolve() == PAGE.parent and (scale != FULL or data is None):
        raise UserError(f"{out} is not the study that docs/ is about, which is larger and of recordings; give --to")
    evaluation = replace(scale, train_clips=1)  # a clip does not depend on how many there are
    crops: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        if not {row.name for row in run.job.rows}.isdisjoint(ROWS):
            clips = soundscapes(data, evaluation, run.job.first.sounds).evaluation
            for name, said in said_of_crops(run.job.folder(out, run.seed), run.job, run.seed, scale, clips).items():
                crops.setdefault(name, []).append({"seed": run.seed, **said})
    fresh = heard_afresh(runs, out, scale, soundscapes(data, evaluation, mix=FRESH_MIX).evaluation)
    summary = summarise(runs, fresh, resamples) | {"crops": crops, "data": data.name if data else "synthesised events"}
    summary["crops_at"] = sorted({each["commit"] for of_row in crops.values() for each in of_row})
    folder = to / "study"
    folder.mkdir(parents=True, exist_ok=True)
    text = to_json_text(rounded(summary), indent=1)
    # A list of numbers on one line: half the file.
    text = re.sub(r"\[([^\[\]{}\"]*)\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    with replaced(folder / RESULTS.name) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    summary = json.loads(text)
    pictures.draw(summary, folder)
    text = with_blocks(PAGE.read_text(encoding="utf-8"), blocks(summary))
    with replaced(to / PAGE.name) as temporary:
        temporary.write_text(text, encoding="utf-8")


def rounded(value: Any) -> Any:
    """To five digits behind the point, more than the page shows."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(value, 5) if isinstance(value, float) else value
