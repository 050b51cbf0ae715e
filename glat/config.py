"""What a run is made of: frozen dataclasses, one a component; a preset is a function that returns them.

``None`` means "chosen for this machine and these recordings" (`glat.machine`); a run's folder records what was chosen.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import UserError
from .pooling import POOLINGS

CropPooling = Literal["max_mean", "max", "average", "linear", "exponential"]


@dataclass(frozen=True)
class ModelConfig:
    """The two streams and the selection between them."""

    backbone: str = "cnn10"
    """The network of both streams: at_sca (a reconstruction), cnn10, cnn14, resnet38, talnet, wavegram_logmel_cnn14, or
    module:factory for one of your own."""
    local_backbone: str | None = None
    """Another network for the local stream."""
    share_weights: bool = False
    """One network for both streams."""
    init_from: Path | None = None
    """Weights to start both streams from: a checkpoint of PANNs (.pth) or TALNet (.pt), or the folder of a run."""
    width: float | None = None
    """Factor on its channels; 1 is the paper's network."""
    num_crops: int = 5
    """N, crops a clip."""
    crop_seconds: float = 3.0
    """τ, the length of a crop in seconds."""
    suppress: Literal["none", "released", "crop"] = "none"
    """What a crop forbids the later ones; see select_crops."""
    rank_by: Literal["clip", "frame_max", "frame_mean"] = "clip"
    """What ranks the classes: the clip score, or the largest or mean frame score."""
    clip_pooling: Literal["own", "max", "average", "max_mean", "linear", "exponential", "attention"] = "own"
    """What makes the clip's score of its frames' probabilities; own: as the network's authors have it."""
    crop_pooling: CropPooling = "max_mean"
    """What makes the local stream's score of its crops' probabilities, in training too; max_mean is the paper's."""
    frame_classifier: Literal["global", "local"] = "global"
    """Whose classifier scores the frames of the global stream."""
    select_dropout: float = 0.0
    """Dropout of the frame classifier while training."""
    spec_augment: bool | None = None
    """SpecAugment while training: two stripes along each axis."""
    dropout_scale: float | None = None
    """Factor on every dropout probability of training; 1 is the paper's, 0 turns dropout off."""
    freeze_global: bool = False
    """Train the local stream only."""


@dataclass(frozen=True)
class DataConfig:
    """Where the clips come from."""

    data: Path | None = None
    """A folder with one sub-folder a class, a CSV or TSV with columns file, label and optionally fold, what glat pack
    wrote, or tar files; without it, built-in soundscapes of synthesised events."""
    eval_data: Path | None = None
    """The same, for the evaluation alone."""
    labels: Path | None = None
    """AudioSet's class_labels_indices.csv, for packs that name no classes."""
    file_column: str = "file"
    """The column of a CSV or TSV that names the files."""
    label_column: str = "label"
    """The column of a CSV or TSV with the labels."""
    label_separator: str = ";"
    """What joins several labels of one file in a CSV or TSV."""
    mix: bool = False
    """Take the recordings of --data as isolated events and mix soundscapes from them."""
    clip_seconds: float | None = None
    """T0, the length every clip is padded or cut to, in seconds."""
    eval_folds: tuple[str, ...] = ()
    """Folds of the CSV to evaluate on; without it, about a fifth of every class."""
    train_clips: int = 800
    """Soundscapes to train on."""
    eval_clips: int = 200
    """Soundscapes to evaluate on."""


@dataclass(frozen=True)
class FeedConfig:
    """How clips reach the streams: what reads them, their order, and what is done to them."""

    loader: Literal["auto", "memory", "dali", "soundfile"] = "auto"
    """What reads recordings: memory (all at once, as int16), or DALI or soundfile as they are heard; auto: memory
    where they take at most a quarter of it, else DALI where it is there and reads them."""
    workers: int | None = None
    """Threads that read; without it one a core."""
    sampler: Literal["plain", "balanced", "alternate", "inverse_frequency"] = "plain"
    """Order of the training clips: epochs of all, the classes by turns (PANNs), both by turns, or at random by the
    rarity of their classes."""
    mixup: Literal["none", "permuted", "paired"] = "none"
    """Mix waveforms and labels within a batch: every clip with another, or twice as many clips in pairs (PANNs)."""
    mixup_alpha: float = 1.0
    """Mixing weights are drawn from Beta(alpha, alpha)."""
    gain_db: float = 0.0
    """Largest random gain of a clip, up or down, in dB."""
    shift_seconds: float = 0.0
    """Largest random shift of a clip, either way, in seconds; what leaves at one end comes back at the other."""

    def drawn(self, batch_size: int) -> int:
        """Clips to draw for a step of `batch_size`."""
        return 2 * batch_size if self.mixup == "paired" else batch_size


