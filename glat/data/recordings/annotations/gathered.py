"""Events as they are read, line by line, and the recordings that come of them."""

from dataclasses import dataclass, field
from pathlib import Path

from ....errors import UserError
from ...clips import Skipped
from ...names import clean
from ..recording import Recording, Sounding
from .files import Files, name_in
from .times import is_nothing, seconds


@dataclass
class _Annotated:
    path: Path
    events: dict[Sounding, int] = field(default_factory=dict)  # and the line of each
    fold: str | None = None


@dataclass
class Gathered:
    """The events of all lines so far.

    Args:
        root: what recordings are named below.
        separator: what joins several labels of one event.
    """

    root: Path
    separator: str
    skipped: list[Skipped] = field(default_factory=list)
    _found: dict[Path, _Annotated] = field(default_factory=dict)
    _named: dict[tuple[Path, str], Path] = field(default_factory=dict)

    def file(self, files: Files, name: str, table: Path, line: int) -> Path:
        """The file that a line names."""
        key = (files.folder, name)
        if key not in self._named:
            try:
                self._named[key] = files.find(name)
            except UserError as error:
                raise UserError(f"{table}: line {line}: {error}") from None
        return self._named[key]

    def recording(self, path: Path, fold: str | None = None) -> _Annotated:
        """A recording; with no event so far, it is one without any."""
        annotated = self._found.setdefault(path, _Annotated(path, fold=fold))
        if fold != annotated.fold:
            raise UserError(f"{name_in(self.root, path)} is in the folds {annotated.fold} and {fold}; give it one")
        return annotated

    def add(
        self, table: Path, line: int, path: Path, times: tuple[str, str], units: tuple[float, float], label: str,
        *, lasts: bool = False, shift: str | None = None, fold: str | None = None,
    ) -> None:  # fmt: skip
        """Take a line.

        Args:
            times: onset, and offset or, with `lasts`, duration.
            shift: the onset in the file, where `times` count from elsewhere.

        Raises:
            UserError: a label without times, or times that are none.
        """
        try:
            annotated = self.recording(path, fold)
        except UserError as error:
            raise UserError(f"--data {table}: line {line}: {error}") from None
        missing = [is_nothing(cell) for cell in times]
        labels = {part for part in map(clean, label.split(self.separator)) if part}
        if all(missing) and not labels:
            return  # a recording without events
        name = f"{table.name} line {line}"
        if any(missing):
            what = "duration" if lasts else "offset"
            which = "times" if all(missing) else "onset" if missing[0] else what
            raise UserError(
                f"--data {table}: line {line} has no {which} ({label[:40]!r} in {path.name}); give both times, or "
                "leave label and times empty for a recording without events"
            )
        try:
            onset, offset = (seconds(cell, unit) for cell, unit in zip(times, units, strict=True))
            if lasts:
                offset += onset
            if shift is not None:
                begins = seconds(shift, units[0])
                onset, offset = begins, begins + offset - onset
        except ValueError as error:
            raise UserError(f"--data {table}: line {line}: {error}") from None
        if not labels:
            self.skipped.append(Skipped(name, "has times and no label: what sounds there is taken for no class"))
        elif offset < onset:
            self.skipped.append(Skipped(name, f"ends before it begins ({times[0]} to {times[1]})"))
        for each in sorted(labels) if offset >= onset else ():
            first = annotated.events.setdefault(Sounding(each, onset, offset), line)
            if first != line:
                self.skipped.append(Skipped(name, f"repeats line {first}"))

    def recordings(self) -> list[Recording]:
        """All of them, in the order of their first lines."""
        return [
            Recording(
                name_in(self.root, annotated.path),
                annotated.path,
                tuple(sorted({event.label for event in annotated.events})),
                annotated.fold,
                tuple(sorted(annotated.events, key=lambda e: (e.onset_seconds, e.offset_seconds, e.label))),
            )
            for annotated in self._found.values()
        ]
