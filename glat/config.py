"""What a run is made of: frozen dataclasses, one per component; a preset is a function that returns them.

A field's type says what it may be: a `Literal` lists its choices, a `Range` beside a number its limits. ``None`` means
"chosen for this machine and these recordings"; a run's folder records what was chosen. Imports no torch: ``--help``
comes at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from .errors import UserError
from .fields import Kind, Range, kinds_of, what_is_wanted
from .urls import shown_path

PRESET, FLAG = "preset", "flag"  # where a value comes from; see `TrainConfig.origins`

CropPooling = Literal["max_mean", "max", "average", "linear", "exponential"]
ClipPooling = Literal["own", "max", "average", "max_mean", "linear", "exponential", "attention"]


@dataclass(frozen=True)
class ModelConfig:
    """The two streams and the selection between them."""

    backbone: str = "cnn10"
    """Network of both streams: cnn10, cnn14, resnet38, talnet, wavegram_logmel_cnn14, at_sca (a reconstruction), or
    module:factory for one of your own."""
    local_backbone: str | None = None
    """Network of the local stream; without it, the same as --backbone."""
    share: Literal["nothing", "convolutions", "all"] = "nothing"
    """Which weights both streams have in common: nothing, as in the paper; convolutions, each with its own norms and
    classifier; all, that is one network for both."""
    init_from: Path | None = None
    """Weights to start both streams from: a checkpoint of PANNs (.pth) or TALNet (.pt), the folder of a run, or
    hf://owner/name on the Hugging Face Hub."""
    width: Annotated[float | None, Range(1e-3, 16, "a factor on the channels from 0.001 to 16")] = None
    """Factor on the network's channels; 1 is the paper's network."""
    num_crops: Annotated[int, Range(1, 4096, "1 to 4 096 crops")] = 5
    """N, the number of crops per clip."""
    crop_seconds: Annotated[float, Range(1e-3, 3600, "seconds, more than 0 and at most 3600")] = 3.0
    """τ, the length of a crop in seconds."""
    suppress: Literal["none", "released", "crop"] = "none"
    """Keep later crops of a clip away from earlier ones: none, released (as the released program does it), or crop
    (no overlap with an earlier peak's crop); see select_crops."""
    rank_by: Literal["clip", "frame_max", "frame_mean"] = "clip"
    """Score that ranks the classes: of the clip, or the largest or mean score of its frames."""
    clip_pooling: ClipPooling = "own"
    """How frame probabilities are pooled into the clip's score; own: as the network's authors do it."""
    crop_pooling: CropPooling = "max_mean"
    """How crop probabilities are pooled into the local stream's score, also in training; max_mean is the paper's."""
    fusion_weight: Annotated[float | None, Range(0, 1, "a weight from 0 to 1")] = None
    """Fuse the streams by a mean of their logits, in which the local one has this weight; without it, as in the paper,
    by 0.5 (max + mean) of their probabilities. No part of training."""
    frame_classifier: Literal["global", "local"] = "global"
    """Stream whose classifier scores the frames of the global stream."""
    select_dropout: Annotated[float, Range(0, 0.999, "a probability below 1")] = 0.0
    """Dropout probability of the frame classifier, in training only."""
    spec_augment: bool | None = None
    """Mask two stripes of time and two of frequency in training (SpecAugment)."""
    dropout_scale: Annotated[float | None, Range(0, 1.9, "a factor from 0 to 1.9: the largest dropout is 0.5")] = None
    """Factor on every dropout probability; 1 is the paper's, 0 turns dropout off."""
    freeze_global: bool = False
    """Train only the local stream."""