@dataclass(frozen=True)
class OptimConfig:
    """How the weights are found: Adam with amsgrad, as PANNs and the released program."""

    batch_size: int | None = None
    """B, clips a step; the paper: 32."""
    iterations: int | None = None
    """Steps; the paper: 800 000."""
    max_minutes: float | None = None
    """Stop training after so many minutes, also before the last step."""
    learning_rate: float | None = None
    """Adam's step size; the released programs: 1e-3 from scratch, 2e-4 to fine-tune."""
    schedule: Literal["constant", "cosine"] | None = None
    """The learning rate over the run: constant (PANNs), or 5 % warm-up and then a cosine to zero."""
    accumulate: int = 1
    """Parts a step's batch is cut into, one after the other: less memory for the same step."""
    clip_grad_norm: float | None = None
    """Scale gradients down to this norm where theirs is larger."""
    ema: float | None = None
    """Average the weights with this decay a step, such as 0.9999; the averages are evaluated and exported."""
    patience: int | None = None
    """Stop after so many evaluations without a better fused mAP."""
    on_nan: Literal["stop", "skip"] = "stop"
    """What to do where a loss or gradient is not finite: stop at the next report, or leave the weights as they are
    and go on. The clips are named and kept either way."""
    global_weight: float = 1.0
    """Weight of the global stream's loss."""
    local_weight: float = 1.0
    """Weight of the local stream's loss."""
    amp: bool = False
    """Mixed precision, where this device has it: bfloat16, or float16 with a loss scale."""
    amp_dtype: Literal["auto", "bf16", "fp16"] = "auto"
    """What --amp computes in; auto: bfloat16 where it is native, else float16 on a GPU."""
    compile: Literal["auto", "off", "default", "reduce-overhead", "max-autotune"] = "auto"
    """torch.compile's mode for the two streams and the loss as one graph; auto: default on a GPU, off on a CPU."""
    sync_batch_norm: bool = False
    """Batch norm over the clips of all GPUs; without it, over those of each."""
    seed: int = 0
    """Of the weights, the order of the clips and every random draw."""


@dataclass(frozen=True)
class RunConfig:
    """Where a run is kept and how often it reports."""

    run_dir: Path | None = None
    """The run's folder; without it, runs/ with the date and the backbone."""
    resume: str | None = None
    """auto: go on with --run-dir where it holds a checkpoint; or the folder of the run to go on with."""
    eval_every: int | None = None
    """Steps between evaluations."""
    save_every: int | None = None
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints to keep, beside that of the best evaluation."""
    log_every: int = 10
    """Steps between reports, each of which waits for the device once."""
    dry_run: bool = False
    """Print the resolved config, parameters, memory, FLOPs and the time an epoch takes, and write nothing."""


@dataclass(frozen=True)
class TrainConfig:
    """GL-AT, trained: `python train.py` and its flags."""

    preset: str = "paper"
    """paper (joint training, as the paper writes it) or released (as the released program does it: a frozen global
    stream, the local classifier on its frames, suppression)."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    feed: FeedConfig = field(default_factory=FeedConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)


def paper() -> TrainConfig:
    """Section 2 and 3.2 of the paper: both streams trained together, no suppression."""
    return TrainConfig()


def released() -> TrainConfig:
    """The released program: see `TrainConfig.preset`. Its global stream wants trained weights to be of use."""
    return TrainConfig(
        preset="released",
        model=ModelConfig(suppress="released", frame_classifier="local", select_dropout=0.5, freeze_global=True),
        optim=OptimConfig(learning_rate=2e-4, schedule="constant", global_weight=0.0),
    )


PRESETS = {"paper": paper, "released": released}


def check(config: TrainConfig) -> None:
    """Look at every value before anything else happens.

    Raises:
        UserError: a value that cannot be meant; flags that contradict each other.
    """
    for part in (config.model, config.data, config.feed, config.optim, config.run):
        for name, value in vars(part).items():
            flag = "--" + name.replace("_", "-")
            if name in CHOICES and value not in (None, *CHOICES[name]):
                raise UserError(f"{flag} is {value!r}; choose one of {', '.join(CHOICES[name])}")
            if name in RANGES and value is not None:
                low, high, meaning = RANGES[name]
                number = isinstance(value, int | float) and not isinstance(value, bool)
                if not number or not low <= value <= high or (name in WHOLE and value != int(value)):
                    raise UserError(f"{flag} is {value}; wanted {meaning}")
    if config.data.mix and config.data.data is None:
        raise UserError("--mix needs recordings to mix; give --data, or leave it out for the built-in soundscapes")
    if config.model.share_weights and (config.model.local_backbone or config.model.freeze_global):
        flag = "--local-backbone" if config.model.local_backbone else "--freeze-global"
        raise UserError(f"--share-weights makes one network of both streams, and {flag} wants two; give one of the two")
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
            "cannot take in as one graph; leave one of the two out"
        )


