"""The folder that is pushed: a run's weights and JSON, without what is private about the machine it was trained on."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..config import RunConfig, TrainConfig, to_json
from ..errors import UserError
from ..runs.digests import read_record, read_weights, write_record, write_weights
from ..runs.folder import BEST_WEIGHTS, CONFIG, EVALUATION, METRICS, THRESHOLDS, WEIGHTS, Run, network_digest, open_run
from ..runs.results import read_evaluation
from ..runs.thresholds import read_thresholds
from ..runs.weights import NETWORK
from ..urls import DATASET, url_of
from .fetch import HUB


@dataclass(frozen=True)
class Package:
    """A folder ready to be pushed."""

    folder: Path
    run: Run  # as it is in the folder
    weights: str  # the file's name
    parameters: int
    notes: tuple[str, ...]  # what to say of what was left out or changed


def package(run: Run, folder: Path, best: bool) -> Package:
    """Copy what belongs on the hub into an empty folder.

    Copied: the weights, config.json, thresholds.json where they are of these weights, metrics.jsonl, and of the last
    weights evaluation.json. Every file is checked against its digest. Not copied: checkpoints, TensorBoard's files,
    names of recordings, batches that were kept. Of paths the last name is kept.

    Raises:
        UserError: weights that are missing; files that are damaged.
    """
    name = BEST_WEIGHTS if best else WEIGHTS
    try:
        weights, facts, _ = read_weights(run.folder / name)
    except FileNotFoundError:
        raise UserError(f"{run.folder} has no {name}; the run was stopped before it was written") from None
    recorded, _ = read_record(run.folder / CONFIG)
    recorded["config"] = to_json(without_paths(run.config))
    write_record(folder / CONFIG, recorded)
    network = network_digest(recorded)
    if facts.get(NETWORK, network) == network:
        shutil.copyfile(run.folder / name, folder / name)
    else:  # --init-from is part of the network's description, and was a path
        write_weights(folder / name, weights, {**facts, NETWORK: network})
    copied = [METRICS] if (run.folder / METRICS).exists() else []
    if not best and read_evaluation(run.folder) is not None:
        copied.append(EVALUATION)
    thresholds, notes = read_thresholds(run.folder), []
    if thresholds is not None and thresholds.weights == name:
        copied.append(THRESHOLDS)
    elif thresholds is not None:
        notes.append(f"{THRESHOLDS} is of the run's other weights, and stays here")
    for file in copied:
        shutil.copyfile(run.folder / file, folder / file)
    parameters = sum(tensor.numel() for tensor in weights.values() if tensor.is_floating_point())
    return Package(folder, open_run(folder), name, parameters, tuple(notes))


def without_paths(config: TrainConfig) -> TrainConfig:
    """A config whose paths are names: folders of a machine are nobody else's business."""

    def named(part: Any) -> Any:
        return replace(part, **{key: _name(value) for key, value in vars(part).items() if isinstance(value, Path)})

    run = replace(config.run, run_dir=RunConfig.run_dir, resume=RunConfig.resume)
    return replace(config, model=named(config.model), data=named(config.data), run=run)


def _name(path: Path) -> Path:
    if (url_of(path) or "").startswith(HUB):  # which others can follow, and a bucket's name is nobody's business
        return path
    prefix = DATASET if str(path).startswith(DATASET) else ""
    return Path(prefix + path.name)
