"""The rules by which recordings are judged: what would hurt training, and what is worth knowing."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from ...text import counted
from ..clips import Skipped
from ..names import suspicions
from ..recordings.level import CLIPPED, CLIPPED_SHARE
from .events import BACKWARDS, CLIP_SECONDS, oddities
from .report import Finding, Report
from .sounds import Sound, usable

_IMBALANCE = 10.0
_USUAL_RATE_HZ = 32_000


def judge(
    classes: tuple[str, ...],
    train: Sequence[Sound],
    evaluation: Sequence[Sound],
    left_out: Sequence[Skipped] = (),
    no_split: str | None = None,
    windows: str = "auto",
) -> Report:
    """Turn what was heard into findings.

    Args:
        left_out: what the source skipped by itself.
        no_split: why the recordings cannot be divided; all are then in `train`.
        windows: as of ``--windows``.
    """
    report = Report(classes, tuple(train), tuple(evaluation), (), tuple(left_out), windows)
    found: list[Finding] = []
    if no_split:
        what, _, mend = no_split.partition("; ")
        found.append(Finding(True, f"no training and evaluation: {what}", mend))
    rules: tuple[Callable[[Report], list[Finding]], ...] = (_damage, _labels, _events, _duplicates, _balance, _formats)
    for rule in rules:
        found += rule(report)
    if left_out:
        what = f"{len(left_out)} of what is listed is left out before decoding, such as {left_out[0].file}: "
        found.append(
            Finding(False, what + left_out[0].reason, "the list is in --json", tuple(skip.file for skip in left_out))
        )
    found.sort(key=lambda finding: not finding.hurts)
    return replace(report, findings=tuple(found))


def _damage(report: Report) -> list[Finding]:
    bad = [sound for side in report.sides() for sound in side if sound.reason is not None]
    if not bad:
        return []
    where = tuple(f"{sound.name}: {sound.reason}" for sound in bad)
    what = counted(len(bad), "recording gives no clip", "recordings give no clip")
    return [Finding(True, what, "mend them or take them off the list", where)]


def _labels(report: Report) -> list[Finding]:
    found = [Finding(True, *suspicion) for suspicion in suspicions(report.classes)]
    without = tuple(sound.name for side in report.sides() for sound in usable(side) if not sound.labels)
    if without:
        what = counted(len(without), "clip has no label: it trains", "clips have no label: they train")
        what += " every class as absent"
        found.append(Finding(False, what, "label what is no negative example", without))
    return found


def _events(report: Report) -> list[Finding]:
    backwards = tuple(skip.file for skip in report.left_out if skip.reason.startswith(BACKWARDS))
    what = counted(len(backwards), "event ends before it begins, and is", "events end before they begin, and are")
    what += " left out"
    found = [Finding(True, what, "correct their times", backwards)] if backwards else []
    sides = report.annotated()
    return found if sides is None else found + [Finding(*oddity) for oddity in oddities(*sides)]


def _duplicates(report: Report) -> list[Finding]:
    groups: dict[str, list[tuple[int, Sound]]] = defaultdict(list)
    for side, sounds in enumerate(report.sides()):
        for sound in usable(sounds):
            groups[sound.sha256].append((side, sound))
    across, disagreeing, plain = [], [], []
    for group in groups.values():
        if len(group) > 1:
            names = " = ".join(sound.name for _, sound in group)
            if len({side for side, _ in group}) > 1:
                across.append(names)
            elif len({sound.labels for _, sound in group}) > 1:
                disagreeing.append(names)
            else:
                plain.append(names)
    by_audio = {names.split(" = ")[0] for names in across}
    same_name = sorted({s.name for s in report.train} & {s.name for s in report.evaluation} - by_audio)
    found = [
        (True, across, "sound", "both in training and evaluation", "keep each on one side, e.g. in one fold"),
        (True, disagreeing, "sound", "listed twice with different labels", "keep one line, its labels joined by ;"),
        (False, plain, "sound", "there more than once", "keep one of each, or it weighs double"),
        (False, same_name, "name", "both in training and evaluation", "see whether it is the same recording"),
    ]
    return [
        Finding(hurts, f"{counted(len(where), f'{noun} is', f'{noun}s are')} {what}", mend, tuple(where))
        for hurts, where, noun, what, mend in found
        if where
    ]


def _balance(report: Report) -> list[Finding]:
    counts = report.counts()
    found = []
    untrained = tuple(label for label, (train, evaluation) in counts.items() if evaluation and not train)
    if untrained:
        what = f"{counted(len(untrained), 'class is', 'classes are')} evaluated and never trained"
        found.append(Finding(True, what, "add recordings", untrained))
    if not usable(report.train):
        found.append(Finding(True, "no recording is left for training", "add recordings"))
    empty = tuple(label for label, n in counts.items() if n == (0, 0))
    if empty:
        what = f"{counted(len(empty), 'class has', 'classes have')} no recording"
        found.append(Finding(False, what, "scores leave them out", empty))
    unscored = tuple(label for label, (train, evaluation) in counts.items() if train and not evaluation)
    if unscored and usable(report.evaluation):
        what = f"{counted(len(unscored), 'class is', 'classes are')} trained and never evaluated"
        found.append(Finding(False, what, "scores leave them out; add recordings of them", unscored))
    trained = {label: train for label, (train, _) in counts.items() if train}
    if trained and max(trained.values()) > _IMBALANCE * min(trained.values()):
        least, most = (pick(trained, key=trained.__getitem__) for pick in (min, max))
        what = f"{most} has {trained[most]} recordings for training, {least} has {trained[least]}"
        found.append(Finding(False, what, "train with a balanced sampler", (least, most)))
    return found


def _formats(report: Report) -> list[Finding]:
    sounds = [sound for side in report.sides() for sound in usable(side)]
    clipped = tuple(sound.name for sound in sounds if sound.clipped > CLIPPED_SHARE)
    low = tuple(sound.name for sound in sounds if sound.rate_hz < _USUAL_RATE_HZ)
    long = tuple(sound.name for sound in sounds if sound.seconds > CLIP_SECONDS)
    rates = sorted({sound.rate_hz for sound in sounds})
    found = [
        (clipped, "has", f"more than {CLIPPED_SHARE:.1%} of the samples at full scale", "record or export softer"),
        (low, "has", f"a rate below {_USUAL_RATE_HZ} Hz", "what lies above half of that is silent; record anew"),
        (long, "is", f"longer than {CLIP_SECONDS:g} s", _long(report)),
    ]
    many = {"has": "have", "is": "are"}
    findings = [
        Finding(False, f"{counted(len(names), f'recording {verb}', f'recordings {many[verb]}')} {what}", mend, names)
        for names, verb, what, mend in found
        if names
    ]
    odd = tuple(f"{s.name}: {remark}" for s in sounds for remark in s.remarks if CLIPPED not in remark)
    if odd:
        what = f"{counted(len(odd), 'remark', 'remarks')} on recordings that are heard"
        findings.append(Finding(False, what, "see what each says", odd))
    if len(rates) > 1:
        what = f"{len(rates)} sample rates: " + ", ".join(f"{rate} Hz" for rate in rates)
        findings.append(Finding(False, what, "a class that has a rate of its own is learnt by its band"))
    return findings


def _long(report: Report) -> str:
    """What becomes of recordings that are longer than a clip."""
    if not report.in_windows():
        return "what comes later is cut; give --windows on, divide them, or raise --clip-seconds"
    if report.annotated() is None:
        return "they are heard in windows, each of which has all labels of its recording (--windows)"
    return "they are heard in windows, labelled by what sounds in them"