CHOICES = {
    "loader": ("auto", "memory", "dali", "soundfile"),
    "sampler": ("plain", "balanced", "alternate", "inverse_frequency"),
    "mixup": ("none", "permuted", "paired"),
    "clip_pooling": ("own", *POOLINGS),
    "crop_pooling": tuple(name for name in POOLINGS if name != "attention"),  # that has weights of its own
    "suppress": ("none", "released", "crop"),
    "rank_by": ("clip", "frame_max", "frame_mean"),
    "frame_classifier": ("global", "local"),
    "schedule": ("constant", "cosine"),
    "on_nan": ("stop", "skip"),
    "amp_dtype": ("auto", "bf16", "fp16"),
    "compile": ("auto", "off", "default", "reduce-overhead", "max-autotune"),
}
WHOLE = {
    *("num_crops", "workers", "train_clips", "eval_clips", "batch_size", "iterations", "seed"),
    *("eval_every", "save_every", "log_every", "accumulate", "patience", "keep"),
}
RANGES: dict[str, tuple[float, float, str]] = {
    "width": (1e-3, 16, "a factor on the channels from 0.001 to 16"),
    "num_crops": (1, 4096, "1 crop or more"),
    "crop_seconds": (1e-3, 3600, "seconds, more than 0 and at most 3600"),
    "select_dropout": (0, 0.999, "a probability below 1"),
    "dropout_scale": (0, 1.9, "a factor from 0 to 1.9: the largest dropout is 0.5"),
    "clip_seconds": (1e-3, 3600, "seconds, more than 0 and at most 3600"),
    "workers": (1, 4096, "1 thread or more"),
    "mixup_alpha": (1e-3, 1e3, "a number above 0, such as 1"),
    "gain_db": (0, 100, "0 for none, or dB up to 100"),
    "shift_seconds": (0, 3600, "0 for none, or seconds up to 3600"),
    "train_clips": (1, 10_000_000, "1 to 10 000 000 clips"),
    "eval_clips": (1, 10_000_000, "1 to 10 000 000 clips"),
    "batch_size": (1, 1_000_000, "1 clip or more"),
    "iterations": (1, 2**53, "1 step or more"),
    "max_minutes": (1e-6, 1e9, "minutes, more than 0"),
    "learning_rate": (1e-12, 1e3, "a step size above 0, such as 1e-3"),
    "accumulate": (1, 1_000_000, "1 part or more"),
    "clip_grad_norm": (1e-12, 1e12, "a norm above 0"),
    "ema": (0, 0.999999999, "a decay from 0 to below 1, such as 0.9999"),
    "patience": (1, 2**53, "1 evaluation or more"),
    "keep": (1, 1_000_000, "1 checkpoint or more"),
    "global_weight": (0, 1e6, "a weight from 0 on"),
    "local_weight": (0, 1e6, "a weight from 0 on"),
    "seed": (0, 2**31 - 1, "a whole number from 0 to 2147483647"),
    "eval_every": (1, 2**53, "1 step or more"),
    "save_every": (1, 2**53, "1 step or more"),
    "log_every": (1, 2**53, "1 step or more"),
}


def to_json(config: Any) -> dict[str, Any]:
    """Plain types of a config, for a run's folder; `from_json` takes them back."""
    return {
        key: to_json(value) if is_dataclass(value) else str(value) if isinstance(value, Path) else value
        for key, value in vars(config).items()
    }


def from_json(values: dict[str, Any]) -> TrainConfig:
    """The config that `to_json` wrote.

    Raises:
        UserError: an entry that this version does not know.
    """
    parts = {"model": ModelConfig, "data": DataConfig, "feed": FeedConfig, "optim": OptimConfig, "run": RunConfig}
    paths = {"data", "eval_data", "labels", "run_dir", "init_from"}

    def part(kind: type, entries: dict[str, Any]) -> Any:
        known = {field.name for field in fields(kind)}
        if unknown := sorted(set(entries) - known):
            raise UserError(f"the recorded config has {unknown[0]!r}, which this version of glat does not know")
        as_fields = {k: Path(v) if k in paths and v is not None else v for k, v in entries.items()}
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in as_fields.items()})

    config = TrainConfig(preset=values["preset"], **{name: part(kind, values[name]) for name, kind in parts.items()})
    check(config)
    return config
