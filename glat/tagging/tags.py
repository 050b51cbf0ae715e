"""What is said of one recording: tags, crops, events, frames."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arguments import whole
from ..errors import UserError
from ..sharpening import EventsBy
from .events import EventFinder, EventRules, TaggedEvent, thresholds_of
from .frames import Frames
from .windows import Grid

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Crop:
    """A crop that the selector cut, in seconds of the recording.

    Attributes:
        label: the class that it was cut for.
        start_seconds, end_seconds: where it lies.
        peak: the class's largest frame probability, around which it was cut.
        peak_seconds: where that frame begins.
    """

    label: str
    start_seconds: float
    end_seconds: float
    peak: float
    peak_seconds: float


@dataclass(frozen=True)
class Tag:
    """One class in a recording: its probabilities in the window where it is the most likely, and what decided it.

    Attributes:
        label: the class.
        probability: of both streams, fused.
        global_, local_: of each stream; local_ is NaN where the model has no local stream.
        decided_by: the crop in which the local stream heard this class best; None where the model has no local stream.
        crop_probability: what it heard there.
    """

    label: str
    probability: float
    global_: float
    local_: float
    decided_by: Crop | None
    crop_probability: float


class FrameProbs(NamedTuple):
    """Frame probabilities of a recording, of the global stream.

    Attributes:
        probs: [T, L] float32.
        seconds: [T] float64, where each frame begins.
    """

    probs: NDArray[np.float32]
    seconds: NDArray[np.float64]


class WindowProbs(NamedTuple):
    """Clip probabilities of the K windows that a recording was heard in.

    Attributes:
        seconds: [K] float64, where each window begins.
        fused, global_, local_: [K, L] float32, by stream; local_ is NaN where the model has no local stream.
    """

    seconds: NDArray[np.float64]
    fused: NDArray[np.float32]
    global_: NDArray[np.float32]
    local_: NDArray[np.float32]


@dataclass(frozen=True)
class Kept:
    """What is kept of a recording besides its tags, as it takes memory by the hour."""

    frames: NDArray[np.float32]  # [T, L]
    streams: NDArray[np.float32]  # [T, 3, L], see `Frames`
    windows: WindowProbs
    embeddings: NDArray[np.float32]  # [K, C]


@dataclass(frozen=True)
class Tags:
    """What a model says of one recording; made by `Tagger.tag`.

    Attributes:
        file: its name, "" of an array.
        seconds: its length.
        classes: L names, the order of every axis L.
        tags: all classes, the likeliest first.
        crops: those that the selector cut, window after window, in each the best class first.
        crops_per_window: N.
        events_by: which frames these are: "frames", as the global stream says them, or "sharpened".
    """

    file: str
    seconds: float
    classes: tuple[str, ...]
    tags: tuple[Tag, ...]
    crops: tuple[Crop, ...]
    crops_per_window: int
    grid: Grid = field(repr=False)
    default_thresholds: NDArray[np.float32] = field(repr=False)  # [L]
    kept: Kept | None = field(repr=False)
    events_by: EventsBy = "frames"

    def top(self, count: int) -> tuple[Tag, ...]:
        """The likeliest tags; all of them where `count` is larger than their number."""
        return self.tags[: whole("count", count, 0)]

    @property
    def probs(self) -> NDArray[np.float32]:
        """[L], the fused probability of each class in the window where it is the likeliest."""
        by_label = {tag.label: tag.probability for tag in self.tags}
        return np.array([by_label[label] for label in self.classes], np.float32)

    @property
    def frames(self) -> FrameProbs:
        """Frame probabilities [T, L] of the global stream and where each frame begins, in seconds [T].

        They are sharpened where the tagger was asked to.
        """
        frames = self._kept().frames
        return FrameProbs(frames, np.arange(len(frames), dtype=np.float64) * self.grid.frame_seconds)

    @property
    def windows(self) -> WindowProbs:
        """Clip probabilities [K, L] of each of the K windows, and where each begins, in seconds [K]."""
        return self._kept().windows

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """[K, C], of each window the maximum plus the mean over its frames of the global stream's features.

        This is what the classifiers of PANNs' networks hear.
        """
        return self._kept().embeddings

    def events(
        self,
        threshold: float | Mapping[str, float] | None = None,
        *,
        min_seconds: float = 0.0,
        merge_gap_seconds: float = 0.0,
        top: int | None = None,
    ) -> list[TaggedEvent]:
        """When each class sounds.

        Args:
            threshold: least probability of an event's frames, one number or a dict by class; None: what
                ``glat evaluate --thresholds`` found for these frames of the run, else 0.5.
            min_seconds: shorter events are left out.
            merge_gap_seconds: two events of a class at most this far apart are one.
            top: events of the so many likeliest classes only; None: of all.

        Raises:
            UserError: a threshold that is no probability, or of a class that the model does not know; as of
                `EventRules`.
        """
        kept = self._kept()
        limits = self.default_thresholds if threshold is None else thresholds_of(threshold, self.classes)
        finder = EventFinder(EventRules(limits, min_seconds, merge_gap_seconds, top, self.events_by), self.grid)
        finder.add(Frames(0, kept.frames, kept.streams))
        return finder.finish(self.file, self.seconds, self.classes, self.probs)

    def to_dataframe(self) -> "pandas.DataFrame":
        """Fused probabilities by window: a row a window, indexed by file, start and end in seconds; a column a class.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise UserError("to_dataframe needs pandas, which is not installed; pip install pandas") from None
        windows = self.windows
        ends = np.minimum(windows.seconds + self.grid.clip_samples / self.grid.sample_rate_hz, self.seconds)
        index = pandas.MultiIndex.from_arrays(
            [[self.file] * len(ends), windows.seconds, ends], names=["file", "start_seconds", "end_seconds"]
        )
        return pandas.DataFrame(windows.fused, index=index, columns=list(self.classes))

    def to_json(self, top: int) -> dict[str, Any]:
        """Plain types: the likeliest tags and all crops."""

        def crop(c: Crop) -> dict[str, Any]:
            rounded = {"start": c.start_seconds, "end": c.end_seconds, "peak_at": c.peak_seconds}
            return {"class": c.label, **{k: round(v, 4) for k, v in rounded.items()}, "peak": round(c.peak, 6)}

        tags = [
            {
                "class": tag.label,
                "probability": round(tag.probability, 6),
                "global": round(tag.global_, 6),
                "local": None if math.isnan(tag.local_) else round(tag.local_, 6),
                "decided_by": tag.decided_by and crop(tag.decided_by) | {"probability": round(tag.crop_probability, 6)},
            }
            for tag in self.top(top)
        ]
        crops = [crop(c) for c in self.crops]
        return {"file": self.file, "seconds": round(self.seconds, 4), "tags": tags, "crops": crops}

    def _kept(self) -> Kept:
        assert self.kept is not None, "this recording was tagged without keeping its frames"
        return self.kept
