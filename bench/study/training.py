"""Train a job: a global stream and the local streams of its rows, with evaluations on the way; resumes after a stop."""

import json
import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from glat.backbones import Backbone
from glat.config import DataConfig, OptimConfig
from glat.data import Batch, Clips, ClipSource, Data, load
from glat.data.loading.samplers import RowStream, build_sampler
from glat.data.soundscapes.mix import Mixer
from glat.data.sources.load import RECORDED_EVENTS
from glat.errors import UserError
from glat.evaluation.metrics import evaluate_scores
from glat.evaluation.score import CropHits, crop_hits, score
from glat.files import replaced, write_json
from glat.frontend import to_float
from glat.inference import for_inference
from glat.losses import Losses, global_bce, local_bce
from glat.machine import device_name, keep_freed_memory, pick_device, pick_precision, versions
from glat.model import GlobalLocal
from glat.ranks import ALONE
from glat.runs.checkpoints import random_state, set_random_state
from glat.training.compiling import CompiledStep, mode_for
from glat.training.learner import Learner

from .networks import NETWORKS, SAMPLE_RATE_HZ
from .plan import Job, Row, Scale, Sounds
from .recipes import CropsOfSeveralLengths, NovelCrops, PooledFeatures, ShiftedCrops, partly_shared, taught
from .variants import EventCrops, RandomCrops, placements

RESULT, SCORES, WEIGHTS, CHECKPOINT = "result.json", "scores.npz", "weights.pt", "checkpoint.pt"
CLIP_SECONDS = 10.0
EVALUATED_AT_ONCE = 50

Autocast = Callable[[], AbstractContextManager[Any]]


KINDS = {
    "selected": GlobalLocal,
    "random": RandomCrops,
    "events": EventCrops,
    "novel": NovelCrops,
    "shifted": ShiftedCrops,
    "lengths": CropsOfSeveralLengths,
}


class Streams(nn.Module):
    """A global stream and any number of GL-AT models on it; the loss is its own and those of their local streams.

    Each model is trained as it would be alone: the global stream hears a batch once for all of them, and a local
    stream's loss reaches no weight but its own. With one model this is `glat.training.step.TrainingStep`.
    """

    def __init__(self, job: Job, num_classes: int, width: float, seed: int) -> None:
        super().__init__()

        def stream(part: int) -> Any:
            torch.manual_seed(2 * seed + part)  # all local streams of a seed start from the same weights
            network = NETWORKS[job.network](num_classes, width)
            network.spec_augment, network.dropout_scale = False, 0.0
            if job.first.clip_pooling != "own":
                network.pool_clips_by(job.first.clip_pooling)
            return network

        self.global_ = stream(0)
        self.models = nn.ModuleDict()
        self.distil = job.first.distil
        for row in job.rows:
            if row.two_streams:
                local_ = self.global_ if row.share_weights else stream(1)
                if row.shared != "nothing":
                    local_ = partly_shared(self.global_, local_, row.shared)
                kind = PooledFeatures if row.crop_pooling == "features" else KINDS[row.crops]
                self.models[row.name] = kind(self.global_, local_, row.model())

    def streams(self) -> list[Backbone]:
        """The global stream and the local ones that are other networks."""
        models = [model for model in self.models.values() if isinstance(model, GlobalLocal)]
        return [self.global_, *(model.local_ for model in models if model.local_ is not self.global_)]

    def forward(self, batch: Batch) -> Losses:
        features = self.global_.frame_features(to_float(batch.wave))
        clip_logits = self.global_.clip_logits(features, self.global_.training_dropout())
        on_clips = global_bce(clip_logits, batch.targets)
        on_crops = clip_logits.new_zeros(())
        for model in self.models.values():
            assert isinstance(model, GlobalLocal)
            scores = model.hear_crops(features, clip_logits, batch.wave, batch.lengths)
            on_crops = on_crops + local_bce(scores.crop_logits, batch.targets, model.config.crop_pooling)
            if self.distil != "nothing":
                on_clips = on_clips + taught(model, self.distil, features, scores, batch)
        return Losses(on_clips + on_crops, on_clips, on_crops / max(1, len(self.models)))


