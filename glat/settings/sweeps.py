"""The runs of a sweep from a file: a grid of settings, runs by name, or both."""

import itertools
import re
from pathlib import Path
from typing import Any, NamedTuple

from ..config import PRESETS, TrainConfig, check
from ..errors import UserError
from .files import Entries, Entry, Items, Node, Scalar, SettingsFile, read
from .training import FromFile, over, take, value_of, values_of, with_values

NAMES = ("settings", "grid", "runs", "seeds")
OF_THE_SWEEP = {"seed": "seeds", "run_dir": "--out", "resume": "--out", "dry_run": "nothing"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
MOST_RUNS = 10_000


class Planned(NamedTuple):
    """One run."""

    name: str  # of its folder
    seed: int
    settings: dict[str, Any]  # of it alone and of all runs, without its seed
    varied: dict[str, Any]  # what differs between the runs, of a run without it the value that holds there


class Plan(NamedTuple):
    """The runs of a file, and what is the same in all of them."""

    common: FromFile
    runs: tuple[Planned, ...]


def read_plan(path: Path, seeds: tuple[int, ...] | None = None) -> Plan:
    """Read the file of a sweep.

    Args:
        seeds: in place of the file's.

    Raises:
        UserError: no such file; one that names no run; what is no setting, or a value outside its limits; a run that
            contradicts itself.
    """
    file = read(path)
    named = file.entries.named
    for name, entry in named.items():
        if name not in NAMES:
            raise file.error(entry.line, f"{name!r} is no part of a sweep; wanted {', '.join(NAMES)}")
    values, lines, preset = values_of(file, _entries(file, named.get("settings"), "settings"))
    _refuse_own(file, lines)
    grid, runs = _grid(file, named.get("grid")), _runs(file, named.get("runs"))
    if not grid and not runs:
        raise UserError(f"{path} names no runs; give a grid, as in grid: {{num_crops: [1, 3, 5]}}, or runs by name")
    found = _seeds(file, named.get("seeds")) if seeds is None else seeds
    count = max(1, len(runs)) * len(found)
    for choices in grid.values():
        count *= len(choices)
    if count > MOST_RUNS:
        raise UserError(f"{path} names {count:,} runs, and a sweep has {MOST_RUNS:,} at most")
    planned = _planned(file, values, preset, grid, runs, found)
    return Plan(FromFile(file.path, values, lines, preset), planned)


def _planned(
    file: SettingsFile,
    common: dict[str, Any],
    preset: str | None,
    grid: dict[str, list[Any]],
    runs: dict[str, dict[str, Any]],
    seeds: tuple[int, ...],
) -> tuple[Planned, ...]:
    columns = [*dict.fromkeys([*grid, *(name for own in runs.values() for name in own)])]
    found: dict[str, Planned] = {}
    start = PRESETS[preset or "paper"]()
    for (title, own), choice in itertools.product((runs or {"": {}}).items(), itertools.product(*grid.values())):
        of_grid = dict(zip(grid, choice, strict=True))
        if both := of_grid.keys() & own.keys():
            raise UserError(f"{file.path}: {min(both)} is in the grid and in the run {title}; keep it in one of them")
        settings = over(common, of_grid.keys() | own.keys()) | of_grid | own
        parts = [*([title] if title else []), *(f"{name}={_short(value)}" for name, value in of_grid.items())]
        config = with_values(start, settings)
        try:
            _check(config)
        except UserError as error:
            raise UserError(f"{file.path}: the run {'-'.join(parts)}: {error}") from None
        varied = ({"name": title} if runs else {}) | {name: value_of(config, name) for name in columns}
        for seed in seeds:
            name = "-".join([*parts, f"S{seed}"])
            if name in found:
                raise UserError(f"{file.path}: two runs would be called {name}; give them names, below runs:")
            found[name] = Planned(name, seed, settings, varied)
    return tuple(found.values())


def _check(config: TrainConfig) -> None:
    check(config)
    if config.optim.iterations is None and config.optim.epochs is None:
        raise UserError("runs that are compared need equally many steps; give iterations or epochs")


def _entries(file: SettingsFile, entry: Entry | None, name: str) -> Entries:
    if entry is None:
        return Entries({}, 1)
    if not isinstance(entry.node, Entries):
        raise file.error(entry.line, f"{name}: wanted names and values")
    return entry.node


def _grid(file: SettingsFile, entry: Entry | None) -> dict[str, list[Any]]:
    grid: dict[str, list[Any]] = {}
    seen: dict[str, int] = {}
    for written, inner in _entries(file, entry, "grid").named.items():
        if not isinstance(inner.node, Items) or not inner.node.nodes:
            raise file.error(inner.line, f"{written}: wanted a list of the values to try, as in [1, 3, 5]")
        choices = []
        for node in inner.node.nodes:
            one: dict[str, Any] = {}
            name = take(file, written, Entry(node, node.line), one, {})
            if one[name] in choices:
                raise file.error(node.line, f"{written} has {one[name]} twice")
            choices.append(one[name])
        if name in grid:
            raise file.error(inner.line, f"{written} is given twice, first on line {seen[name]}")
        grid[name], seen[name] = choices, inner.line
    _refuse_own(file, seen)
    return grid


def _runs(file: SettingsFile, entry: Entry | None) -> dict[str, dict[str, Any]]:
    runs = {}
    for name, inner in _entries(file, entry, "runs").named.items():
        if not _NAME.fullmatch(name):
            raise file.error(inner.line, f"{name!r} is to be a folder; wanted letters, digits and . _ + - only")
        null = isinstance(inner.node, Scalar) and (inner.node.is_null or not inner.node.text)
        values, lines, preset = ({}, {}, None) if null else values_of(file, _entries(file, inner, name))
        if preset is not None:
            raise file.error(inner.line, f"the run {name} has a preset of its own; give one for all, below settings")
        _refuse_own(file, lines)
        runs[name] = values
    return runs


def _seeds(file: SettingsFile, entry: Entry | None) -> tuple[int, ...]:
    if entry is None:
        return (0,)
    nodes: tuple[Node, ...] = entry.node.nodes if isinstance(entry.node, Items) else (entry.node,)
    found = []
    for node in nodes:
        one: dict[str, Any] = {}
        take(file, "seed", Entry(node, node.line), one, {})
        found.append(one["seed"])
    if not found:
        raise file.error(entry.line, "seeds is an empty list; give one, or leave it out")
    return tuple(dict.fromkeys(found))


def _refuse_own(file: SettingsFile, lines: dict[str, int]) -> None:
    for name in OF_THE_SWEEP.keys() & lines.keys():
        raise file.error(lines[name], f"{name} is the sweep's to give; use {OF_THE_SWEEP[name]} instead")


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else "+".join(value) if isinstance(value, tuple) else str(value)
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", text)[-40:] or "none"
