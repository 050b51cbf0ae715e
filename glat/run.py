"""The folder of a run: what was asked, what came out, and all it takes to use the model."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .config import PRESETS, TrainConfig, from_json, to_json
from .data import Data, Skipped
from .errors import UserError
from .files import replaced, to_json_text, write_json, write_new_json
from .model import GlobalLocal, build_model

CONFIG, WEIGHTS, STATE, METRICS = "config.json", "model.safetensors", "training.pt", "metrics.jsonl"


@dataclass(frozen=True)
class Run:
    """A run's folder, as it was recorded."""

    folder: Path
    config: TrainConfig
    classes: tuple[str, ...]
    clip_samples: int
    fingerprint: str  # of the recordings


def resumed(config: TrainConfig) -> tuple[TrainConfig, dict[str, Any] | None]:
    """The config to run, with its folder, and the state to go on from: None for a run that starts.

    A resumed run takes its recorded config, whatever was chosen for the machine then included.

    Raises:
        UserError: a folder that holds a run already and is not resumed, or one to resume that holds none; a flag that
            differs from the recorded config; weights whose checkpoint is gone.
    """
    folder, resume = config.run.run_dir, config.run.resume
    if resume not in (None, "auto"):
        if folder is not None:
            raise UserError(f"--run-dir {folder} and --resume {resume} name two folders; give --resume only")
        folder = Path(resume)
        open_run(folder)
    if folder is None:
        if resume == "auto":
            raise UserError("--resume auto needs the run's folder; add --run-dir")
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = Path("runs") / f"{stamp}-{os.getpid()}-{config.model.backbone}"
    # Recorded paths hold from any working directory.
    data = config.data.data.resolve() if config.data.data is not None else None
    config = replace(config, run=replace(config.run, run_dir=folder), data=replace(config.data, data=data))
    if not (folder / CONFIG).exists():
        # Hidden files may be what a kill left of this very start.
        if folder.exists() and (not folder.is_dir() or any(not p.name.startswith(".") for p in folder.iterdir())):
            raise UserError(f"--run-dir {folder} exists and holds no run; choose another")
        return config, None
    if resume is None:
        raise UserError(
            f"--run-dir {folder} holds a run already; add --resume auto to go on with it, or choose another"
        )
    recorded = open_run(folder).config
    _check_same(config, recorded, folder)
    state = load_state(folder)
    if state is None and (folder / WEIGHTS).exists():
        raise UserError(f"{folder} has weights and no {STATE}: it cannot go on, and starting anew would lose them")
    for leftover in folder.glob(f".{Path(STATE).stem}-*"):  # of a checkpoint that a kill cut short
        leftover.unlink(missing_ok=True)
    return replace(recorded, run=replace(recorded.run, run_dir=folder, resume="auto")), state


def _check_same(asked: TrainConfig, recorded: TrainConfig, folder: Path) -> None:
    """Raise where a flag was given that the recorded run does not have."""
    if asked.preset != recorded.preset:
        raise UserError(f"--preset is {asked.preset}, and the run in {folder} has {recorded.preset}; give that")
    default = PRESETS[asked.preset]()
    for part in ("model", "data", "optim", "run"):
        for name, value in vars(getattr(asked, part)).items():
            before = getattr(getattr(recorded, part), name)
            if name not in ("run_dir", "resume") and value not in (getattr(getattr(default, part), name), before):
                flag = "--" + name.replace("_", "-")
                raise UserError(
                    f"{flag} is {value}, and the run in {folder} has {before}; leave it out to go on with it"
                )


