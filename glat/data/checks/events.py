"""What is odd about labelled times: events outside of their recordings, overlaps, lengths, and classes with few."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...text import counted
from ..recordings.recording import Sounding

FEW_EVENTS = 10
FRAME_SECONDS = 0.32  # of most of the networks
CLIP_SECONDS = 10.0
BACKWARDS = "ends before it begins"  # as the reader of tables says it


class Annotated(NamedTuple):
    """A recording that can be heard."""

    name: str
    seconds: float
    soundings: tuple[Sounding, ...]

    def at(self, sounding: Sounding) -> str:
        """How an event of it is named."""
        times = f"{sounding.onset_seconds:g} to {sounding.offset_seconds:g} s"
        return f"{self.name}: {sounding.label}, {times} (of {self.seconds:.2f} s)"


class Oddity(NamedTuple):
    """The fields of a finding."""

    hurts: bool
    what: str
    mend: str
    where: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """The events of one side in numbers."""

    events: int
    event_seconds: float
    overlapping: int  # events during which another one begins or sounds
    without_events: int  # recordings
    by_class: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return vars(self)


def facts_of(recordings: Sequence[Annotated]) -> Facts:
    """Count the events of one side."""
    every = [sounding for recording in recordings for sounding in recording.soundings]
    return Facts(
        events=len(every),
        event_seconds=sum(s.offset_seconds - s.onset_seconds for s in every),
        overlapping=sum(len(_overlapping(recording.soundings)) for recording in recordings),
        without_events=sum(not recording.soundings for recording in recordings),
        by_class=dict(sorted(Counter(sounding.label for sounding in every).items())),
    )


def _overlapping(soundings: Sequence[Sounding]) -> list[Sounding]:
    """Those that begin before an earlier one has ended; by onset."""
    found, end = [], float("-inf")
    for sounding in sorted(soundings, key=lambda s: s.onset_seconds):
        if sounding.onset_seconds < end:
            found.append(sounding)
        end = max(end, sounding.offset_seconds)
    return found


def oddities(train: Sequence[Annotated], evaluation: Sequence[Annotated]) -> list[Oddity]:
    """What is odd about the events of both sides."""
    both = [*train, *evaluation]

    def those(is_odd: Any) -> tuple[str, ...]:
        return tuple(r.at(s) for r in both for s in r.soundings if is_odd(r, s))

    def length(s: Sounding) -> float:
        return s.offset_seconds - s.onset_seconds

    outside = those(lambda r, s: s.is_outside(r.seconds))
    cut = those(lambda r, s: s.offset_seconds >= 0 and (s.onset_seconds < 0 or r.seconds + 0.05 < s.offset_seconds))
    cut = tuple(name for name in cut if name not in set(outside))
    moments = those(lambda r, s: length(s) == 0)
    short = those(lambda r, s: 0 < length(s) < FRAME_SECONDS)
    long = those(lambda r, s: length(s) > CLIP_SECONDS)
    twice = tuple(
        recording.at(sounding)
        for recording in both
        for label in sorted({s.label for s in recording.soundings})
        for sounding in _overlapping([s for s in recording.soundings if s.label == label])
    )
    counts = Counter(s.label for recording in train for s in recording.soundings)
    few = tuple(
        f"{label}: {count}" for label, count in sorted(counts.items(), key=lambda c: c[1]) if count < FEW_EVENTS
    )
    found = [
        Oddity(True, counted(len(outside), "event lies outside of its recording, and is not heard",
                             "events lie outside of their recordings, and are not heard"),
               "see whether the times are of this file, and in seconds", outside),
        Oddity(False, counted(len(cut), "event passes the end of its recording, and is cut there",
                              "events pass the ends of their recordings, and are cut there"), "correct the times", cut),
        Oddity(False, counted(len(moments), "event has", "events have") + " no length: each counts where it lies",
               "give them one, or event scores cannot count them", moments),
        Oddity(False, counted(len(short), "event is", "events are")
               + f" shorter than {FRAME_SECONDS:g} s, a frame of most networks",
               "they are heard, and their times cannot be told so finely", short),
        Oddity(False, counted(len(long), "event is", "events are") + f" longer than {CLIP_SECONDS:g} s, a clip",
               "windows inside of them hold nothing else; a longer --clip-seconds shows where they begin", long),
        Oddity(False, counted(len(twice), "event overlaps one of its", "events overlap one of their")
               + " own class in the same recording", "join them, if they are one event", twice),
        Oddity(False, counted(len(few), "class has", "classes have")
               + f" fewer than {FEW_EVENTS} events for training",
               "label more of them, or leave them out", few),
    ]  # fmt: skip
    return [oddity for oddity in found if oddity.where]
