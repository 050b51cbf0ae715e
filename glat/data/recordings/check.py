"""Check every recording before training: what would hurt it, and what is worth knowing."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..clips import Skipped, fingerprint
from ..names import suspicions
from ..packs.read import PackedClips, recordings
from ..parallel import in_parallel
from ..windows.grid import MOST_UNHEARD
from .check_events import BACKWARDS, Annotated, facts_of, oddities
from .decoding import Header, UnreadableAudio, decode_mono
from .level import CLIPPED, CLIPPED_SHARE, Meter
from .recording import Recording, Sounding

_IMBALANCE = 10.0
_CLIP_SECONDS = 10.0
_USUAL_RATE_HZ = 32_000


@dataclass(frozen=True)
class Sound:
    """What one recording holds, or why it holds nothing."""

    name: str
    labels: tuple[str, ...]
    reason: str | None = None  # why it makes no clip; all below is then 0
    rate_hz: int = 0
    channels: int = 0
    seconds: float = 0.0
    peak: float = 0.0  # of full scale
    clipped: float = 0.0  # share of samples at full scale or above
    sha256: str = ""  # of the samples
    remarks: tuple[str, ...] = ()  # what is odd about what is heard
    soundings: tuple[Sounding, ...] | None = None  # what sounds when; None: the labels are of all of it

    def to_json(self) -> dict[str, Any]:
        soundings = self.soundings and [vars(sounding) for sounding in self.soundings]
        return vars(self) | {"soundings": soundings if self.soundings is not None else None}


@dataclass(frozen=True)
class Finding:
    """Something to know about some recordings."""

    hurts: bool  # training
    what: str
    mend: str
    where: tuple[str, ...] = ()  # names of recordings or classes

    def to_json(self) -> dict[str, Any]:
        return vars(self)


@dataclass(frozen=True)
class Report:
    """What was found in the recordings for training and for the evaluation."""

    classes: tuple[str, ...]
    train: tuple[Sound, ...]
    evaluation: tuple[Sound, ...]
    findings: tuple[Finding, ...]
    left_out: tuple[Skipped, ...] = field(default=())  # before anything was decoded
    windows: str = "auto"  # whether long recordings are to be heard whole

    def sides(self) -> tuple[tuple[Sound, ...], tuple[Sound, ...]]:
        return self.train, self.evaluation

    @property
    def hurts(self) -> bool:
        """Whether one of the findings would hurt training."""
        return any(finding.hurts for finding in self.findings)

    def annotated(self) -> tuple[list[Annotated], list[Annotated]] | None:
        """The recordings of both sides with their events; None where no times are known."""
        sides = [usable(side) for side in self.sides()]
        if all(sound.soundings is None for side in sides for sound in side):
            return None
        train, evaluation = ([Annotated(s.name, s.seconds, s.soundings or ()) for s in side] for side in sides)
        return train, evaluation

    def in_windows(self) -> bool:
        """Whether long recordings are heard whole, as `load` decides it."""
        seconds = [sound.seconds for side in self.sides() for sound in usable(side)]
        unheard = sum(max(0.0, s - _CLIP_SECONDS) for s in seconds)
        is_long = unheard > MOST_UNHEARD * sum(seconds)
        return self.windows == "on" or self.annotated() is not None or (self.windows == "auto" and is_long)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Usable clips for training and for the evaluation by class."""
        train, evaluation = (Counter(c for s in usable(side) for c in s.labels) for side in self.sides())
        return {label: (train[label], evaluation[label]) for label in self.classes}

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        sounds = [sound for side in self.sides() for sound in usable(side)]
        seconds = [sound.seconds for sound in sounds] or [0.0]
        annotated = self.annotated()
        events = annotated and {n: facts_of(s).to_json() for n, s in zip(("train", "eval"), annotated, strict=True)}
        return {
            "hurts": self.hurts,
            "findings": [finding.to_json() for finding in self.findings],
            "clips": {
                name: {"count": len(usable(side)), "names_sha256": fingerprint(s.name for s in usable(side))}
                for name, side in zip(("train", "eval"), self.sides(), strict=True)
            },
            "events": events,
            "in_windows": self.in_windows(),
            "rates_hz": dict(Counter(sound.rate_hz for sound in sounds)),
            "channels": dict(Counter(sound.channels for sound in sounds)),
            "seconds": {
                "least": min(seconds),
                "median": float(np.median(seconds)),
                "most": max(seconds),
                "total": sum(seconds),
            },
            "classes": {label: dict(zip(("train", "eval"), n, strict=True)) for label, n in self.counts().items()},
            "left_out": [vars(skip) for skip in self.left_out],
            "recordings": {
                name: [sound.to_json() for sound in side]
                for name, side in zip(("train", "eval"), self.sides(), strict=True)
            },
        }


