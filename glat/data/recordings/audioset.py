"""AudioSet's tables: class labels, segments, black lists, and which file holds which segment."""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from ...errors import UserError
from ..clips import Skipped
from . import foreign
from .folders import AUDIO_SUFFIXES
from .manifest import Manifest
from .recording import Recording

_ID = r"[A-Za-z0-9_-]{11}"
# Y<id>, <id>, and either with start and end. An id has 11 characters, so that its own "_" and "-" divide nothing.
_STEM = re.compile(rf"Y?(?P<id>{_ID})(?:_(?P<start>\d+(?:\.\d+)?)(?:_(?P<end>\d+(?:\.\d+)?))?)?")
_HEADER_LINES = 3
_SAME_SECONDS = 0.01


@dataclass(frozen=True)
class ClassLabels:
    """AudioSet's classes, in its own order."""

    names: tuple[str, ...]  # for display
    index: dict[str, int]  # by machine id, such as /m/09x0r


@dataclass(frozen=True)
class _Segment:
    start_seconds: float
    end_seconds: float
    labels: tuple[str, ...]


def read_class_labels(table: Path) -> ClassLabels:
    """Read class_labels_indices.csv: ``index,mid,display_name``.

    Raises:
        UserError: no such file, other columns, an index out of order, a name twice.
    """
    wanted = "give AudioSet's class_labels_indices.csv"
    names: list[str] = []
    index: dict[str, int] = {}
    with _opened(table, "--labels", wanted) as stream:
        rows = csv.DictReader(stream)
        if not {"index", "mid", "display_name"} <= set(rows.fieldnames or ()):
            seen = ", ".join(rows.fieldnames or ()) or "none"
            raise UserError(f"--labels {table}: columns index, mid, display_name are wanted, seen: {seen}; {wanted}")
        for row in rows:
            if row["index"] != str(len(names)) or row["mid"] in index or row["display_name"] in names:
                raise UserError(f"--labels {table}: line {rows.line_num} repeats a class or is out of order; {wanted}")
            index[row["mid"]] = len(names)
            names.append(row["display_name"])
    if not names:
        raise UserError(f"--labels {table}: no class; {wanted}")
    return ClassLabels(tuple(names), index)


def with_display_names(manifest: Manifest, labels: Path) -> Manifest:
    """A list whose labels are machine ids (/m/09x0r), as of AudioSet's strong labels, with the classes' names instead.

    Args:
        labels: class_labels_indices.csv, or the strong labels' mid_to_display_name.tsv (``mid TAB name``).

    Raises:
        UserError: a file of another kind; no label of the list is in it.
    """
    if labels.suffix.lower() == ".tsv":
        with _opened(labels, "--labels", "give AudioSet's mid_to_display_name.tsv") as stream:
            names = dict(row for row in csv.reader(stream, delimiter="\t") if len(row) == 2)
    else:
        found = read_class_labels(labels)
        names = {mid: found.names[k] for mid, k in found.index.items()}
    if not names.keys() & set(manifest.classes):
        raise UserError(f"--labels {labels}: names none of the classes ({manifest.classes[0]}, ...); leave it out")

    def renamed(recording: Recording) -> Recording:
        soundings = recording.soundings and tuple(
            replace(sounding, label=names.get(sounding.label, sounding.label)) for sounding in recording.soundings
        )
        new = tuple(sorted({names.get(label, label) for label in recording.labels}))
        return replace(recording, labels=new, soundings=soundings)

    recordings = tuple(map(renamed, manifest.recordings))
    return Manifest(recordings, tuple(sorted({names.get(c, c) for c in manifest.classes})), manifest.skipped)


def read_audioset(segments: Path, labels: Path, audio: Path, black_lists: Sequence[Path] = ()) -> Manifest:
    """List the recordings of one of AudioSet's segment tables; opens no audio file.

    Args:
        segments: e.g. balanced_train_segments.csv: three header lines, then ``id, start, end, "mid,mid"``.
        labels: class_labels_indices.csv.
        audio: the folder, nested or not, of files named Y<id>, <id> or [Y]<id>_<start>[_<end>], times in seconds or
            milliseconds, of any of soundfile's suffixes.
        black_lists: lists of segments to leave out, a line each that begins with an id or a file name, such as those
            of DCASE 2017 task 4.

    Returns:
        The manifest in the order of the table, every recording named Y<id>.wav as by PANNs, with all classes in
        AudioSet's order. Skipped are segments on a black list, without a file or listed twice, and second files.

    Raises:
        UserError: a table that cannot be read or parsed, a label that `labels` lacks, no file for any segment.
    """
    classes = read_class_labels(labels)
    black = {clip for table in black_lists for clip in _read_black_list(table)}
    files, skipped = _scan(audio)
    recordings: list[Recording] = []
    seen: set[str] = set()
    for clip, segment in _read_segments(segments, classes, labels):
        name = f"Y{clip}.wav"
        if clip in seen:
            skipped.append(Skipped(name, f"listed twice in {segments.name}"))
            continue
        seen.add(clip)
        if clip in black:
            skipped.append(Skipped(name, "on the black list"))
            continue
        found = [path for path, times in files.get(clip, ()) if _is_of(times, segment) and _is_readable(path)]
        if not found:
            skipped.append(Skipped(name, _why_missing(clip, files, audio)))
            continue
        recordings.append(Recording(name, Path(found[0]), segment.labels))
        skipped.extend(Skipped(path, f"a second file of {name}; {found[0]} is taken") for path in found[1:])
    if not recordings:
        unreadable = [path for paths in files.values() for path, _ in paths if not _is_readable(path)]
        if unreadable:
            suffix = Path(unreadable[0]).suffix.lower()
            raise UserError(
                f"--audio {audio}: {len(unreadable)} files such as {unreadable[0]}: {foreign.advice(suffix)}"
            )
        raise UserError(
            f"--audio {audio}: no file of any of {len(seen)} segments of {segments} ({len(files)} files named like "
            "AudioSet's seen); name them Y<id>.wav or <id>_<start>_<end>.flac, or give the folder that holds them"
        )
    return Manifest(tuple(recordings), classes.names, tuple(skipped))


