"""Scores of a model on a set of clips (the paper's Table 2), and how often its crops hit the events."""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data import Batch, ClipSource, Event, Skipped, fingerprint
from ..data.loading.batches import DEFAULT_LOADING, Loading
from ..errors import UserError
from ..inference import for_inference
from ..model import GlobalLocal, Scores
from ..ranks import ALONE, Ranks
from ..sharpening import sharpened
from ..terminal import Table
from .events.scores import EventScores, event_scores
from .metrics import Metrics, d_prime, evaluate_scores

STREAMS = ("global", "local", "fused")


@dataclass(frozen=True)
class Scored:
    """Output of a model on M clips."""

    clips: ClipSource  # the clips that could be read
    probs: dict[str, NDArray[np.float32]]  # [M, L] by stream: global, local, fused
    crop_classes: NDArray[np.int64]  # [M, N]
    crop_starts: NDArray[np.int64]  # [M, N], in samples
    frames: int  # T of the global stream
    highest: NDArray[np.float32]  # [M, L], the largest probability over the valid frames
    frame_logits: NDArray[np.float32] | None = None  # [M, T, L] of the global stream; this and the next where asked for
    crop_logits: NDArray[np.float32] | None = None  # [M, N, L] of the local stream
    highest_sharpened: NDArray[np.float32] | None = None  # [M, L], as `highest`, of sharpened frames; where asked for


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model on M clips."""

    metrics: dict[str, Metrics]  # by stream: global, local, fused
    hits: "CropHits | None"  # None where the times of the events are unknown
    clips: int
    clips_sha256: str  # of their names
    starts: "CropStarts"
    recordings: int | None = None  # where the clips are windows
    when: EventScores | None = None  # of a run's end, where the times of the events are known

    def counted(self) -> str:
        """What was scored, in words: "51 windows of 10 s, of 6 recordings"."""
        if self.recordings is None:
            return f"{self.clips} clips of {self.starts.clip_seconds:g} s"
        of = "1 recording" if self.recordings == 1 else f"{self.recordings} recordings"
        return f"{self.clips} windows of {self.starts.clip_seconds:g} s, of {of}"

    def to_json(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """As plain types: the scores of each stream and class, and the names of the classes that were left out."""
        rows = {
            name: {
                **m.means(),
                "ap": {c: float(x) for c, x in zip(classes, m.ap, strict=True) if np.isfinite(x)},
                "auc": {c: float(x) for c, x in zip(classes, m.auc, strict=True) if np.isfinite(x)},
            }
            for name, m in self.metrics.items()
        }
        left_out = [classes[k] for k in self.metrics["fused"].left_out]
        return {
            "clips": self.clips,
            "clips_sha256": self.clips_sha256,
            **({} if self.recordings is None else {"recordings": self.recordings}),
            "streams": rows,
            "left_out": left_out,
            "hits": vars(self.hits) if self.hits else None,
            "crop_starts": vars(self.starts),
            **({} if self.when is None else {"events": self.when.to_json()}),
        }


def from_json(found: Mapping[str, Any], classes: tuple[str, ...]) -> Evaluation:
    """The evaluation that `Evaluation.to_json` wrote; KeyError where it holds no AUC, as an older glat wrote it."""
    left_out = tuple(k for k, name in enumerate(classes) if name in set(found["left_out"]))

    def metrics(row: Mapping[str, Any]) -> Metrics:
        ap, auc = (np.array([row[name].get(c, math.nan) for c in classes], np.float64) for name in ("ap", "auc"))
        mean_ap, mean_auc = (math.nan if row[name] is None else float(row[name]) for name in ("mAP", "mAUC"))
        return Metrics(mean_ap, mean_auc, d_prime(mean_auc), ap, auc, left_out)

    hits, by_stream = found["hits"], {name: metrics(found["streams"][name]) for name in STREAMS}
    if hits is not None:
        hits = CropHits(**hits | {"by_chance": math.nan if hits["by_chance"] is None else hits["by_chance"]})
    starts = CropStarts(**found["crop_starts"])
    when = event_scores(found["events"]) if "events" in found else None
    return Evaluation(by_stream, hits, found["clips"], found["clips_sha256"], starts, found.get("recordings"), when)


@dataclass(frozen=True)
class CropHits:
    """How often the crop of a present class overlaps an event of that class."""

    crops: int  # number of crops whose class is present in the clip
    overlapping: int  # how many of them overlap an event of their class
    by_chance: float  # share of uniformly random crops that would overlap one

    @property
    def share(self) -> float:
        """overlapping / crops, in 0..1; NaN without a crop."""
        return self.overlapping / self.crops if self.crops else float("nan")


@dataclass(frozen=True)
class CropStarts:
    """Histogram of where crops start within their clips."""

    clip_seconds: float
    crop_seconds: float
    bin_seconds: float  # bin i counts starts in [i, i + 1) * bin_seconds
    present: list[int]  # crops of a class that is present in their clip
    absent: list[int]  # crops of other classes


@torch.inference_mode()
def score(
    model: GlobalLocal,
    clips: ClipSource,
    batch_size: int,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[Any]],
    ranks: Ranks = ALONE,
    loading: Loading = DEFAULT_LOADING,
    in_time: bool = False,
    sharpen: bool = False,
) -> Scored | None:
    """Hear each clip once, in evaluation mode; the model is not changed. None on all ranks but the first.

    Clips that cannot be read are reported and left out.

    Args:
        autocast: returns the context manager to compute in.
        ranks: each hears a part of the clips.
        loading: how the clips are read.
        in_time: keep the logits of frames and crops too, 4 M (T + N) L bytes.
        sharpen: find the largest probabilities of sharpened frames too.
    """
    ranks.same_buffers(model)
    model = for_inference(model)
    own = torch.arange(len(clips))[ranks.part(len(clips))]
    bad: list[Skipped] = []
    batches, frames = [], 0
    rows = own.split(batch_size) if len(own) else ()
    for batch in loading.batches(clips, rows, device, bad.append, may_be_empty=True):
        with autocast():
            scores = model(batch.wave, batch.lengths)
        probs = (getattr(scores, f"{name}_probs").float() for name in STREAMS)
        found = [*probs, _highest(scores.frame_logits, batch), scores.crops.classes, scores.crops.starts]
        if in_time:
            found += [scores.frame_logits.float(), scores.crop_logits.float()]
        if sharpen:
            found.append(_highest_sharpened(scores, batch, model.crop_samples))
        batches.append([column.cpu().numpy() for column in found])
        frames = scores.frame_logits.shape[1]
    for skipped in bad:
        loading.report(skipped)
    names = {skipped.file for skipped in bad}
    heard = np.array([clips.names[row] not in names for row in own.tolist()], bool)
    columns = [np.concatenate(column)[heard] for column in zip(*batches, strict=True)]
    # Each rank takes consecutive clips, so joining the parts in rank order keeps the clips in order.
    parts = [part for part in ranks.gather([own.numpy()[heard], *columns]) if len(part[0])]
    if not ranks.first:
        return None
    if not parts:
        raise UserError(f"no clip for the evaluation can be read ({bad[0].file}: {bad[0].reason}); check the data")
    kept_rows, *joined = (np.concatenate(column) for column in zip(*parts, strict=True))
    kept = clips if len(kept_rows) == len(clips) else clips.subset(kept_rows)
    streams, (highest, classes, starts, *more) = joined[: len(STREAMS)], joined[len(STREAMS) :]
    of_sharpened = more.pop() if sharpen else None
    frame_logits, crop_logits = more or (None, None)
    by_stream = dict(zip(STREAMS, streams, strict=True))
    return Scored(kept, by_stream, classes, starts, frames, highest, frame_logits, crop_logits, of_sharpened)


def _highest(frame_logits: Tensor, batch: Batch) -> Tensor:
    """[B, L], the largest frame probability of each clip; frames in its padding do not count."""
    padding = _in_padding(frame_logits.shape[1], batch)
    return frame_logits.float().masked_fill(padding[:, :, None], -torch.inf).amax(1).sigmoid()


def _in_padding(T: int, batch: Batch) -> Tensor:
    """[B, T], whether a frame begins behind the end of its clip."""
    starts = torch.arange(T, device=batch.wave.device) * batch.wave.shape[1] // T
    return starts >= batch.lengths[:, None]


def _highest_sharpened(scores: Scores, batch: Batch, crop_samples: int) -> Tensor:
    """As `_highest`, of frames sharpened as `glat tag` does."""
    T, S = scores.frame_logits.shape[1], batch.wave.shape[1]
    columns = (scores.frame_logits.float().sigmoid(), scores.global_probs.float(), scores.crop_logits.float().sigmoid())
    rows = zip(*(column.cpu().numpy() for column in (*columns, scores.crops.starts)), strict=True)
    frames = np.stack([sharpened(g, G, c, starts, crop_samples, S) for g, G, c, starts in rows])
    return torch.from_numpy(frames).masked_fill(_in_padding(T, batch).cpu()[:, :, None], 0.0).amax(1)


def evaluation_of(scored: Scored, crop_samples: int) -> Evaluation:
    """Metrics of a model's output."""
    clips = scored.clips
    targets = clips.targets.dense().numpy()
    metrics = {name: evaluate_scores(targets, probs) for name, probs in scored.probs.items()}
    hits = crop_hits(clips, scored.crop_classes, scored.crop_starts, crop_samples)
    starts = _crop_starts(clips, targets, scored, crop_samples)
    recordings = None if clips.origins is None else len({origin.recording for origin in clips.origins})
    return Evaluation(metrics, hits, len(clips), fingerprint(clips.names), starts, recordings)