def trained(job: Job, seed: int, scale: Scale, num_classes: int, folder: Path) -> Streams:
    """The streams of a run that has ended, on the CPU."""
    streams = Streams(job, num_classes, scale.width, seed)
    streams.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True))
    return streams


@cache
def soundscapes(
    data: Path | None, scale: Scale, sounds: Sounds = "cut", mix: int = 0, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> Data[Clips]:
    """The study's clips, the same for all seeds and for all rows of the same sounds.

    Args:
        data: None: synthesised events, which are whole in any case.
        mix: another number mixes other clips from the same recordings.
        sample_rate_hz: of the networks that hear them.
    """
    folds = ("4",) if data is not None else ()
    whole = replace(RECORDED_EVENTS if data is not None else Mixer(), event_seconds=None)
    config = DataConfig(
        data=data,
        clip_seconds=CLIP_SECONDS,
        eval_folds=folds,
        mix=data is not None,
        train_clips=scale.train_clips,
        eval_clips=scale.eval_clips,
    )
    mixer = whole if sounds == "whole" else None
    return load(config, sample_rate_hz, seed=mix, mixer=mixer)  # type: ignore[return-value]  # they lie in memory


def train(
    job: Job,
    seed: int,
    scale: Scale,
    data: Path | None,
    folder: Path,
    say: Callable[[str], None],
    *,
    compile_mode: str = "off",
    deadline: float = math.inf,
) -> bool:
    """Train and score `job` in `folder`, from its checkpoint where there is one; the result is written last.

    Args:
        compile_mode: as ``train.py --compile``.
        deadline: of `time.monotonic`: the first step behind it is saved and is the last.

    Returns:
        Whether the job has ended; not where the deadline came first.

    Optimiser, schedule, sampler and random state are the library's (`Learner`, `RowStream`, `random_state`). The loop
    is not train.py's, whose `Keeper`, `Evaluator` and `Feed` know one model and one loader thread: a job trains many
    models on one global stream, scores each row at the same steps, and runs beside other jobs with no core to spare.
    """
    keep_freed_memory()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():  # what is left of another run: what was derived of it, or half a checkpoint
        if path.name != CHECKPOINT:
            path.unlink()
    clips = soundscapes(data, scale, job.first.sounds, scale.mix, NETWORKS[job.network].sample_rate_hz)
    facts = versions()  # of the code that is loaded: a checkout during the run changes what git says
    device = pick_device()
    precision = pick_precision(True, device)
    streams = Streams(job, len(clips.train.classes), scale.width, seed)
    for row in job.rows:
        if row.two_streams:
            prepare(streams.models[row.name], row, clips)
    streams.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    steps = round(scale.steps * job.first.schedule)
    optim = OptimConfig(
        batch_size=scale.batch_size,
        iterations=steps,
        learning_rate=job.first.learning_rate,
        schedule="cosine",
        compile=compile_mode,  # type: ignore[arg-type]
    )

    def say_lines(lines: Iterable[str]) -> None:
        for line in lines:
            say(f"{folder.name}: {line}")

    compiled = CompiledStep(streams, mode_for(optim, device, streams), optim, say_lines)  # type: ignore[arg-type]
    learner = Learner(compiled, streams, optim, precision, device, ALONE)  # type: ignore[arg-type]
    sampler = build_sampler("plain", clips.train.targets, seed)
    torch.manual_seed(seed)
    curve: list[dict[str, Any]] = []
    first, cpu_seconds, seconds, commits = 0, 0.0, 0.0, [facts["commit"]]
    if (folder / CHECKPOINT).exists():
        state = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
        streams.load_state_dict(state["streams"])
        learner.load_state_dict(state["learner"])
        sampler.restore(state["sampler"])
        set_random_state([state["random"]], 0)
        if not job.is_of(json.loads(state["plan"])):
            raise UserError(f"{folder} holds a checkpoint of another plan; go on with that, or choose another --out")
        first, cpu_seconds, curve = state["step"], state["seconds"], state["curve"]
        seconds = state.get("wall_seconds", 0.0)
        commits = sorted({*commits, *state["commits"]})
        say(f"{folder.name}: going on from step {first}")
    points = {round(steps * (i + 1) / scale.points) for i in range(scale.points)}
    rows = RowStream(sampler, scale.batch_size)
    heard: Heard | None = None  # at the last point, which is the last step
    held = Held(clips.train, device)
    began = time.perf_counter()
    compiled.try_out(learner, lambda: held.batch(torch.arange(scale.batch_size) % len(clips.train)))
    compile_seconds = time.perf_counter() - began
    cpu_started, started = time.process_time(), time.perf_counter()
    for step in range(first, steps):
        learner.learn(step, [held.batch(next(rows))])
        rows.delivered()
        late = time.monotonic() > deadline
        if step + 1 not in points and not late:
            continue
        seen = learner.look()
        assert seen.first_bad is None, f"{folder}: step {seen.first_bad} is not finite"
        cpu_seconds += time.process_time() - cpu_started
        seconds += time.perf_counter() - started
        if step + 1 in points:
            heard = hear(job.rows, streams, clips.evaluation, device, learner.autocast)
            found = _mean_aps(heard)
            losses = {"loss_global": seen.loss_global, "loss_local": seen.loss_local}
            curve.append({"step": step + 1, **losses, "mAP": found})
            last = ", ".join(f"{name} {[*of_row.values()][-1]:.3f}" for name, of_row in found.items())
            took = f"{cpu_seconds:.0f} s of CPU" if device.type == "cpu" else f"{seconds:.0f} s"
            say(f"{folder.name}: step {step + 1} of {steps}, {took}, mAP: {last}")
        with replaced(folder / CHECKPOINT) as temporary:
            state = {"streams": streams.state_dict(), "learner": learner.state_dict(), "sampler": rows.state()}
            state |= {"random": random_state(), "step": step + 1, "curve": curve}
            state |= {"seconds": cpu_seconds, "wall_seconds": seconds}
            state |= {"plan": json.dumps(job.plan()), "commits": commits}
            torch.save(state, temporary)
        if late and step + 1 < steps:
            say(f"{folder.name}: stopped at step {step + 1} of {steps}")
            return False
        cpu_started, started = time.process_time(), time.perf_counter()
    with replaced(folder / WEIGHTS) as temporary:
        torch.save(streams.state_dict(), temporary)
    if heard is None:  # stopped behind the last point
        heard = hear(job.rows, streams, clips.evaluation, device, learner.autocast)
    some = clips.train.subset(np.arange(min(len(clips.train), scale.eval_clips)))
    on_training = hear(job.rows, streams, some, device, learner.autocast)
    heard.save(folder / SCORES)
    result = {
        "job": job.name,
        "seed": seed,
        "steps": steps,
        "scale": vars(scale),
        "plan": job.plan(),
        "precision": precision.reason,
        "device": device_name(device),
        "versions": facts,
        "commits": commits,
        "classes": clips.train.classes,
        "training_cpu_seconds": cpu_seconds,
        "training_seconds": seconds,
        "compiled": {"mode": compiled.mode, "seconds": compile_seconds},
        "curve": curve,
        "rows": metrics(heard),
        "training_rows": metrics(on_training),
        "hits": {name: _hits(hits) for name, hits in heard.hits.items()},
        "training_hits": {name: _hits(hits) for name, hits in on_training.hits.items()},
    }
    write_json(folder / RESULT, result)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return True


@dataclass(frozen=True)
class Heard:
    """What the rows of a job say of M clips of L classes."""

    targets: NDArray[np.bool_]  # [M, L]
    probs: dict[str, dict[str, NDArray[np.float32]]]  # by row and stream, [M, L]
    hits: dict[str, CropHits]  # by row

    def save(self, path: Path) -> None:
        """Targets and probabilities, for `collect.Run.read`."""
        named: dict[str, Any] = {
            f"{name}/{stream}": p for name, of_row in self.probs.items() for stream, p in of_row.items()
        }
        with replaced(path) as temporary:
            np.savez_compressed(temporary, targets=self.targets, **named)


@torch.inference_mode()
def hear(rows: Iterable[Row], streams: Streams, clips: ClipSource, device: torch.device, autocast: Autocast) -> Heard:
    """Score clips once with every one of some rows, in evaluation mode."""
    probs: dict[str, dict[str, NDArray[np.float32]]] = {}
    hits: dict[str, CropHits] = {}
    for row in rows:
        if row.two_streams:
            model = streams.models[row.name]
            assert isinstance(model, GlobalLocal)
            scored = score(model, clips, EVALUATED_AT_ONCE, device, autocast)
            assert scored is not None
            probs[row.name] = scored.probs
            found = crop_hits(clips, scored.crop_classes, scored.crop_starts, model.crop_samples)
            assert found is not None
            hits[row.name] = found
        else:
            alone = for_inference(streams.global_)
            parts = []
            for part in torch.arange(len(clips)).split(EVALUATED_AT_ONCE):
                with autocast():
                    logits = alone(to_float(_batch(clips, part).wave.to(device)))
                parts.append(logits.float().sigmoid().cpu().numpy())
            probs[row.name] = {"global": np.concatenate(parts)}
    return Heard(clips.targets.dense().numpy(), probs, hits)


def metrics(heard: Heard) -> dict[str, dict[str, dict[str, float]]]:
    """mAP, mAUC and d' by row and stream."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, of_row in heard.probs.items():
        found[name] = {}
        for stream, probs in of_row.items():
            found[name][stream] = evaluate_scores(heard.targets, probs).means()
    return found


def _mean_aps(heard: Heard) -> dict[str, dict[str, float]]:
    return {name: {stream: m["mAP"] for stream, m in of_row.items()} for name, of_row in metrics(heard).items()}


def _hits(hits: CropHits) -> dict[str, float]:
    return {"share": hits.share, "by_chance": hits.by_chance, "crops": hits.crops}


def _batch(clips: ClipSource, rows: Tensor) -> Batch:
    """Clips in memory, without a loader's threads, of which the runs beside this one have no cores to spare."""
    assert isinstance(clips, Clips)
    return Batch(clips.waves[rows], torch.from_numpy(clips.lengths)[rows], clips.targets.dense()[rows].float())


class Held:
    """Clips on the device that trains, from which it gathers batches; nothing waits for it."""

    def __init__(self, clips: ClipSource, device: torch.device) -> None:
        assert isinstance(clips, Clips)
        columns = (clips.waves, torch.from_numpy(clips.lengths), clips.targets.dense())
        self._columns = [column.to(device) for column in columns]
        self._device = device

    def batch(self, rows: Tensor) -> Batch:
        """The clips of some rows [B] int64, which lie on the CPU."""
        if self._device.type != "cpu":
            rows = rows.pin_memory().to(self._device, non_blocking=True)
        waves, lengths, targets = (column[rows] for column in self._columns)
        return Batch(waves, lengths, targets.float())


def prepare(model: nn.Module, row: Row, clips: Data[Clips]) -> None:
    """What a model needs beyond its weights: of `EventCrops` the events."""
    assert isinstance(model, GlobalLocal)
    model.check_clip(clips.train.clip_samples)
    if isinstance(model, EventCrops):
        sides = (clips.train, clips.evaluation)
        found = (placements(side, row.num_crops, model.crop_samples) for side in sides)
        model.placements = {clip: where for of_side in found for clip, where in of_side.items()}