def _read_segments(table: Path, classes: ClassLabels, labels: Path) -> Iterator[tuple[str, _Segment]]:
    wanted = "give one of AudioSet's segment tables, such as balanced_train_segments.csv"
    known: dict[str, tuple[str, ...]] = {}  # most clips share their set of labels with others
    with _opened(table, "--audioset", wanted) as stream:
        rows = csv.reader(stream, skipinitialspace=True)
        for row in rows:
            try:
                clip, start, end, mids = row
                times = float(start), float(end)
                if not re.fullmatch(_ID, clip):
                    raise ValueError
            except ValueError:
                if rows.line_num <= _HEADER_LINES or not any(row):
                    continue
                raise UserError(f"--audioset {table}: line {rows.line_num} is no segment ({row}); {wanted}") from None
            if mids not in known:
                unknown = [mid for mid in mids.split(",") if mid not in classes.index]
                if unknown:
                    raise UserError(
                        f"--audioset {table}: line {rows.line_num} has the label {unknown[0]!r}, which {labels} lacks; "
                        "give the class labels of the same release"
                    )
                known[mids] = tuple(sorted({classes.names[classes.index[mid]] for mid in mids.split(",")}))
            yield clip, _Segment(*times, known[mids])


def _read_black_list(table: Path) -> set[str]:
    wanted = "give lines that begin with an id or a file name, such as DCASE 2017's -5QrBL6MzLg_60.000_70.000.wav"
    clips: set[str] = set()
    with _opened(table, "--black-list", wanted) as stream:
        for number, line in enumerate(stream, 1):
            first = re.split(r"[\t,]", line.strip())[0].strip()
            match = _STEM.fullmatch(_stem(first))
            if match:
                clips.add(match["id"])
            elif first and number > 1:  # the first may be a header
                raise UserError(f"--black-list {table}: line {number} begins with no clip ({first[:80]!r}); {wanted}")
    if not clips:
        raise UserError(f"--black-list {table}: no clip; {wanted}")
    return clips


def _scan(audio: Path) -> tuple[dict[str, list[tuple[str, tuple[float, ...]]]], list[Skipped]]:
    """Files of a folder by id, with the times in their names; names only are looked at, each once."""
    if not audio.is_dir():
        raise UserError(f"--audio {audio}: no such folder; give the one that holds AudioSet's recordings")
    unlisted: list[Skipped] = []
    files: dict[str, list[tuple[str, tuple[float, ...]]]] = {}

    def report(error: OSError) -> None:
        unlisted.append(Skipped(str(error.filename), f"cannot be listed ({error.strerror})"))

    walked: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(audio, onerror=report, followlinks=True):
        status = os.stat(here)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in walked:  # a second link to a folder, perhaps to one above
            folders.clear()
            continue
        walked.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)  # noqa: PTH122  # two million times: a Path each takes a minute
            if suffix.lower() in (*AUDIO_SUFFIXES, *foreign.SUFFIXES) and (match := _STEM.fullmatch(stem)):
                times = tuple(float(time) for time in match.group("start", "end") if time is not None)
                files.setdefault(match["id"], []).append((os.path.join(here, name), times))  # noqa: PTH118
    return files, unlisted


def _is_readable(path: str) -> bool:
    return foreign.is_available() or not path.lower().endswith(foreign.SUFFIXES)


def _why_missing(clip: str, files: dict[str, list[tuple[str, tuple[float, ...]]]], audio: Path) -> str:
    """Why a segment has no recording."""
    if clip not in files:
        return f"no file of it in {audio}"
    path = files[clip][0][0]
    if not _is_readable(path):
        return f"{path}: {foreign.advice(Path(path).suffix.lower())}"
    return f"no file of it in {audio}; {path} is of other times"


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    return stem if suffix.lower() in AUDIO_SUFFIXES else name


def _is_of(times: tuple[float, ...], segment: _Segment) -> bool:
    """Whether the times in a file's name, in seconds or milliseconds, are the segment's."""
    of_segment = (segment.start_seconds, segment.end_seconds)
    return any(
        all(abs(time / unit - wanted) < _SAME_SECONDS for time, wanted in zip(times, of_segment, strict=False))
        for unit in (1, 1000)
    )


def _opened(table: Path, flag: str, wanted: str) -> TextIO:
    try:
        return table.open(newline="", encoding="utf-8-sig", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"{flag} {table}: cannot be opened ({error.strerror}); {wanted}") from error
