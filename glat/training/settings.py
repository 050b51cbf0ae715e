"""The settings of a run that were left to this machine, and the opening lines that say what was chosen."""

import math
import os
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ..config import FLAG, PRESET, FeedConfig, ModelConfig, TrainConfig
from ..data import Data
from ..data.loading.batches import Choice
from ..errors import UserError
from ..machine import Precision, device_name
from ..runs.folder import recordings_in
from .remarked import at_the_start

# A CPU run that names no iterations trains about this long at the speed it starts with, and stops at the limit where
# the machine gets slower; with loading and evaluation that is less than ten minutes.
CPU_BUDGET_SECONDS = 220.0


CPU_MAX_MINUTES = 5.0
SHOWN_REMARKS = 3
WIDTH, INDENT = 80, 12  # of the opening lines, in columns: a terminal's, and so that a log can be read beside others
_LINE = re.compile(r":\d+$")  # of a file


def choose_model(config: TrainConfig, device: torch.device) -> TrainConfig:
    """Fill in width, regularisation and learning rate.

    On a GPU the paper's network as PANNs trains it: SpecAugment, dropout, a constant 1e-3. A CPU sees a few hundred
    steps, in which that network does not even fit its training clips: a quarter of the channels, neither SpecAugment
    nor dropout, and 3e-3 that falls to zero. Weights that were trained before are fine-tuned at 2e-4, as in the
    released program.
    """
    on_gpu = device.type == "cuda"
    values: dict[str, Any] = {
        "width": 1.0 if on_gpu else 0.25,
        "spec_augment": on_gpu,
        "dropout_scale": 1.0 if on_gpu else 0.0,
    }
    open_values = {name: value for name, value in values.items() if getattr(config.model, name) is None}
    optim = config.optim
    if optim.learning_rate is None:
        from_scratch = 1e-3 if on_gpu else 3e-3
        optim = replace(optim, learning_rate=from_scratch if config.model.init_from is None else 2e-4)
    if optim.sync_batch_norm and not on_gpu:
        raise UserError("--sync-batch-norm needs GPUs: PyTorch has it for them only; leave it out")
    if optim.schedule is None:
        optim = replace(optim, schedule="constant" if on_gpu else "cosine")
    return replace(config, model=replace(config.model, **open_values), optim=optim)


def choose_crops(config: TrainConfig, num_classes: int, origins: Mapping[str, str]) -> TrainConfig:
    """Lower the default number of crops to that of the classes, of which each crop takes another.

    Args:
        origins: see `TrainConfig.origins`; a number that was asked for stays.
    """
    if not _crops_by_default(config.model, num_classes, origins):
        return config
    return replace(config, model=replace(config.model, num_crops=num_classes))


def _crops_by_default(model: ModelConfig, num_classes: int, origins: Mapping[str, str]) -> bool:
    default = ModelConfig().num_crops
    return num_classes < default and "num_crops" not in origins and model.num_crops in (default, num_classes)