@dataclass(frozen=True)
class DataConfig:
    """Where the clips come from."""

    data: Path | None = None
    """Recordings: a folder with one sub-folder per class, a CSV or TSV (columns file, label, optionally fold), the same
    with columns onset and offset, Raven's selection tables or Audacity's label tracks (.txt), the output of glat pack,
    WebDataset tar files (both may lie elsewhere: s3://, https://, ...), or hf-dataset:FOLDER, a saved data set of
    Hugging Face's datasets. Without it: built-in soundscapes of synthesised events."""
    eval_data: Path | None = None
    """Recordings to evaluate on, of the same kind as --data."""
    labels: Path | None = None
    """AudioSet's class_labels_indices.csv, for packs that name no classes."""
    file_column: str = "file"
    """Column of a CSV or TSV that names the files."""
    label_column: str = "label"
    """Column of a CSV or TSV with the labels."""
    label_separator: str = ";"
    """Separator between several labels of one file in a CSV or TSV."""
    label_threshold: Annotated[float | None, Range(1e-9, 1, "a probability above 0 and at most 1, such as 0.5")] = None
    """Soft labels of packs (HDF5 of other programs) count as present from this probability on. Without it, they are
    refused."""
    audio: Path | None = None
    """Folder of the files that a table or list names. Without it, the folder of the table."""
    negatives: Path | None = None
    """Recordings in which no class sounds, to be heard beside those of --data: a folder at any depth (files that --data
    lists keep their labels), or a list of files."""
    windows: Literal["auto", "on", "off"] = "auto"
    """Hear long recordings whole, in windows as long as a clip: training draws where each begins, the evaluation hears
    all of it once. off: only the beginning of each recording. auto: on where times are labelled, and where more than a
    third of the audio would go unheard."""
    min_overlap: Annotated[float, Range(0, 3600, "seconds from 0 to 3600")] = 0.3
    """Seconds that an event must sound in a window for its class to be a label of it; of a shorter event, or in a
    shorter clip, all of it."""
    mix: bool = False
    """Treat each recording of --data as one event, and mix soundscapes from these events."""
    clip_seconds: Annotated[float | None, Range(1e-3, 3600, "seconds, more than 0 and at most 3600")] = None
    """T0, the clip length in seconds; recordings are cut or padded to it."""
    eval_folds: tuple[str, ...] = ()
    """Folds of the CSV to evaluate on. Without it, about a fifth of each class."""
    train_clips: Annotated[int, Range(1, 10_000_000, "1 to 10 000 000 clips")] = 800
    """Number of soundscapes to train on (built-in, or with --mix)."""
    eval_clips: Annotated[int, Range(1, 10_000_000, "1 to 10 000 000 clips")] = 200
    """Number of soundscapes to evaluate on (built-in, or with --mix)."""


@dataclass(frozen=True)
class FeedConfig:
    """How clips reach the streams: what reads them, their order, and what is done to them."""

    loader: Literal["auto", "memory", "dali", "soundfile"] = "auto"
    """How recordings are read. memory: all are decoded at the start, as int16; dali, soundfile: each batch when it is
    needed. auto: memory if they fit in a quarter of it, else DALI if it is installed and can read them."""
    workers: Annotated[int | None, Range(1, 4096, "1 thread or more")] = None
    """Threads that read and decode; without it, one per core."""
    sampler: Literal["plain", "balanced", "alternate", "inverse_frequency"] = "plain"
    """Order of the training clips. plain: shuffled epochs; balanced: one class after the other (PANNs); alternate: a
    plain and a balanced batch in turn; inverse_frequency: at random, rare classes more often."""
    mixup: Literal["none", "permuted", "paired"] = "none"
    """Mix waveforms and labels within a batch. permuted: each clip with another one; paired: twice as many clips are
    drawn and mixed in pairs (PANNs)."""
    mixup_alpha: Annotated[float, Range(1e-3, 1e3, "a number above 0, such as 1")] = 1.0
    """Mixing weights are drawn from Beta(alpha, alpha)."""
    gain_db: Annotated[float, Range(0, 100, "0 for none, or dB up to 100")] = 0.0
    """Largest random gain per clip, up or down, in dB."""
    shift_seconds: Annotated[float, Range(0, 3600, "0 for none, or seconds up to 3600")] = 0.0
    """Largest random shift per clip in seconds, in either direction; the clip wraps around."""

    def drawn(self, batch_size: int) -> int:
        """Clips to draw for a step of `batch_size`."""
        return 2 * batch_size if self.mixup == "paired" else batch_size