def usable(sounds: Iterable[Sound]) -> list[Sound]:
    """Those that make a clip."""
    return [sound for sound in sounds if sound.reason is None]


def listen(listed: Sequence[Recording], workers: int | None = None) -> list[Sound]:
    """Decode every recording whole; one that cannot be decoded gets a reason.

    Args:
        workers: threads; None: one a core.
    """

    def look(i: int) -> Sound:
        recording = listed[i]
        digest = hashlib.sha256()

        def begin(_: Header) -> Callable[[NDArray[np.float32]], None]:
            nonlocal digest
            digest = hashlib.sha256()
            return lambda mono: digest.update(np.ascontiguousarray(mono).data)

        try:
            facts = decode_mono(recording.path, begin, stream=recording.stream())
        except UnreadableAudio as error:
            return Sound(recording.name, recording.labels, error.reason)
        return Sound(
            recording.name,
            recording.labels,
            None,
            facts.header.rate_hz,
            facts.header.channels,
            facts.samples / facts.header.rate_hz,
            facts.peak,
            facts.clipped,
            digest.hexdigest(),
            facts.remarks,
            recording.soundings,
        )

    return in_parallel(look, len(listed), workers)


def listen_to_packs(packed: PackedClips, workers: int | None = None) -> list[Sound]:
    """Read every row of the packs; a row whose samples differ from what was packed gets a reason."""
    listed = [
        replace(recording, soundings=soundings)
        for recording, soundings in zip(recordings(packed), _soundings(packed), strict=True)
    ]
    facts = [_recorded(path) for path in packed.shards]

    def look(i: int) -> Sound:
        shard, index = packed.shard[i], packed.index[i]
        is_window = packed.origins is not None
        try:
            wave = packed.read(i)
        except UnreadableAudio as error:
            return Sound(listed[i].name, listed[i].labels, error.reason)
        if facts[shard] is None:  # packed by PANNs' programs
            sound = _sound(listed[i], wave, packed.sample_rate_hz, 1, packed.sample_rate_hz, False)
            return replace(sound, remarks=(*sound.remarks, *(packed.remarks or {i: ()})[i]))  # on its name
        hashes, rates, channels = facts[shard]
        if hashlib.sha256(wave.data).digest() != hashes[index].tobytes():
            return Sound(listed[i].name, listed[i].labels, "is not what was packed: the file is damaged")
        return _sound(listed[i], wave, int(rates[index]), int(channels[index]), packed.sample_rate_hz, is_window)

    return in_parallel(look, len(packed), workers)


def _soundings(packed: PackedClips) -> Iterable[tuple[Sounding, ...] | None]:
    """What sounds in each row, where packs of long recordings say so; an event that two rows hold is in both."""
    if packed.events is None:
        return (None for _ in packed.names)
    names = packed.classes
    return (tuple(Sounding(names[e.label], e.onset_seconds, e.offset_seconds) for e in row) for row in packed.events)


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


def _sound(
    recording: Recording, wave: NDArray[np.int16], rate_hz: int, channels: int, sample_rate_hz: int, is_window: bool
) -> Sound:
    """Of a packed clip, at the pack's rate; the file it was packed from had a rate and channels of its own."""
    meter = Meter()
    meter.mono((wave / np.float32(32_767)).astype(np.float32, copy=False)[:, None])
    refusal = None if is_window else meter.refusal()  # its recording was judged when it was packed
    return Sound(
        recording.name,
        recording.labels,
        refusal,
        rate_hz,
        channels,
        len(wave) / sample_rate_hz,
        meter.peak,
        meter.clipped_share,
        hashlib.sha256(wave.tobytes()).hexdigest(),
        meter.remarks() if refusal is None and not is_window else (),
        recording.soundings,
    )


