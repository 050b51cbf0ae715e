"""Writes the study's results, pictures and page from the folders of its runs."""

import json
from pathlib import Path

from glat.files import replaced, write_json

from . import pictures
from .collect import finished, summarise
from .page import blocks, with_blocks

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "study.md"
RESULTS = PAGE.parent / "study" / "results.json"


def write(out: Path, to: Path, resamples: int) -> None:
    """Put ``study.md``, with its words as they are in docs/, and ``study/`` with results and pictures into `to`.

    Raises:
        UserError: `out` holds no run that has ended.
    """
    summary = summarise(finished(out), resamples)
    folder = to / "study"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULTS.name, summary)
    summary = json.loads((folder / RESULTS.name).read_text(encoding="utf-8"))
    pictures.draw(summary, folder)
    text = with_blocks(PAGE.read_text(encoding="utf-8"), blocks(summary))
    with replaced(to / PAGE.name) as temporary:
        temporary.write_text(text, encoding="utf-8")