@dataclass(frozen=True)
class OptimConfig:
    """How the weights are found: Adam with amsgrad, as PANNs and the released program."""

    batch_size: Annotated[int | None, Range(1, 1_000_000, "1 clip or more")] = None
    """B, clips per step: the total over all GPUs. The paper: 32."""
    iterations: Annotated[int | None, Range(1, 2**53, "1 step or more")] = None
    """Number of training steps. The paper: 800 000."""
    epochs: Annotated[float | None, Range(1e-6, 1e9, "epochs, more than 0")] = None
    """Instead of --iterations: how often every training clip is drawn; 2.5 is two and a half times."""
    max_minutes: Annotated[float | None, Range(1e-6, 1e9, "minutes, more than 0")] = None
    """Stop training after this many minutes, even before the last step."""
    learning_rate: Annotated[float | None, Range(1e-12, 1e3, "a step size above 0, such as 1e-3")] = None
    """Adam's learning rate. The released programs: 1e-3 from scratch, 2e-4 for fine-tuning."""
    schedule: Literal["constant", "cosine"] | None = None
    """Learning rate over the run: constant (PANNs), or cosine (5 % warm-up, then a cosine down to zero)."""
    accumulate: Annotated[int, Range(1, 1_000_000, "1 part or more")] = 1
    """Split each batch into this many parts, one after the other: the same step with less memory."""
    clip_grad_norm: Annotated[float | None, Range(1e-12, 1e12, "a norm above 0")] = None
    """Clip the norm of the gradient to this value."""
    ema: Annotated[float | None, Range(0, 0.999999999, "a decay from 0 to below 1, such as 0.9999")] = None
    """Keep an exponential moving average of the weights with this decay per step, such as 0.9999; it is what is
    evaluated and saved."""
    patience: Annotated[int | None, Range(1, 2**53, "1 evaluation or more")] = None
    """Stop after this many evaluations without a better fused mAP."""
    on_nan: Literal["stop", "skip"] = "stop"
    """When a loss or gradient is not finite: stop at the next report, or skip the step and go on. The clips are named
    and their batch is saved either way."""
    global_weight: Annotated[float, Range(0, 1e6, "a weight from 0 on")] = 1.0
    """Weight of the global stream's loss."""
    local_weight: Annotated[float, Range(0, 1e6, "a weight from 0 on")] = 1.0
    """Weight of the local stream's loss."""
    amp: bool = False
    """Train in mixed precision where the device supports it: bfloat16, or float16 with loss scaling."""
    amp_dtype: Literal["auto", "bf16", "fp16"] = "auto"
    """Data type of --amp. auto: bfloat16 where it is native, else float16 on a GPU."""
    compile: Literal["auto", "off", "regions", "default", "reduce-overhead", "max-autotune"] = "auto"
    """What torch.compile does to the training step. regions: what lies between the convolutions of our networks is
    compiled once for all sizes, sooner than the step as one graph, which is what the other modes take; that takes
    minutes, and its steps are faster. auto: default on a GPU, off on a CPU."""
    sync_batch_norm: bool = False
    """Compute batch norm statistics over all GPUs instead of on each alone."""
    seed: Annotated[int, Range(0, 2**31 - 1, "a whole number from 0 to 2147483647")] = 0
    """Seed for weights, clip order and all random draws."""