def choose_steps(
    config: TrainConfig, device: torch.device, num_clips: int, time_a_step: Callable[[int], float], ranks: int = 1
) -> TrainConfig:
    """Fill in batch size, iterations and the cadence of evaluations and checkpoints.

    On a GPU the batch is the paper's 32 and a run is 40 epochs, at least 2 000 and at most the paper's 800 000 steps.
    On a CPU the batch is at most 16 and a run fills `CPU_BUDGET_SECONDS` at the measured speed, at most
    `CPU_MAX_MINUTES` of it.

    Args:
        num_clips: clips to train on.
        time_a_step: seconds of one training step, by the clips of one part; called on a CPU when iterations are left
            open.
        ranks: processes that share every batch.

    Raises:
        UserError: a batch of more clips than there are, or one that cannot be cut into equal parts.
    """
    on_gpu = device.type == "cuda"
    optim, run = config.optim, config.run
    if optim.iterations is None and optim.epochs is None and optim.max_minutes is None and not on_gpu:
        optim = replace(optim, max_minutes=CPU_MAX_MINUTES)
    parts = ranks * optim.accumulate
    batch_size = optim.batch_size or max(parts, min(32 if on_gpu else 16, num_clips) // parts * parts)
    if batch_size > num_clips:  # `config.check` has seen that it is at least 1
        raise UserError(
            f"--batch-size is {batch_size}, and there are {num_clips} training clips; choose 1 to {num_clips}"
        )
    if batch_size % parts:
        raise UserError(
            f"--batch-size is {batch_size}, of all {ranks} processes and {optim.accumulate} parts (--accumulate) "
            f"together; choose a multiple of {parts}"
        )
    iterations = optim.iterations
    if iterations is None and optim.epochs is not None:
        iterations = steps_of(optim.epochs, num_clips, config.feed.drawn(batch_size))
    elif iterations is None and on_gpu:
        iterations = min(800_000, max(2_000, 40 * num_clips // batch_size))
    elif iterations is None:
        iterations = max(
            10, min(2_000, int(CPU_BUDGET_SECONDS / (optim.accumulate * time_a_step(batch_size // parts))))
        )
    eval_every = run.eval_every or (2_000 if on_gpu else -(-iterations // 3))
    save_every = run.save_every or (2_000 if on_gpu else min(50, -(-iterations // 3)))
    return replace(
        config,
        optim=replace(optim, batch_size=batch_size, iterations=iterations),
        run=replace(run, eval_every=eval_every, save_every=save_every),
    )


def steps_of(epochs: float, num_clips: int, drawn: int) -> int:
    """Steps in which every clip is drawn `epochs` times, the last one whole.

    Args:
        num_clips: clips to train on.
        drawn: clips of a step, of all ranks together; twice the batch where clips are mixed in pairs.
    """
    return max(1, math.ceil(round(epochs * num_clips / drawn, 6)))  # 0.3 epochs of 10 clips are 3 clips


def opening_lines(
    config: TrainConfig,
    device: torch.device,
    precision: Precision,
    data: Data,
    reader: Choice,
    ranks: int,
    mode: str,
    origins: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """The first lines of a run: what was chosen for this machine and these recordings, and the flags that change it.

    Args:
        mode: what ``--compile`` came to, as `compiling.mode_for` says.
        origins: see `TrainConfig.origins`.
    """
    model, optim = config.model, config.optim
    train, evaluation = data.train, data.evaluation
    seconds = train.clip_samples / train.sample_rate_hz
    compiled = {"off": "", "regions": ", compiled by regions"}.get(mode, f", compiled in mode {mode}")
    few = len(train.classes) if _crops_by_default(model, len(train.classes), origins) else None
    why = f", not {ModelConfig().num_crops}, as there are {_count(few, 'class')}" if few else ""
    epochs = optim.epochs
    length = f"{optim.iterations} iterations of {optim.batch_size} clips"
    lines = {
        "device": [
            f"{f'{ranks} x ' if ranks > 1 else ''}{device_name(device)}, {precision.reason}{compiled} "
            "(--amp, --compile)",
        ],
        "network": [
            f"{_streams(model)} at width {model.width:g} (--backbone, --width), "
            f"{_count(model.num_crops, 'crop')} of {model.crop_seconds:g} s{why} (--num-crops, --crop-seconds), "
            f"{'with' if model.spec_augment else 'no'} SpecAugment (--spec-augment True, False), "
            f"dropout x {model.dropout_scale:g} (--dropout-scale), preset {config.preset}",
        ],
        "data": [
            f"{len(train)} clips to train on, {len(evaluation)} to evaluate on, {seconds:g} s each, "
            f"{_count(len(train.classes), 'class')}, {_count(recordings_in(data.skipped), 'recording')} left out "
            f"(--data, --clip-seconds){_threshold(config)}",
        ],
        "windows": _windows(config, data),
        "clips": [f"from {reader.name}: {reader.reason} (--loader); {_hearing(config.feed)}"],
        "training": [
            f"{length}{f', {epochs:g} epochs (--epochs)' if epochs else ' (--iterations, --batch-size)'}"
            f"{f', at most {optim.max_minutes:g} minutes (--max-minutes)' if optim.max_minutes else ''}, learning rate "
            f"{optim.learning_rate:g}, {optim.schedule} (--learning-rate, --schedule), seed {optim.seed}",
        ],
        "settings": _settings(config, origins),
        "run folder": [f"{config.run.run_dir} (--run-dir)"],
    }
    found = [line for name, texts in lines.items() for text in texts for line in _labelled(name, text)]
    return found + ([f"warning: {precision.warning}"] if precision.warning else [])


def _labelled(name: str, text: str) -> list[str]:
    """A text as lines of `WIDTH` columns, the first with its name; what can be copied, as paths are, stays whole."""
    indent = " " * INDENT
    return textwrap.wrap(
        f"{name:<{INDENT}}{text}", WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _settings(config: TrainConfig, origins: Mapping[str, str]) -> list[str]:
    """Which values are no defaults, by where they come from."""
    default = TrainConfig()
    parts = [(default, config), *((getattr(default, p), getattr(config, p)) for p in vars(config) if p != "preset")]
    equal = {name for before, now in parts for name, value in vars(now).items() if getattr(before, name) == value}
    by_place: dict[str, list[str]] = {}
    for name, origin in origins.items():
        if name not in equal and name not in ("run_dir", "resume"):
            place = {PRESET: f"preset {config.preset}", FLAG: "flags"}.get(origin) or _LINE.sub("", origin)
            by_place.setdefault(place, []).append(name)
    return [f"from {_shortest(place)}: {', '.join(names)}" for place, names in by_place.items()]


def _shortest(path: str) -> str:
    return min(path, os.path.relpath(path), key=len) if Path(path).is_absolute() else path


def _windows(config: TrainConfig, data: Data) -> list[str]:
    """How long recordings are heard; nothing where each recording is a clip."""
    train, evaluation = data.train, data.evaluation
    if train.origins is None or evaluation.origins is None:
        return []
    sides = [len({origin.recording for origin in side.origins or ()}) for side in (train, evaluation)]
    if evaluation.events is None:
        how = "their labels are weak, and taken for all of their windows"
    else:
        count = sum(len(events) for events in evaluation.events)
        seconds = config.data.min_overlap
        how = f"labelled by what sounds in them for {seconds:g} s (--min-overlap), {count} events or parts there"
    return [
        f"of {_count(sides[0], 'recording')} to train on, each begins where the sampler draws it; of "
        f"{_count(sides[1], 'recording')} to evaluate on, one behind the other; {how} (--windows)"
    ]


def remark_lines(data: Data) -> list[str]:
    """What is odd about some recordings that are heard all the same; the first few."""
    odd = [f"{name}: {remark}" for name, remark in at_the_start(data)]
    more = len(odd) - SHOWN_REMARKS
    return [f"note: {line}" for line in odd[:SHOWN_REMARKS]] + (
        [f"note: {more} more remarks on recordings; glat check-data lists all"] if more > 0 else []
    )


def _threshold(config: TrainConfig) -> str:
    threshold = config.data.label_threshold
    return "" if threshold is None else f"; soft labels count as present from {threshold:g} on (--label-threshold)"


def _count(number: int, of: str) -> str:
    return f"{number} {of}{'' if number == 1 else 'es' if of.endswith('s') else 's'}"


def _hearing(feed: FeedConfig) -> str:
    parts = [f"sampler {feed.sampler} (--sampler)"]
    if feed.mixup != "none":
        parts.append(f"mixup {feed.mixup} with alpha {feed.mixup_alpha:g} (--mixup)")
    if feed.gain_db:
        parts.append(f"gain up to {feed.gain_db:g} dB (--gain-db)")
    if feed.shift_seconds:
        parts.append(f"shift up to {feed.shift_seconds:g} s (--shift-seconds)")
    return ", ".join(parts)


def _streams(model: ModelConfig) -> str:
    if model.share == "all":
        return f"one {model.backbone} for both streams (--share all)"
    if model.share == "convolutions":
        return f"2 x {model.backbone} with the same convolutions (--share convolutions)"
    if model.local_backbone in (None, model.backbone):
        return f"2 x {model.backbone}"
    return f"{model.backbone} and {model.local_backbone} (--local-backbone)"
