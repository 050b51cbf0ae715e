"""Which recordings there are, what their labels are, and which of them are kept for the evaluation."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError
from ..clips import Skipped
from .annotations import is_annotated, read_annotations
from .folders import HELP, read_folder
from .negatives import with_negatives
from .recording import Recording
from .saved import is_saved, read_saved
from .table_format import SUFFIXES, TableFormat
from .tables import read_table

_EVAL_SHARE = 0.2


@dataclass(frozen=True)
class Manifest:
    """All recordings of a source, in the order of their names or lines."""

    recordings: tuple[Recording, ...]
    classes: tuple[str, ...]  # sorted
    skipped: tuple[Skipped, ...]


def read_manifest(
    data: Path,
    table: TableFormat = TableFormat(),  # noqa: B008 - frozen
    *,
    audio: Path | None = None,
    negatives: Path | None = None,
) -> Manifest:
    """List the recordings of a folder or table; of files without a usual suffix, the first bytes are read.

    Args:
        data: a folder with one sub-folder a class, files nested at any depth and behind links; or a CSV or TSV with a
            header and the columns file (relative to the table), label (several joined by ``;``; none: a recording
            without any class), optionally fold; or what says what sounds when: a table that also has onset and
            offset, Raven's selection tables, Audacity's label tracks, a folder with one of these a recording; or
            ``hf-dataset:FOLDER``, as of `read_saved`.
        table: how the table names its columns and joins its labels.
        audio: the folder of the files that a table names; None: its own.
        negatives: a folder or list of recordings in which no class sounds.

    Returns:
        The manifest. Skipped, with a reason each: lines without a file or with too many or too few cells, lines that
        repeat another, events that end before they begin; files outside a class folder, that are no audio or hidden;
        links to nothing or back to a folder above; class folders without audio; formats that need a decoder that is
        not installed.

    Raises:
        UserError: `data` does not exist or is neither folder nor table; `audio` is no folder; nothing is listed;
            folders that divide the recordings and are no classes; a table that lacks a column, has it twice, cannot be
            parsed, or lists a file twice with different labels or folds; times that are none.
    """
    try:
        if not (data.exists() or is_saved(data)):
            raise UserError(f"--data {data}: no such file or folder; {HELP}")
        if audio is not None and not audio.is_dir():
            raise UserError(f"--audio {audio}: no such folder; give the one that holds the recordings")
        if is_saved(data):
            if audio is not None:
                raise UserError(f"--audio {audio} is where the files of a table lie; leave it out, or give a table")
            recordings, skipped = read_saved(data, table)
        elif is_annotated(data):
            recordings, skipped = read_annotations(data, table, audio)
        elif data.is_dir():
            if audio is not None:
                raise UserError(f"--audio {audio} is where the files of a table lie; leave it out, or give a table")
            recordings, skipped = read_folder(data)
        elif data.suffix.lower() not in SUFFIXES or not data.is_file():
            raise UserError(f"--data {data}: neither a folder nor a {', '.join(SUFFIXES)} file; {HELP}")
        else:
            recordings, skipped = read_table(data, table, audio)
    except OSError as error:
        raise UserError(f"--data {data}: cannot be read ({error.strerror}); {HELP}") from error
    if negatives is not None:
        recordings = with_negatives(recordings, negatives)
    classes = sorted({label for recording in recordings for label in recording.labels})
    if not classes:
        raise UserError(f"--data {data}: none of {len(recordings)} recordings has a label; give some a class")
    return Manifest(tuple(recordings), tuple(classes), tuple(skipped))


def split(recordings: Sequence[Recording], eval_folds: tuple[str, ...], seed: int) -> list[bool]:
    """Which recordings are for the evaluation.

    With `eval_folds` those of these folds. Without, about a fifth of every class, at least one: those whose
    ``SHA-256(seed/name)`` is smallest, rare classes first; a file's fate depends on no file of another class, unless
    they share files.

    Returns:
        One bool a recording.

    Raises:
        UserError: a fold that no recording has; nothing left on one side; a class that cannot be on both sides.
    """
    chosen = in_folds(recordings, eval_folds) if eval_folds else _by_hash(recordings, seed)
    check_sides(recordings, chosen)
    return chosen


def check_sides(recordings: Sequence[Recording], chosen: Sequence[bool], skipped: int = 0) -> None:
    """Raise UserError where training or evaluation is empty, or lacks what it needs; `skipped` files are mentioned."""
    train = [recording for recording, is_eval in zip(recordings, chosen, strict=True) if not is_eval]
    evaluation = [recording for recording, is_eval in zip(recordings, chosen, strict=True) if is_eval]
    because = f" ({skipped} recordings were skipped)" if skipped else ""
    for side, there in (("training", train), ("evaluation", evaluation)):
        if not there:
            raise UserError(f"no recording is left for {side}{because}; add recordings or choose other --eval-folds")
    unknown = sorted(_labels(evaluation) - _labels(train))
    if unknown:
        raise UserError(
            f"training lacks {_some(unknown)}, which the evaluation has{because}; "
            "add recordings of it or choose other --eval-folds"
        )


def _labels(recordings: Iterable[Recording]) -> set[str]:
    return {label for recording in recordings for label in recording.labels}


def _some(names: Sequence[str]) -> str:
    """The first few of many, quoted."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(repr(name) for name in names[:5]) + more


def in_folds(recordings: Sequence[Recording], eval_folds: tuple[str, ...]) -> list[bool]:
    """Which recordings are in one of these folds.

    Raises:
        UserError: a fold that no recording has.
    """
    wanted = {fold.strip() for fold in eval_folds}
    seen = sorted({recording.fold for recording in recordings if recording.fold})
    if not seen:
        raise UserError(f"--eval-folds {' '.join(eval_folds)}: the data name no folds; give a CSV with a column fold")
    missing = sorted(wanted - set(seen))
    if missing:
        raise UserError(f"--eval-folds: no recording is in {_some(missing)}; folds seen: {', '.join(seen[:50])}")
    return [recording.fold in wanted for recording in recordings]


def _by_hash(recordings: Sequence[Recording], seed: int) -> list[bool]:
    by_class: dict[str, list[int]] = {}
    for i in sorted(range(len(recordings)), key=lambda i: _hash(recordings[i].name, seed)):
        for label in recordings[i].labels:
            by_class.setdefault(label, []).append(i)
    single = sorted(label for label, members in by_class.items() if len(members) == 1)
    if single:
        raise UserError(
            f"one recording only of {_some(single)}, and both training and evaluation need one; "
            "add recordings, or give a CSV with a column fold and --eval-folds"
        )
    without = [i for i, recording in enumerate(recordings) if not recording.labels]
    without.sort(key=lambda i: _hash(recordings[i].name, seed))
    for_eval = round(_EVAL_SHARE * len(without))
    side = {i: rank < for_eval for rank, i in enumerate(without)}
    for label, members in sorted(by_class.items(), key=lambda item: (len(item[1]), item[0])):
        free = [i for i in members if i not in side]
        for_eval = max(1, round(_EVAL_SHARE * len(members))) - sum(side.get(i, False) for i in members)
        side.update({i: rank < for_eval for rank, i in enumerate(free)})
        if len({side[i] for i in members}) < 2:
            raise UserError(
                f"no split puts a recording of {label!r} into both training and evaluation, as its recordings carry "
                "labels of rarer classes; add recordings, or give a CSV with a column fold and --eval-folds"
            )
    return [side[i] for i in range(len(recordings))]


def _hash(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