@dataclass(frozen=True)
class RunConfig:
    """Where a run is kept and how often it reports."""

    run_dir: Path | None = None
    """Folder of the run. Without it: runs/DATE-TIME-PROCESS-BACKBONE."""
    resume: str | None = None
    """Continue a run: its folder, or auto to continue --run-dir if it holds a checkpoint."""
    eval_every: Annotated[int | None, Range(1, 2**53, "1 step or more")] = None
    """Number of steps between evaluations."""
    save_every: Annotated[int | None, Range(1, 2**53, "1 step or more")] = None
    """Number of steps between checkpoints."""
    keep: Annotated[int, Range(1, 1_000_000, "1 checkpoint or more")] = 2
    """Number of checkpoints to keep, besides the one of the best evaluation."""
    log_every: Annotated[int, Range(1, 2**53, "1 step or more")] = 10
    """Number of steps between progress reports; each waits once for the device."""
    logger: tuple[Literal["tensorboard", "wandb", "mlflow", "none"], ...] = ("tensorboard",)
    """Also write the curves for one or several of tensorboard, wandb (Weights & Biases), mlflow; or none. The run's
    metrics.jsonl has them in any case."""
    dry_run: bool = False
    """Print the resolved config, parameters, FLOPs, memory and time per epoch; write nothing."""


@dataclass(frozen=True)
class TrainConfig:
    """Train GL-AT. Flags left out are chosen for this machine and these recordings."""

    preset: str = "paper"
    """Starting values of all flags. paper: both streams trained together; best: the same with crops pooled by their
    maximum and streams fused by a weighted mean of logits, of all that docs/study.md tried what held; released: as the
    released program (global stream frozen, its frames scored by the local classifier, suppression)."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    feed: FeedConfig = field(default_factory=FeedConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)
    # Where values come from, by name, whatever they are: `PRESET`, `FLAG`, or a line of a file. No part of the config.
    origins: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def with_origins(self, origins: Mapping[str, str]) -> "TrainConfig":
        """The same config, which knows where its values come from; `dataclasses.replace` forgets it."""
        config = replace(self)
        object.__setattr__(config, "origins", dict(origins))
        return config


def paper() -> TrainConfig:
    """Section 2 and 3.2 of the paper: both streams trained together, no suppression."""
    return TrainConfig()


def best() -> TrainConfig:
    """What docs/study.md found to be better than the paper's recipe, at its compute."""
    return TrainConfig(preset="best", model=ModelConfig(crop_pooling="max", fusion_weight=0.65))


def released() -> TrainConfig:
    """The released program: see `TrainConfig.preset`. Its global stream wants trained weights to be of use."""
    return TrainConfig(
        preset="released",
        model=ModelConfig(suppress="released", frame_classifier="local", select_dropout=0.5, freeze_global=True),
        optim=OptimConfig(learning_rate=2e-4, schedule="constant", global_weight=0.0),
    )


PRESETS = {"paper": paper, "best": best, "released": released}


