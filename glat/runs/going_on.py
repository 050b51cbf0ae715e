"""What may change in a run that goes on, and where its values come from."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import FLAG, PRESET, PRESETS, TrainConfig, to_json
from ..errors import UserError

# Flags that a resumed run may change: how a process runs, not what it computes; and how long a run is.
LENGTH = ("iterations", "epochs")
CHANGEABLE = ("run_dir", "resume", "keep", "on_nan", "max_minutes", "workers", "logger", *LENGTH)


def refuse_fewer_steps(config: TrainConfig, checkpoint: Path | None, folder: Path) -> None:
    """See that a run is not to be shorter than it is."""
    optim = config.optim
    if checkpoint is not None and (done := int(checkpoint.stem)) > (optim.iterations or done):
        given = f"--iterations is {optim.iterations}"
        if optim.epochs is not None:
            given = f"--epochs {optim.epochs:g} is {optim.iterations} iterations"
        raise UserError(f"{given}, and the run in {folder} has made {done} steps; give more, or leave it out")


def going_on(asked: TrainConfig, origins: Mapping[str, str], recorded: TrainConfig, folder: Path) -> TrainConfig:
    """The recorded config with the flags that are given now and may change.

    A flag is given where it was typed or stands in the file of ``--config``, or has another value than its default (a
    config that Python code made).

    Raises:
        UserError: a flag that is given, differs from the record and may not change.
    """
    typed = {name for name, origin in origins.items() if origin != PRESET}
    if asked.preset != recorded.preset and ("preset" in typed or asked.preset != TrainConfig().preset):
        raise UserError(f"--preset is {asked.preset}, and the run in {folder} has {recorded.preset}; give that")
    default = PRESETS[asked.preset]()
    parts = {}
    for part in ("model", "data", "feed", "optim", "run"):
        changes: dict[str, Any] = {}
        for name, value in vars(getattr(asked, part)).items():
            before = getattr(getattr(recorded, part), name)
            given = name in typed or value != getattr(getattr(default, part), name)
            if not given or value == before:
                continue
            if name not in CHANGEABLE:
                where = f" ({origins[name]})" if origins.get(name, FLAG) not in (FLAG, PRESET) else ""
                raise UserError(
                    f"--{name.replace('_', '-')} is {value}{where}, and the run in {folder} has {before}; "
                    "leave it out to go on with it"
                )
            if name in LENGTH:
                if value is None:
                    continue
                if recorded.optim.schedule != "constant":
                    raise UserError(
                        f"--{name} is {value}, and the learning rate of the run in {folder} falls to zero at step "
                        f"{recorded.optim.iterations} (--schedule {recorded.optim.schedule}): start a new run from its "
                        f"weights with --init-from {shlex.quote(str(folder))}, or one with --schedule constant, which "
                        "can be made longer"
                    )
                changes |= dict.fromkeys(LENGTH)  # the other one no longer holds
            changes[name] = value
        parts[part] = replace(getattr(recorded, part), **changes)
    return replace(recorded, **parts)


def origins_of(config: TrainConfig, origins: Mapping[str, str]) -> dict[str, str]:
    """Where the values of a config come from that are not a default, by name: as `TrainConfig.origins`, or "chosen".

    Args:
        config: with everything chosen.
        origins: of what was asked.
    """
    default, found = to_json(PRESETS[config.preset]()), dict(origins)
    for part, values in to_json(config).items():
        if isinstance(values, dict):
            chosen = {n for n, value in values.items() if value is not None and default[part][n] is None}
            found |= dict.fromkeys(chosen - found.keys(), "chosen")
    if config.optim.epochs is not None:
        found["iterations"] = "epochs"
    return found
