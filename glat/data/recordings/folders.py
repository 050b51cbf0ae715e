"""Folders with one sub-folder a class: every file is a recording, or is named with the reason why not."""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import UserError
from ..clips import Skipped
from ..names import clean
from . import foreign
from .containers import looks_like_audio
from .recording import Recording

# What soundfile reads. Files of other suffixes, or none, are recordings where their first bytes are those of one.
AUDIO_SUFFIXES = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mpga"),
    *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist", ".voc", ".svx", ".8svx", ".avr", ".wve"),
)
# What lies beside sounds and is none: not worth a word.
_NO_SOUND = (
    *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".md", ".xml", ".yaml", ".yml", ".toml", ".html", ".pdf", ".png"),
    *(".jpg", ".jpeg", ".gif", ".svg", ".py", ".sh", ".log", ".lab", ".rttm", ".textgrid", ".jams", ".db", ".ini"),
)
HELP = "give a folder with one sub-folder a class, or a CSV with the columns file and label"
_TRAIN = {"train", "training", "tr"}
_EVALUATION = {"test", "testing", "eval", "evaluation", "val", "valid", "validation", "dev"}
_FOLD = re.compile(r"folds?[ _-]?\d+", re.IGNORECASE)


@dataclass
class _Found:
    """What lies below one class folder."""

    recordings: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    others: dict[str, list[Path]] = field(default_factory=dict)  # by suffix
    folders: dict[tuple[int, int], Path] = field(default_factory=dict)  # by device and inode


def read_folder(root: Path) -> tuple[list[Recording], list[Skipped]]:
    """The recordings of a folder, those of a class behind each other; links are followed, each folder once a class.

    Raises:
        UserError: no recording in a class folder; sub-folders that are a division (train, test; folds), not classes.
    """
    recordings: list[Recording] = []
    skipped: list[Skipped] = []
    suffixes: Counter[str] = Counter()
    tops = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    _refuse_division(root, [path for path in tops if path.is_dir()])
    for top in tops:
        found = _Found()
        is_folder = top.is_dir()
        _walk(root, top, found, (_identity(root),))
        label = clean(_printable(Path(top.name)))
        if is_folder:
            recordings += [Recording(_name(root, path), path, (label,)) for path in sorted(found.recordings)]
        else:
            found.skipped += [Skipped(_name(root, path), "lies in no class folder") for path in found.recordings]
        for suffix, paths in sorted(found.others.items()):
            suffixes[suffix or "no suffix"] += len(paths)
            if suffix in _NO_SOUND:
                continue
            more = f", and so are {len(paths) - 1} more in {_name(root, top)}" if len(paths) > 1 else ""
            found.skipped.append(
                Skipped(_name(root, min(paths)), f"is no audio by its suffix ({suffix or 'none'}) or content{more}")
            )
        skipped += found.skipped
        if is_folder and not found.recordings and not any("cannot be listed" in skip.reason for skip in found.skipped):
            skipped.append(Skipped(_name(root, top), "class folder without audio"))
    if not recordings:
        suffixes.update(Path(skip.file).suffix.lower() for skip in skipped if Path(skip.file).suffix)
        seen = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5)) or "no files"
        because = f", as {skipped[0].file} {skipped[0].reason.partition(';')[0]}" if skipped else ""
        raise UserError(f"--data {root}: no audio in a class folder (seen: {seen}){because}; {HELP}")
    return recordings, skipped


def recordings_below(root: Path) -> tuple[list[Path], list[Skipped]]:
    """The recordings of a folder of any shape, sorted, and what was left out; links are followed, each folder once."""
    found = _Found()
    _walk(root, root, found, ())
    for suffix, paths in sorted(found.others.items()):
        if suffix not in _NO_SOUND:
            more = f", and so are {len(paths) - 1} more" if len(paths) > 1 else ""
            reason = f"is no audio by its suffix ({suffix or 'none'}) or content{more}"
            found.skipped.append(Skipped(_name(root, min(paths)), reason))
    return sorted(found.recordings), found.skipped


def _refuse_division(root: Path, folders: list[Path]) -> None:
    names = [folder.name.casefold() for folder in folders]
    if len(names) < 2:
        return
    if all(_FOLD.fullmatch(name) for name in names):
        raise UserError(
            f"--data {root}: its folders are folds ({names[0]}, {names[1]}, ...), not classes; "
            "give a CSV with the columns file, label and fold, and --eval-folds"
        )
    train = [folder for folder in folders if folder.name.casefold() in _TRAIN]
    others = [folder for folder in folders if folder.name.casefold() in _EVALUATION]
    if not train or len(train) + len(others) < len(folders) or not others:
        return
    if any(path.is_dir() for path in train[0].iterdir()):
        preferred = min(others, key=lambda folder: (folder.name.casefold()[:4] != "test", folder.name))
        mend = f"give --data {train[0]} --eval-data {preferred}"
    else:
        mend = "they hold no class folders: give a CSV with the columns file and label for each"
    seen = ", ".join(folder.name for folder in folders)
    raise UserError(f"--data {root}: its folders ({seen}) divide the recordings and are no classes; {mend}")


def _walk(root: Path, path: Path, found: _Found, above: tuple[tuple[int, int], ...]) -> None:
    """Sort one file, or all below a folder, into `found`; `above` are the folders that are being walked."""
    suffix = path.suffix.lower()
    try:
        if not path.is_dir():
            _sort_file(root, path, suffix, found)
            return
        if suffix in AUDIO_SUFFIXES and above[1:]:  # below a class folder
            found.recordings.append(path)  # a folder named like audio: decoding will say so
        identity = _identity(path)
        if identity in above:
            found.skipped.append(Skipped(_name(root, path), "is a link back to a folder that holds it"))
            return
        if identity in found.folders:
            first = _name(root, found.folders[identity])
            found.skipped.append(Skipped(_name(root, path), f"is the same folder as {first}, which is listed"))
            return
        found.folders[identity] = path
        hidden = 0
        for below in sorted(path.iterdir()):
            if below.name.startswith("."):
                hidden += below.suffix.lower() in AUDIO_SUFFIXES and not below.name.startswith("._")
            else:
                _walk(root, below, found, (*above, identity))
        if hidden:
            found.skipped.append(Skipped(_name(root, path), f"holds {hidden} hidden sounds (.name)"))
    except OSError as error:
        found.skipped.append(Skipped(_name(root, path), f"cannot be listed ({error.strerror})"))


def _sort_file(root: Path, path: Path, suffix: str, found: _Found) -> None:
    if not path.exists():
        found.skipped.append(Skipped(_name(root, path), "is a link to nothing"))
    elif suffix in AUDIO_SUFFIXES or (suffix in foreign.SUFFIXES and foreign.is_available()):
        found.recordings.append(path)
    elif suffix in foreign.SUFFIXES:
        found.skipped.append(Skipped(_name(root, path), foreign.advice(suffix)))
    elif suffix not in _NO_SOUND and path.is_file() and looks_like_audio(path):
        found.recordings.append(path)
    else:
        found.others.setdefault(suffix, []).append(path)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _name(root: Path, path: Path) -> str:
    return _printable(path.relative_to(root))


def _printable(path: Path) -> str:
    """A file's name as UTF-8, whatever bytes the disk holds."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