def check(config: TrainConfig, recorded: bool = False) -> None:
    """Check every value, and the flags that contradict each other, before anything else happens.

    Args:
        recorded: the config of a run's folder, which holds the epochs that were asked and the iterations they are.

    Raises:
        UserError: a value of the wrong kind or outside its limits; flags that contradict each other.
    """
    parts: tuple[Any, ...] = (config.model, config.data, config.feed, config.optim, config.run)
    for part in parts:
        for name, value in vars(part).items():
            if wanted := what_is_wanted(kinds_of(part.__class__)[name], value):
                raise UserError(f"--{name.replace('_', '-')} is {value!r}; {wanted}")
    if config.optim.epochs and config.optim.iterations and not recorded:
        raise UserError("--epochs and --iterations both say how long a run is; give one of the two")
    if len(set(config.run.logger)) < len(config.run.logger):
        raise UserError(f"--logger names one twice: {' '.join(config.run.logger)}")
    if "none" in config.run.logger and len(config.run.logger) > 1:
        raise UserError(f"--logger {' '.join(config.run.logger)}: none goes with no other; leave it out")
    if config.data.mix and config.data.data is None:
        raise UserError("--mix needs recordings to mix; give --data, or leave it out for the built-in soundscapes")
    if config.model.share != "nothing" and (config.model.local_backbone or config.model.freeze_global):
        flag = "--local-backbone" if config.model.local_backbone else "--freeze-global"
        flag += " (of --preset released)" if config.preset == "released" and not config.model.local_backbone else ""
        raise UserError(
            f"--share {config.model.share} lets both streams have the same weights, and {flag} wants streams of their "
            "own; give one of the two"
        )
    if config.optim.global_weight == 0 and config.optim.local_weight == 0:
        raise UserError("--global-weight and --local-weight are both 0, so nothing is trained; give one above 0")
    optim = config.optim
    if optim.amp_dtype != "auto" and not optim.amp:
        raise UserError(f"--amp-dtype {optim.amp_dtype} says what --amp computes in; add --amp, or leave it out")
    if optim.compile in ("reduce-overhead", "max-autotune") and optim.accumulate > 1:
        raise UserError(
            f"--compile {optim.compile} records CUDA graphs, in which gradients that are accumulated may come out "
            "wrong; choose --compile default, or --accumulate 1"
        )
    if optim.sync_batch_norm and optim.compile not in ("auto", "off"):
        raise UserError(
            f"--sync-batch-norm exchanges statistics in the middle of the network, which --compile {optim.compile} "
            "cannot take in; leave one of the two out"
        )


def to_json(config: Any) -> dict[str, Any]:
    """Plain types of a config, for a run's folder; `from_json` takes them back."""
    return {
        key: to_json(value) if is_dataclass(value) else shown_path(value) if isinstance(value, Path) else value
        for key, value in vars(config).items()
        if key != "origins"
    }


class UnknownEntryError(UserError):
    """A recorded config has an entry that this version does not know: a newer one wrote it."""

    def __init__(self, entry: str) -> None:
        super().__init__(f"the recorded config has {entry!r}, which this version of glat does not know")
        self.entry = entry


def from_json(values: Any) -> TrainConfig:
    """The config that `to_json` wrote.

    Raises:
        UnknownEntryError: an entry that this version does not know.
        UserError: an entry that is missing, of the wrong kind, or outside its limits.
    """

    def part(name: str, kind: type) -> Any:
        kinds, entries = kinds_of(kind), values.get(name)
        if not isinstance(entries, dict):
            raise UserError(f"the recorded config has no entries {name!r}")
        if kind is DataConfig:
            entries = {"windows": "off"} | entries  # runs of before heard beginnings alone
        if kind is ModelConfig and "share_weights" in entries:  # as runs of before had it
            one = entries["share_weights"]
            entries = {key: value for key, value in entries.items() if key != "share_weights"}
            entries["share"] = "all" if one is True else "nothing" if one is False else one
        if unknown := sorted(set(entries) - set(kinds)):
            raise UnknownEntryError(unknown[0])
        return kind(**{name: _from_json(kinds[name], value) for name, value in entries.items()})

    if not isinstance(values, dict):
        raise UserError(f"the recorded config is a {type(values).__name__}")
    parts = {"model": ModelConfig, "data": DataConfig, "feed": FeedConfig, "optim": OptimConfig, "run": RunConfig}
    made = {name: part(name, kind) for name, kind in parts.items()}
    if unknown := sorted(set(values) - {*parts, "preset"}):
        raise UnknownEntryError(unknown[0])
    if (preset := values.get("preset")) not in list(PRESETS):
        raise UserError(f"the recorded config has the preset {preset!r}; wanted one of {', '.join(PRESETS)}")
    config = TrainConfig(preset=preset, **made)
    check(config, recorded=True)
    return config


def _from_json(kind: Kind, value: Any) -> Any:
    if kind.several and isinstance(value, list):
        return tuple(value)
    return Path(value) if kind.base is Path and isinstance(value, str) else value
