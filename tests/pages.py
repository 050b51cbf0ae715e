"""Commands of the pages, and a small world in which they run."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from trained import train_here

from glat.backbones import build

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
CLASSES = ("noise", "a", "b", "c", "d", "e", "f", "g")  # as many as five crops and more need; all but the first tones
SECONDS = ("--width", "0.0625", "--batch-size", "4", "--num-crops", "2", "--crop-seconds", "0.5", "--clip-seconds", "1")
BLOCK = re.compile(r"^(?:<!-- not run: (.*?) -->\n)?```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Command(NamedTuple):
    """A command of a page.

    Attributes:
        line: as it stands there, without its comment.
        words: as a shell splits it.
        not_run: why it cannot run here, as the page says; None where it says nothing.
    """

    line: str
    words: list[str]
    not_run: str | None


def commands(page: Path) -> Iterator[Command]:
    """Those in a page's blocks of bash, in their order."""
    for reason, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        line = ""
        for next_line in block.replace("\\\n", " ").splitlines(keepends=True):
            line += next_line
            try:
                words = shlex.split(line, comments=True)
            except ValueError:  # a quotation that ends on another line
                continue
            if words:
                yield Command(shlex.join(words), words, reason or None)
            line = ""
        assert not line, f"{page.name}: {line}"


def block(page: str, language: str) -> str:
    """The first block of code in a language on a page of docs/."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.search(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no block of {language}"
    return found[1]


def sound(label: str, seed: int, seconds: float = 0.6, rate: int = 32_000) -> np.ndarray:
    """A tone, or noise."""
    random = np.random.default_rng(seed)
    n = round(seconds * rate)
    tone = np.sin(2 * np.pi * (300 * CLASSES.index(label) + random.uniform(0, 50)) * np.arange(n) / rate)
    return (0.2 * (random.normal(size=n) if label == CLASSES[0] else tone)).astype(np.float32)


def make_world(folder: Path) -> None:
    """What the pages' commands name, in small."""
    rows = []
    for name in ("recordings", "events", "others"):
        for label in CLASSES:
            for i in range(5):  # folds 0 to 4
                file = folder / name / label / f"{i}.wav"
                file.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(file, sound(label, i), 32_000)
                rows.append((f"{name}/{label}/{i}.wav", label, i))
    here = [row for row in rows if row[0].startswith("recordings")]
    table = "file,label,fold\n" + "".join(f"{file},{label},{fold}\n" for file, label, fold in here)
    for name in ("esc10.csv", "other.csv", "more.csv"):
        (folder / name).write_text(table)
    _make_events(folder)
    (folder / "list.txt").write_text("street.wav\ncard/0.wav\n")
    soundfile.write(folder / "street.wav", sound("a", 9, 3.0), 32_000)
    for name in ("card", "archive", "field"):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            soundfile.write(folder / name / f"{i}.wav", sound(CLASSES[i], i, 2.0), 32_000)
    for i in range(3):
        (folder / "card" / f"{i}.txt").write_text("".join(f"0.1\t1.5\t{label}\n" for label in CLASSES))
    (folder / "esc10.yaml").write_text(block("training.md", "yaml").replace("../recordings/", ""))
    _make_audioset(folder)
    _make_weights(folder)
    for run in ("runs/a", "runs/b"):  # of soundscapes: the times of their events are known
        data = ("--data", folder / "events", "--mix", "--train-clips", 8, "--eval-clips", 8)
        train_here(*data, *SECONDS, "--iterations", 2, "--run-dir", folder / run)


def _make_events(folder: Path) -> None:
    """Recordings of 4 s, of which two seconds sound, in a table of DCASE's columns with folds."""
    rows = ["filename\tonset\toffset\tevent_label\tfold\n"]
    for fold in ("train", "eval"):
        for label in CLASSES:
            name = f"{fold}-{label}.wav"
            soundfile.write(folder / name, np.pad(sound(label, 3, 2.0), 32_000), 32_000)
            rows.append(f"{name}\t1.0\t3.0\t{label}\t{fold}\n")
    (folder / "long.tsv").write_text("".join(rows))


def _make_audioset(folder: Path) -> None:
    names = "".join(f"{k},/m/{k},{label}\n" for k, label in enumerate(CLASSES))
    (folder / "class_labels_indices.csv").write_text("index,mid,display_name\n" + names)
    (folder / "mid_to_display_name.tsv").write_text("".join(f"/m/{k}\t{label}\n" for k, label in enumerate(CLASSES)))
    strong = "".join(f"some-{i:06d}_0\t0.2\t0.8\t/m/{k}\n" for i in range(8) for k in range(8))
    (folder / "strong.tsv").write_text("segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n" + strong)
    for part, table in (("", "segments"), ("balanced", "balanced_train_segments"), ("eval", "eval_segments")):
        (folder / "wav" / part).mkdir(parents=True, exist_ok=True)
        lines = ["# YTID, start_seconds, end_seconds, positive_labels\n"]
        for i in range(8):
            clip = f"{part[:4] or 'some'}-{i:06d}"
            soundfile.write(folder / "wav" / part / f"Y{clip}.wav", sound(CLASSES[i], i, 1.0), 32_000)
            lines.append(f'{clip}, 0.000, 10.000, "/m/{i}"\n')
        (folder / f"{table}.csv").write_text("".join(lines))


def _make_weights(folder: Path) -> None:
    for name, file in (("cnn10", "Cnn10_mAP=0.380.pth"), ("cnn14", "Cnn14_mAP=0.431.pth")):
        torch.manual_seed(0)
        torch.save({"model": build(name, len(CLASSES), 0.0625).state_dict()}, folder / file)
