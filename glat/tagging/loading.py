"""From a run's folder, or from weights of PANNs or TALNet, to a `Tagger`."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import torch

from .. import machine
from ..backbones import Backbone
from ..config import CropPooling, ModelConfig
from ..data.recordings.audio import read_audio
from ..data.recordings.audioset import read_class_labels
from ..errors import UserError, first_line, warn
from ..hub.fetch import local
from ..model import GlobalLocal
from ..runs.folder import BEST_WEIGHTS, WEIGHTS, open_run
from ..runs.pretrained import read_pretrained
from ..runs.thresholds import Thresholds, thresholds_of_weights
from ..runs.weights import load_model
from ..sharpening import SAID, EventsBy
from .events import thresholds_of
from .hearing import Streams
from .origin import Origin
from .tagger import OVERLAP, Tagger, events_by_of

CLIP_SECONDS = 10.0  # what PANNs' and TALNet's networks were trained on
_NORMALISER = "standardise.mean"  # its entry in the state dict
_NORMALISER_CLIPS = 50  # as many as a normaliser is estimated from


def load(
    source: str | Path,
    *,
    labels: str | Path | Sequence[str] | None = None,
    best: bool = False,
    crop_pooling: CropPooling | None = None,
    streams: Streams = "both",
    overlap: float = OVERLAP,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    batch_size: int | None = None,
    allow_code: Collection[str] = (),
    normalise_with: Sequence[str | Path] = (),
    events_by: EventsBy | None = None,
) -> Tagger:
    """A trained model, ready to tag.

    Args:
        source: the folder of a training run, or a checkpoint of PANNs (Cnn10, Cnn14, ResNet38, Wavegram-Logmel-CNN14)
            or TALNet, or on the Hugging Face Hub ``hf://owner/name`` of a run, ``hf://owner/name/file.safetensors`` of
            such weights. A checkpoint's network is used as both streams: its frames select the crops, which the same
            network hears.
        labels: names of a checkpoint's classes: AudioSet's class_labels_indices.csv, a text file with a name a line, or
            the names. A run brings its own.
        best: the weights of the run's best evaluation, in place of those of its last checkpoint.
        crop_pooling: what makes the local stream's score of its crops' probabilities; None: as in training.
        streams: "global" hears the clip alone, without crops: the fused probability is then the global one.
        overlap: share of a window that the next one hears again, 0 to 0.9.
        device: such as "cpu" or "cuda:1"; None: a GPU where there is one.
        dtype: what the networks compute in: torch.float32, torch.bfloat16 or torch.float16.
        batch_size: windows at a time; None: 8 on a CPU, 32 elsewhere.
        allow_code: modules, or module:factory, whose code may run, where a run was trained with a network of the
            user's own.
        normalise_with: recordings to estimate a normaliser from, for TALNet.pt, which lacks its own.
        events_by: what events are found by: "frames", the frame probabilities as the global stream says them, or
            "sharpened", averaged with what both streams say of the clip and of each crop; None:
            sharpened, but frames where the run keeps thresholds of these alone, where the local stream is left out,
            and of weights that were trained on no crops.

    Raises:
        UserError: nothing there, damaged files, labels that are missing or too few or many.
    """
    if not isinstance(source, str | Path):
        raise UserError(f"source is {source!r}; give the folder of a run, or a checkpoint of PANNs or TALNet")
    source = local(source)
    if source.is_dir():
        if labels is not None:
            raise UserError(f"{source} is a run, which knows its classes; leave the labels out")
        opened = open_run(source).pooled_by(crop_pooling)
        model = load_model(opened, BEST_WEIGHTS if best else WEIGHTS, allow_code)
        classes, clip_samples = opened.classes, opened.clip_samples
        thresholds = thresholds_of_weights(source, BEST_WEIGHTS if best else WEIGHTS)
        origin = Origin.of_run(opened, BEST_WEIGHTS if best else WEIGHTS)
    else:
        if best:
            raise UserError(f"{source} is no run's folder, so it has no best evaluation; leave --best out")
        model, classes = _from_weights(source, labels, crop_pooling, normalise_with)
        clip_samples, thresholds = round(CLIP_SECONDS * model.global_.sample_rate_hz), None
        origin = Origin(source)
        # What crops say of events, nobody has measured of a network that was trained on none.
        events_by = events_by or "frames"
    if events_by is None and thresholds is not None and thresholds.of_events("sharpened") is None:
        events_by = "frames"  # an older glat found thresholds for these alone
    events_by = events_by_of(events_by, streams)
    of_events, thresholds_from = _of_events(thresholds, events_by, source)
    by_frames = thresholds.of_events("frames") if thresholds else None
    by_tags = thresholds.of_tags() if thresholds else None
    where = machine.pick_device() if device is None else _device(device)
    return Tagger(
        model,
        classes,
        clip_samples,
        thresholds_of(of_events, classes),
        thresholds_of(by_tags, classes),
        device=where,
        dtype=dtype,
        streams=streams,
        overlap=overlap,
        batch_size=batch_size,
        events_by=events_by,
        plain_thresholds=thresholds_of(by_frames, classes),
        thresholds_from=thresholds_from,
        origin=origin,
    )


def _of_events(kept: Thresholds | None, events_by: EventsBy, run: Path) -> tuple[dict[str, float] | None, str]:
    """The thresholds of events by class, and where they come from: those of other frames are not taken for them."""
    found = kept.of_events(events_by) if kept is not None else None
    if found is not None:
        return found, f"the run's thresholds for {SAID[events_by]}"
    if kept is not None:
        warn(
            f"{run} keeps no thresholds for {SAID[events_by]}, which are taken from 0.5 on; find them with glat "
            f"evaluate --run {run} --thresholds",
            stacklevel=3,
        )
    return None, "0.5"


def _from_weights(
    source: Path,
    labels: str | Path | Sequence[str] | None,
    crop_pooling: CropPooling | None,
    normalise_with: Sequence[str | Path],
) -> tuple[GlobalLocal, tuple[str, ...]]:
    found = read_pretrained(source)
    network = found.network
    assert isinstance(network, Backbone)  # a run's folder is no file
    if labels is None:
        raise UserError(
            f"{source} does not name its {network.num_classes} classes; give --labels class_labels_indices.csv"
        )
    classes = _class_names(labels)
    if len(classes) != network.num_classes:
        raise UserError(f"{source} has {network.num_classes} classes, and the labels name {len(classes)}; give its own")
    config = ModelConfig(
        backbone=found.backbones[0],
        share="all",
        width=found.width,
        num_crops=min(5, len(classes)),
        crop_pooling=crop_pooling or "max_mean",
    )
    model = GlobalLocal(network, network, config).eval()
    if _NORMALISER in found.lacking:
        if not normalise_with:
            raise UserError(f"{source} holds no normaliser; give recordings to estimate it from (normalise_with)")
        model.estimate_normalizer(list(_some_clips(network, normalise_with)))
    return model, classes


def _class_names(labels: str | Path | Sequence[str]) -> tuple[str, ...]:
    if isinstance(labels, Iterable) and not isinstance(labels, str):
        return tuple(str(label) for label in labels)
    if not isinstance(labels, str | Path):
        raise UserError(f"labels is {labels!r}; give AudioSet's table, a text file with a name a line, or the names")
    path = Path(labels)
    if path.suffix.lower() == ".csv":
        return read_class_labels(path).names
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"labels {path} cannot be read ({error}); give AudioSet's table or a name a line") from None
    return tuple(line.strip() for line in lines if line.strip())


def needs_normaliser(weights: Path) -> bool:
    """Whether a checkpoint lacks the normaliser of its network, as TALNet.pt does."""
    return _NORMALISER in read_pretrained(weights).lacking


def _some_clips(network: Backbone, files: Sequence[str | Path]) -> Iterator[torch.Tensor]:
    """Clips [1, S] from the beginnings of the first recordings."""
    rate = network.sample_rate_hz
    some = files[:_NORMALISER_CLIPS]
    seconds = CLIP_SECONDS * -(-_NORMALISER_CLIPS // len(some))
    for file in some:
        try:
            wave = torch.from_numpy(read_audio(Path(file), rate, max_seconds=seconds))
        except UserError:
            continue  # said when its turn comes
        yield from (clip[None] for clip in wave.split(round(CLIP_SECONDS * rate)))


def _device(asked: str | torch.device) -> torch.device:
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError, TypeError) as error:  # what torch raises depends on what is missing
        raise UserError(
            f"device is {str(asked)!r}, which cannot be used here ({first_line(error)}); give cpu"
        ) from None
    return torch.device(asked)