def _crop_starts(clips: ClipSource, targets: NDArray[np.bool_], scored: Scored, crop_samples: int) -> CropStarts:
    # Possible starts lie a frame apart, so bins of whole frames hold equally many each.
    S = clips.clip_samples
    bin_samples = S / scored.frames * -(-scored.frames // 64)
    bins = int((S - crop_samples + 1) / bin_samples) + 1
    # A frame's start is rounded down to a sample, which must not move it into the bin before.
    index = ((scored.crop_starts + 1) / bin_samples).astype(np.int64).clip(max=bins - 1)
    is_present = np.take_along_axis(targets, scored.crop_classes, axis=1)
    present, absent = (np.bincount(index[which], minlength=bins).tolist() for which in (is_present, ~is_present))
    rate = clips.sample_rate_hz
    return CropStarts(S / rate, crop_samples / rate, bin_samples / rate, present, absent)


def crop_hits(
    clips: ClipSource, classes: NDArray[np.int64], starts: NDArray[np.int64], crop_samples: int
) -> CropHits | None:
    """How often crops [M, N] overlap an event of their class; None where the clips' events are unknown.

    `by_chance` replaces each crop by 101 evenly spaced ones and takes the share that overlaps such an event.
    """
    if clips.events is None:
        return None
    crop_seconds = crop_samples / clips.sample_rate_hz
    last_start = (clips.clip_samples - crop_samples) / clips.sample_rate_hz
    spread = np.linspace(0, last_start, 101)
    crops, overlapping, chance = 0, 0, 0.0
    for events, labels, first_samples in zip(clips.events, classes, starts, strict=True):
        for label, first in zip(labels, first_samples, strict=True):
            times = [event for event in events if event.label == label]
            if not times:
                continue
            crops += 1
            overlapping += bool(overlap(times, first / clips.sample_rate_hz, crop_seconds))
            chance += float(overlap(times, spread, crop_seconds).mean())
    return CropHits(crops, overlapping, chance / crops if crops else float("nan"))


def overlap(events: Iterable[Event], starts: Any, crop_seconds: float) -> NDArray[np.bool_]:
    """Whether each crop overlaps any of the events; `starts` in seconds, of any shape, which the result has too."""
    hits = [(starts < event.offset_seconds) & (starts + crop_seconds > event.onset_seconds) for event in events]
    return np.asarray(np.any(hits, axis=0))


def table(evaluation: Evaluation) -> Table:
    """The paper's Table 2: mAP, mAUC and d' of the global stream, the local stream and their fusion."""
    result = Table("stream")
    for column in ("mAP", "mAUC", "d'"):
        result.add_column(column, justify="right")
    for name, m in evaluation.metrics.items():
        result.add_row(name, f"{m.mean_ap:.3f}", f"{m.mean_auc:.3f}", f"{m.d_prime:.3f}")
    return result


def remarks(evaluation: Evaluation, classes: tuple[str, ...]) -> list[str]:
    """Lines below the table: how often crops hit events, and which classes could not be scored."""
    lines = []
    if math.isnan(evaluation.metrics["fused"].mean_ap):
        lines.append(
            "nothing could be scored: no class has both a clip with it and one without; evaluate on more clips"
        )
    if (hits := evaluation.hits) is not None and hits.crops:
        lines.append(
            f"crops of a present class on an event of it: {hits.share:.1%} of {hits.crops} "
            f"(at random {hits.by_chance:.1%})"
        )
    if left_out := evaluation.metrics["fused"].left_out:
        names = ", ".join(classes[k] for k in left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        lines.append(f"{len(left_out)} of {len(classes)} classes left out, no positive or no negative clip: {names}")
    return lines