def record(config: TrainConfig, data: Data, facts: Mapping[str, str]) -> Path:
    """Write the resolved config, what was left out of the data, and the facts that the numbers depend on.

    Returns:
        The run's folder, made where it is missing. A resumed run keeps the record it has.

    Raises:
        UserError: a resumed run whose recordings have changed, a folder that another process took meanwhile, or one
            that cannot be written.
    """
    assert config.run.run_dir is not None
    folder = config.run.run_dir
    fingerprint = fingerprint_of(data)
    if config.run.resume is not None and (folder / CONFIG).exists():
        if open_run(folder).fingerprint != fingerprint:
            raise UserError(f"the recordings are not those that {folder} was started with; start a new run")
        return folder
    entries = {
        "config": to_json(config),
        "classes": data.train.classes,
        "clip_samples": data.train.waves.shape[1],
        "fingerprint": fingerprint,
        "facts": dict(facts),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A folder with a config is a run. Exclusive: of two processes that start at once, one gets the folder.
        write_new_json(folder / CONFIG, entries)
        write_json(folder / "skipped.json", [vars(s) for s in data.skipped])
    except FileExistsError:
        raise UserError(f"--run-dir {folder} was taken by another run meanwhile; choose another") from None
    except OSError as error:
        raise UserError(f"--run-dir {folder} cannot be written ({error.strerror}); choose another") from None
    return folder


def fingerprint_of(data: Data) -> str:
    """What the numbers of a run depend on in its recordings: which clips, of which length and labels, on which side."""
    digest = hashlib.sha256()
    for clips in (data.train, data.evaluation):
        digest.update(repr((clips.names, clips.classes, tuple(clips.waves.shape))).encode())
        digest.update(clips.lengths.numpy().tobytes() + clips.targets.packed.tobytes())
    return digest.hexdigest()


def skipped_lines(skipped: tuple[Skipped, ...], most: int = 10, listed: str = "skipped.json lists them") -> list[str]:
    """What to print of the recordings that were left out, and where all of them are listed."""
    if not skipped:
        return []
    were = "recording was" if len(skipped) == 1 else "recordings were"
    lines = [f"{len(skipped)} {were} left out ({listed}):"]
    lines += [f"  {s.file}: {s.reason}" for s in skipped[:most]]
    return lines + (["  ..."] if len(skipped) > most else [])


def open_run(folder: Path) -> Run:
    """Read the folder that `record` started.

    Raises:
        UserError: no such folder, or one whose config is missing or damaged.
    """
    path = folder / CONFIG
    if not folder.is_dir():
        raise UserError(f"there is no run folder {folder}; give the folder that train.py named at its end")
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        config = from_json(recorded["config"])
        classes, clip_samples = recorded["classes"], recorded["clip_samples"]
        if not isinstance(classes, list) or not isinstance(clip_samples, int) or clip_samples < 1:
            raise ValueError("classes or clip_samples are of the wrong kind")
        return Run(folder, config, tuple(classes), clip_samples, str(recorded["fingerprint"]))
    except FileNotFoundError:
        raise UserError(f"{folder} is no run folder: it has no {CONFIG}; give the folder that train.py named") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); train again, or restore the file") from None


def load_model(run: Run) -> GlobalLocal:
    """The trained model of a run, in evaluation mode, on the CPU.

    Raises:
        UserError: weights that are missing, damaged, or of another shape than the config says.
    """
    path = run.folder / WEIGHTS
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise UserError(f"{run.folder} has no {WEIGHTS}; the run was stopped before its first checkpoint") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}); train again, or restore the file") from None
    model = build_model(run.config.model, len(run.classes))
    load_weights(model, weights, path)
    return model.eval()


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Load a state dict strictly.

    Raises:
        UserError: names or shapes that differ; the first three are named.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    differences = [
        f"{name}: {found.get(name, 'missing')} instead of {wanted.get(name, 'nothing')}"
        for name in dict.fromkeys([*wanted, *found])
        if wanted.get(name) != found.get(name)
    ]
    if differences:
        first = "; ".join(differences[:3])
        raise UserError(
            f"{source} does not fit this network, {len(differences)} entries differ: {first}; "
            "give the backbone, width and classes it was trained with"
        )
    module.load_state_dict(dict(weights))


def save_weights(folder: Path, model: nn.Module) -> None:
    """Write the model's weights as safetensors."""
    with replaced(folder / WEIGHTS) as path:
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write what the run needs to go on with the same numbers."""
    with replaced(folder / STATE) as path:
        torch.save(state, path)


def load_state(folder: Path) -> dict[str, Any] | None:
    """What `save_state` wrote last, or None where there is nothing yet.

    Raises:
        UserError: a file that cannot be read.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        # weights_only: nothing in the file can run code.
        state = torch.load(path, map_location="cpu", weights_only=True)
        missing = {"step", "model", "optimiser", "scaler", "random", "sampler"} - set(state)
    except Exception as error:  # torch.load raises whatever the bytes lead it into
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is damaged ({reason}); start the run anew in another --run-dir") from None
    if missing:
        raise UserError(f"{path} is no checkpoint of glat: it lacks {', '.join(sorted(missing))}; start the run anew")
    return state


def append_metrics(folder: Path, **values: Any) -> None:
    """Add one line to the run's metrics."""
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(to_json_text(values) + "\n")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of the run's metrics; a last line that a kill cut short is left out."""
    path = folder / METRICS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = []
    for i, line in enumerate(lines):
        try:
            rows.append({"step": json.loads(line)["step"]} | json.loads(line))
        except (ValueError, KeyError, TypeError):
            if i + 1 < len(lines):
                raise UserError(f"{path} is damaged at line {i + 1}; restore the file") from None
    return rows


def forget_metrics_after(folder: Path, step: int) -> None:
    """Drop the lines of steps that a resumed run is going to make again."""
    kept = [row for row in read_metrics(folder) if row["step"] <= step]
    with replaced(folder / METRICS) as path:
        path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def random_state() -> dict[str, Any]:
    """The state of PyTorch's generators, on the CPU and on every GPU; the sampler has its own."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore what `random_state` returned; another number of GPUs keeps theirs."""
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
