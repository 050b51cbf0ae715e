"""`glat check-data`: what in the recordings would hurt training, before it does."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.checks.events import facts_of
from ..data.checks.report import Report
from ..data.checks.rules import judge
from ..data.checks.sounds import Sound, divide, listen, listen_to_packs, usable
from ..data.clips import Skipped
from ..data.packs.read import is_pack, open_packs, recordings, split_rows
from ..data.recordings.decoding import MISSING
from ..data.recordings.manifest import split
from ..data.recordings.recording import Recording
from ..data.sources.kinds import check_label_threshold
from ..errors import UserError
from ..files import to_json_text
from ..machine import keep_freed_memory
from ..outputs import Kind, Output, read_by
from ..terminal import Console, Table
from .source import SourceFlags

_FOUND = Kind("a JSON of glat check-data", begins=r'\{\s*"hurts":')
_SHOWN = 5
_SHOWN_CLASSES = 20

Heard = tuple[Sequence[Recording], list[Sound], tuple[str, ...], Sequence[Skipped]]


@dataclass(frozen=True)
class CheckData(SourceFlags):
    """Decode every recording and say what would hurt training; --data may also be packs."""

    eval_data: Path | None = None
    """Recordings or packs for the evaluation; default: --data is split as train.py splits it."""
    eval_folds: tuple[str, ...] = ()
    """Folds for the evaluation; default: about a fifth of every class, chosen by a hash of the names."""
    label_threshold: float | None = None
    """Soft labels of packs count as present from this probability on, e.g. 0.5."""
    seed: int = 0
    """Seed of the split, as train.py's --seed."""
    workers: int | None = None
    """Threads; default: one per core."""
    json: Path | None = None
    """Write everything that was found to this file."""
    overwrite: bool = False
    """Replace a file that is not a result of this command, too."""

    def __call__(self) -> int:
        """Returns 1 when something would hurt training."""
        if self.eval_data is not None and self.eval_folds:
            raise UserError("--eval-data and --eval-folds exclude each other; give one")
        check_label_threshold(self.label_threshold, self.data, self.eval_data)
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}; give 1 or more, or leave it out for one a core")
        output = None
        if self.json is not None:
            reads = read_by(self.data, self.eval_data, self.audioset, self.labels, self.audio, self.black_list)
            output = Output("--json", self.json, _FOUND, reads, self.overwrite)
        keep_freed_memory()
        report = self._report()
        if output is not None:
            with output.replaced() as temporary:
                temporary.write_text(to_json_text(report.to_json(), indent=2) + "\n", encoding="utf-8")
        _print(report)
        return 1 if report.hurts else 0

    def _report(self) -> Report:
        listed, sounds, classes, left_out = _hear(self)
        if self.eval_data is not None:
            labels = self.labels if is_pack(self.eval_data) else None
            theirs = replace(self, data=self.eval_data, audioset=None, labels=labels, black_list=(), negatives=None)
            theirs = replace(theirs, audio=None if self.audioset is not None else self.audio)
            _, evaluation, eval_classes, eval_left_out = _hear(theirs)
            every = classes + tuple(label for label in eval_classes if label not in classes)
            return judge(every, sounds, evaluation, [*left_out, *eval_left_out], windows=self.windows)
        if self.audioset is not None:  # its tables are one side each
            return judge(classes, sounds, [], left_out, windows=self.windows)
        try:
            is_eval = self._split(listed)
        except UserError as error:
            return judge(classes, sounds, [], left_out, no_split=str(error), windows=self.windows)
        train, evaluation = divide(sounds, is_eval)
        return judge(classes, train, evaluation, left_out, windows=self.windows)

    def _split(self, listed: Sequence[Recording]) -> list[bool]:
        if self.data is not None and is_pack(self.data):
            return split_rows(open_packs(self.data, self.labels, self.label_threshold), self.eval_folds, self.seed)
        return split(listed, self.eval_folds, self.seed)


def _hear(flags: CheckData) -> Heard:
    if flags.data is not None and is_pack(flags.data):
        packed = open_packs(flags.data, flags.labels, flags.label_threshold)
        return recordings(packed), listen_to_packs(packed, flags.workers), packed.classes, packed.skipped
    manifest = flags.manifest()
    sounds = listen(manifest.recordings, flags.workers)
    if flags.audio is not None:  # the names are what the table says; it may be the folder that is wrong
        there = f"{MISSING} in {flags.audio}"
        sounds = [replace(sound, reason=there) if sound.reason == MISSING else sound for sound in sounds]
    return manifest.recordings, sounds, manifest.classes, manifest.skipped


def _print(report: Report) -> None:
    console = Console()
    facts = Table("", "training", "evaluation")
    sides = [usable(side) for side in report.sides()]
    facts.add_row("recordings" if report.in_windows() else "clips", *(str(len(side)) for side in sides))
    facts.add_row("without a label", *(str(sum(not sound.labels for sound in side)) for side in sides))
    facts.add_row("hours", *(f"{sum(sound.seconds for sound in side) / 3600:.2f}" for side in sides))
    facts.add_row("seconds", *(_range([sound.seconds for sound in side]) for side in sides))
    facts.add_row("rates, Hz", *(_values(sound.rate_hz for sound in side) for side in sides))
    facts.add_row("channels", *(_values(sound.channels for sound in side) for side in sides))
    facts.add_row("clipped", *(str(sum(sound.clipped > 0 for sound in side)) for side in sides))
    annotated = report.annotated()
    events = [facts_of(side) for side in annotated or ()]
    if events:
        facts.add_row("events", *(str(side.events) for side in events))
        facts.add_row("minutes of events", *(f"{side.event_seconds / 60:.1f}" for side in events))
        facts.add_row("overlapping events", *(str(side.overlapping) for side in events))
    console.print(facts)
    classes = Table("class", "training", "evaluation")
    for column in ("events, training", "events, evaluation") if events else ():
        classes.add_column(column)
    counts = sorted(report.counts().items(), key=lambda item: item[1])
    for label, (train, evaluation) in counts[:_SHOWN_CLASSES]:
        classes.add_row(label, str(train), str(evaluation), *(str(side.by_class.get(label, 0)) for side in events))
    console.print(classes)
    if len(counts) > _SHOWN_CLASSES:
        console.print(f"the rarest {_SHOWN_CLASSES} of {len(counts)} classes; --json lists all")
    for finding in report.findings:
        console.print(f"{'PROBLEM' if finding.hurts else 'note'}: {finding.what}; {finding.mend}", soft_wrap=True)
        for where in finding.where[:_SHOWN]:
            console.print(f"  {where}", soft_wrap=True)
        if len(finding.where) > _SHOWN:
            console.print(f"  and {len(finding.where) - _SHOWN} more")
    console.print("something would hurt training" if report.hurts else "nothing would hurt training")


def _range(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}" if values else "-"


def _values(values: Iterable[int]) -> str:
    counts = Counter(values).most_common(4)
    return ", ".join(f"{value} ({count})" for value, count in counts) or "-"