def _recorded(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]] | None:
    """What `glat pack` noted of the rows of a shard: hashes, rates and channels of the files."""
    with h5py.File(path, "r") as file:
        return (file["sha256"][:], file["source_rate"][:], file["channels"][:]) if "sha256" in file else None


# Rules


def _damage(report: Report) -> list[Finding]:
    bad = [sound for side in report.sides() for sound in side if sound.reason is not None]
    if not bad:
        return []
    where = tuple(f"{sound.name}: {sound.reason}" for sound in bad)
    return [Finding(True, f"{len(bad)} recordings give no clip", "mend them or take them off the list", where)]


def _labels(report: Report) -> list[Finding]:
    found = [Finding(True, *suspicion) for suspicion in suspicions(report.classes)]
    without = tuple(sound.name for side in report.sides() for sound in usable(side) if not sound.labels)
    if without:
        what = f"{len(without)} clips have no label: they train every class as absent"
        found.append(Finding(False, what, "label them, if they are no negative examples", without))
    return found


def _events(report: Report) -> list[Finding]:
    backwards = tuple(skip.file for skip in report.left_out if skip.reason.startswith(BACKWARDS))
    what = f"{len(backwards)} events end before they begin, and are left out"
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
        (True, across, "sounds are both in training and evaluation", "keep each on one side, e.g. in one fold"),
        (True, disagreeing, "sounds are listed twice with different labels", "keep one line, its labels joined by ;"),
        (False, plain, "sounds are there more than once", "keep one of each, or it weighs double"),
        (False, same_name, "names are both in training and evaluation", "see whether they are the same recording"),
    ]
    return [Finding(hurts, f"{len(where)} {what}", mend, tuple(where)) for hurts, where, what, mend in found if where]


def _balance(report: Report) -> list[Finding]:
    counts = report.counts()
    found = []
    untrained = tuple(label for label, (train, evaluation) in counts.items() if evaluation and not train)
    if untrained:
        found.append(
            Finding(True, f"{len(untrained)} classes are evaluated and never trained", "add recordings", untrained)
        )
    if not usable(report.train):
        found.append(Finding(True, "no recording is left for training", "add recordings"))
    empty = tuple(label for label, n in counts.items() if n == (0, 0))
    if empty:
        found.append(Finding(False, f"{len(empty)} classes have no recording", "scores leave them out", empty))
    unscored = tuple(label for label, (train, evaluation) in counts.items() if train and not evaluation)
    if unscored and usable(report.evaluation):
        what = f"{len(unscored)} classes are trained and never evaluated"
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
    long = tuple(sound.name for sound in sounds if sound.seconds > _CLIP_SECONDS)
    rates = sorted({sound.rate_hz for sound in sounds})
    found = [
        (clipped, f"have more than {CLIPPED_SHARE:.1%} of their samples at full scale", "record or export them softer"),
        (low, f"have a rate below {_USUAL_RATE_HZ} Hz", "what lies above half their rate is silent; get better ones"),
        (long, f"are longer than {_CLIP_SECONDS:g} s", _long(report)),
    ]
    findings = [Finding(False, f"{len(names)} recordings {what}", mend, names) for names, what, mend in found if names]
    odd = tuple(f"{s.name}: {remark}" for s in sounds for remark in s.remarks if CLIPPED not in remark)
    if odd:
        findings.append(Finding(False, f"{len(odd)} remarks on recordings that are heard", "see what each says", odd))
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


def divide(sounds: Sequence[Sound], is_eval: Sequence[bool]) -> tuple[list[Sound], list[Sound]]:
    """Those for training and those for the evaluation."""
    return (
        [sound for sound, side in zip(sounds, is_eval, strict=True) if not side],
        [sound for sound, side in zip(sounds, is_eval, strict=True) if side],
    )
