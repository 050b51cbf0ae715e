"""Checkpoints: all that a run needs to go on with the same numbers, in ``checkpoints/`` of its folder."""

import random
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from ..errors import UserError, first_line
from ..files import replaced

FOLDER = "checkpoints"
_NAME, _DAMAGED = re.compile(r"[0-9]{12}\.pt"), re.compile(r"[0-9]{12}\.damaged")
ENTRIES = {
    "step",  # steps done; with the config, also the place in the learning rate's schedule
    "model",
    "learner",  # optimiser, loss scale, averaged weights, skipped steps
    "sampler",
    "random",  # of every rank
    "best",  # the best evaluation, and when the last one was
    "config",
    "versions",
}


def path_of(folder: Path, step: int) -> Path:
    """The checkpoint after `step` steps of the run in `folder`."""
    return folder / FOLDER / f"{step:012d}.pt"


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        UserError: no room, or no permission; the checkpoints before it are as they were.
    """
    assert set(state) == ENTRIES
    path = path_of(folder, state["step"])
    with naming_failures(path):
        path.parent.mkdir(exist_ok=True)
        with replaced(path) as temporary:
            torch.save(dict(state), temporary)


def remove_old(folder: Path, keep: int, best_step: int, regular: Callable[[int], bool]) -> None:
    """Remove all checkpoints but the newest, the last `keep` regular ones and that of the best evaluation.

    Args:
        regular: whether a run that nobody stops saves after so many steps. What a signal saved between such steps goes
            as soon as it is not the newest, so that a run that was stopped ends with the files of one that was not.
    """
    found = _all(folder)
    kept = {*found[-1:], *[path for path in found if regular(int(path.stem))][-keep:], path_of(folder, best_step)}
    for old in set(found) - kept:
        old.unlink(missing_ok=True)


@contextmanager
def naming_failures(path: Path) -> Iterator[None]:
    """Turn what a full disk raises into a UserError: the writers of weights raise errors of their own kinds."""
    try:
        yield
    except (torch.AcceleratorError, torch.OutOfMemoryError):  # of the device, met when the weights are fetched from it
        raise
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        free = shutil.disk_usage(path.parent).free / 2**20
        raise UserError(
            f"{path} cannot be written ({reason}; {free:,.0f} MiB are free there without it); what the run had saved "
            "before stays: make room, then go on with --resume auto"
        ) from None


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is whole, or None; and lines to say.

    They name every newer checkpoint that is damaged, which is renamed, so that it is neither counted nor met again; and
    files of other names, which are left alone.

    Raises:
        UserError: checkpoints, all of them damaged.
    """
    lines: list[str] = []
    others = _strangers(folder)
    left = [f"left alone in {folder / FOLDER}, as glat has not named them so: {', '.join(others)}"] if others else []
    for path in reversed(_all(folder)):
        reason = _damage(path)
        if reason is None:
            return path, [*(f"{line}; going on from {path.name}, the one before" for line in lines), *left]
        path.replace(path.with_suffix(".damaged"))
        lines.append(f"checkpoint {path} is damaged ({reason})")
    if lines:
        raise UserError(f"{lines[0]}, and there is none before it; start the run anew in another --run-dir")
    return None, left


def read(path: Path) -> dict[str, Any]:
    """The state that `save` wrote, on the CPU."""
    # weights_only: nothing in the file can run code.
    return torch.load(path, map_location="cpu", weights_only=True)


def _all(folder: Path) -> list[Path]:
    """Checkpoints, oldest first: names of one width sort as their steps do. What is not named so is not touched."""
    return sorted(path for path in (folder / FOLDER).glob("*.pt") if _NAME.fullmatch(path.name) and _is_file(path))


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _strangers(folder: Path) -> list[str]:
    """Names of what lies among the checkpoints and is none of glat's."""
    ours = {path.name for path in _all(folder)}
    found = sorted(path.name for path in (folder / FOLDER).glob("*") if not path.name.startswith("."))
    return [name for name in found if name not in ours and not _DAMAGED.fullmatch(name)]


def _damage(path: Path) -> str | None:
    try:
        # PyTorch reads past a flipped bit; the archive's checksums tell.
        with zipfile.ZipFile(path) as archive:
            if (entry := archive.testzip()) is not None:
                return f"the checksum of {entry} is wrong"
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        missing = ENTRIES - set(state)
        if not missing and state["step"] != int(path.stem):
            return f"it is of step {state['step']}, under another name"
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # whatever the bytes lead the readers into
        return first_line(error)
    return f"it is none of glat's: it lacks {', '.join(sorted(missing))}" if missing else None


def random_state() -> dict[str, Any]:
    """The state of every generator of this process: Python's, NumPy's, PyTorch's on the CPU and on its GPU."""
    _, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (np.asarray(keys).tolist(), *rest),  # plain types: the file is read without running code
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_state(states: Sequence[Mapping[str, Any]], rank: int) -> bool:
    """Restore what `random_state` returned on this rank; False where the run had no such rank, and nothing is done."""
    if rank >= len(states):
        return False
    state = states[rank]
    random.setstate(state["python"])
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
    return True
