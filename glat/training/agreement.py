"""What has to be the same on every rank of a run, to be compared before it starts."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import glat.kernels

from ..config import TrainConfig, to_json
from ..data import Data

_OWN = {"run_dir", "resume", "workers"}  # rank 0 alone reads the first two; threads change no number


def of_program(config: TrainConfig) -> dict[str, Any]:
    """Flags and versions, by what to call them."""
    parts = [part for part in to_json(config).values() if isinstance(part, dict)]
    flags = {f"--{name.replace('_', '-')}": part[name] for part in parts for name in part if name not in _OWN}
    versions = {f"version of {name}": version(name) for name in ("torch", "numpy")}
    return {"--preset": config.preset} | flags | {"version of Python": platform.python_version()} | versions | _code()


def _code() -> dict[str, str]:
    digest = hashlib.sha256()
    for package in (glat, glat.kernels):
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return {"code of glat (digest of its files)": digest.hexdigest()[:12]}


def of_data(data: Data) -> dict[str, Any]:
    """The clips of both sides, by what to call them."""
    facts: dict[str, Any] = {}
    for side, clips in (("training", data.train), ("evaluation", data.evaluation)):
        labels = clips.targets.packed.tobytes()
        facts |= {
            f"number of {side} clips": len(clips),
            f"{side} classes": list(clips.classes),
            f"samples of a {side} clip": clips.clip_samples,
            f"names of the {side} clips (digest)": _digest("\n".join(clips.names).encode()),
            f"lengths of the {side} clips (digest)": _digest(np.asarray(clips.lengths, np.int64).tobytes()),
            f"labels of the {side} clips (digest)": _digest(labels),
            f"windows of the {side} clips (digest)": _digest(clips.identity()),
        }
    sizes = np.ascontiguousarray(data.stamps.values[:, 0])
    return facts | {"sizes of the recordings (digest)": _digest(sizes.tobytes())}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
