"""The settings of a run: flags over a file over a preset over the defaults."""

import difflib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..config import FLAG, PRESET, PRESETS, TrainConfig, check, from_json, to_json
from ..errors import UserError
from ..fields import Kind, kinds_of, what_is_wanted
from ..urls import DATASET, url_of
from .files import Entries, Entry, Items, Node, Scalar, SettingsFile, read

NOT_FROM_A_RUN = ("run_dir", "resume", "dry_run")  # a second run with them would be the first one
LENGTHS = (("epochs", "iterations"), ("iterations", "epochs"))
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class _Flags(TrainConfig):
    __doc__ = TrainConfig.__doc__

    config: Path | None = None
    """File of settings: YAML, JSON, or a run's folder or config.json. Flags win over it, and it wins over --preset."""


@cache
def parts() -> dict[str, type]:
    """The parts of a run's settings, by name."""
    return {f.name: type(getattr(TrainConfig(), f.name)) for f in fields(TrainConfig) if f.name != "preset"}


@cache
def part_of() -> dict[str, str]:
    """The part that every setting lies in."""
    return {name: part for part, kind in parts().items() for name in kinds_of(kind)}


class FromFile(NamedTuple):
    """Settings that a file gives."""

    path: Path
    values: dict[str, Any]  # checked, each by itself
    lines: dict[str, int]
    preset: str | None

    def at(self, name: str) -> str:
        """Where a setting stands."""
        line = self.lines.get(name)
        return str(self.path.resolve()) + (f":{line}" if line else "")


RENAMED = {"share_weights": "one network for both streams is now share: all (--share all)"}


def parse_train_config(arguments: Sequence[str]) -> TrainConfig:
    """Parse the flags of train.py: they win over the file of ``--config``, which wins over the preset.

    Raises:
        UserError: an unknown preset; a file that cannot be read, or holds what is no setting. Unknown flags and values
            print what is known and exit with status 2.
    """
    from ..flags import parse  # half a second, which a program that builds its config itself does not pay

    for old, now in RENAMED.items():
        flag = f"--{old.replace('_', '-')}"
        if any(argument.replace("_", "-").split("=")[0] in (flag, f"--no-{flag[2:]}") for argument in arguments):
            raise UserError(f"{flag} is no flag any more: {now}")
    named = _last(arguments, "--config")
    file = None if named is None else settings_of(Path(named))
    preset = _last(arguments, "--preset") or (file and file.preset) or "paper"
    if preset not in PRESETS:
        raise UserError(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
    start = PRESETS[preset]()
    if file is not None:
        file = file._replace(values=over(file.values, _typed(arguments)))
        start = with_values(start, file.values)
    default = _Flags(**{f.name: getattr(start, f.name) for f in fields(start)}, config=None)
    asked = parse(_Flags, arguments, "train.py", default)
    config = TrainConfig(**{f.name: getattr(asked, f.name) for f in fields(start)})
    config = config.with_origins(_origins(arguments, file, preset))
    if file is None:
        return config
    flags = {name for name, origin in config.origins.items() if origin == FLAG}
    refuse_code(config, file, flags)
    try:
        check(config)
    except UserError as error:
        raise UserError(f"{error}{_where(str(error), file, flags)}") from None
    return config


def with_values(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """A config with other values, by name."""
    for part in parts():
        mine = {name: value for name, value in values.items() if part_of()[name] == part}
        config = replace(config, **{part: replace(getattr(config, part), **mine)})
    return config


def over(values: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Values without those that others take the place of: epochs of iterations, and the other way round."""
    replaced = {other for name, other in LENGTHS if name in given} - set(given)
    return {name: value for name, value in values.items() if name not in replaced}


def value_of(config: TrainConfig, name: str) -> Any:
    """One value of a config, by name."""
    return getattr(getattr(config, part_of()[name]), name)


def settings_of(path: Path) -> FromFile:
    """Read the settings of a run from a file, or from a run's folder.

    Raises:
        UserError: no such file; a name that is no setting, or stands twice; a value of the wrong kind or outside its
            limits; a run's record that is damaged or was edited.
    """
    file = read(_file_at(path))
    if _is_record(file):
        return _of_a_run(file)
    return FromFile(file.path, *values_of(file, file.entries))


def values_of(file: SettingsFile, entries: Entries) -> tuple[dict[str, Any], dict[str, int], str | None]:
    """Settings by name, their lines, and the preset, of some entries: flat, or below the names of their parts."""
    values, lines = dict[str, Any](), dict[str, int]()
    preset = None
    for written, entry in entries.named.items():
        name = written.replace("-", "_")
        if name == "preset":
            preset, lines[name] = _text(file, name, entry.node), entry.line
            if preset not in PRESETS:
                raise file.error(entry.line, f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
        elif name in parts() and isinstance(entry.node, Entries):
            for inner, below in entry.node.named.items():
                take(file, inner, below, values, lines, name)
        else:
            take(file, written, entry, values, lines)
    return values, lines, preset


def refuse_code(config: TrainConfig, file: FromFile, flags: set[str]) -> None:
    """See that no code runs that only a file names: its networks of one's own are named as flags, too."""
    for name in ("backbone", "local_backbone"):
        network = getattr(config.model, name)
        if name not in flags and network and ":" in network:
            from ..backbones.own import refuse_unnamed

            refuse_unnamed([network], [], file.path, f"{_flag(name)} {{name}}")


def take(
    file: SettingsFile,
    written: str,
    entry: Entry,
    values: dict[str, Any],
    lines: dict[str, int],
    part: str | None = None,
) -> str:
    """Check one setting of a file, and enter its value and line.

    Args:
        written: its name, with - or _.
        part: the part of the settings that it stands in; None: outside of all.

    Returns:
        Its name.

    Raises:
        UserError: it is no setting, or one of another part; it was entered before; its value is wrong.
    """
    name = written.replace("-", "_")
    if name not in part_of():
        hint = f" any more: {RENAMED[name]}" if name in RENAMED else _nearest(name)
        raise file.error(entry.line, f"{written!r} is no setting{hint}")
    if part is not None and part_of()[name] != part:
        raise file.error(entry.line, f"{written} belongs to {part_of()[name]}, not to {part}; move it there")
    if name in values:
        raise file.error(entry.line, f"{written} is given twice, first on line {lines[name]}")
    kind = kinds_of(parts()[part_of()[name]])[name]
    values[name] = value = _value(file, name, kind, entry.node)
    lines[name] = entry.line
    if wanted := what_is_wanted(kind, value):
        shown = ", ".join(value) if isinstance(value, tuple) else "null" if value is None else repr(value)
        raise file.error(entry.line, f"{name} is {shown or 'an empty list'}; {wanted}{_remark(kind, entry.node)}")
    return name


def _value(file: SettingsFile, name: str, kind: Kind, node: Node) -> Any:
    """What a text in a file means to a setting; what it cannot mean is left as text, for the error."""
    if isinstance(node, Scalar) and node.is_null:
        return None
    if kind.several and isinstance(node, Items):
        return tuple(_one(file, name, kind, item) for item in node.nodes)
    found = _one(file, name, kind, node)
    return (found,) if kind.several else found


def _one(file: SettingsFile, name: str, kind: Kind, node: Node) -> Any:
    text, quoted = _text(file, name, node), isinstance(node, Scalar) and node.quoted
    if kind.base is Path or name == "resume":
        return _path(file, text) if kind.base is Path else text if text == "auto" else str(_path(file, text))
    if quoted or kind.base is str or isinstance(kind.base, tuple):
        return text
    if kind.base is bool:
        return _WORDS.get(text.lower(), text)
    # 010 is 8 to YAML 1.1, 10 to others and to people.
    if kind.base is int:
        return int(text) if re.fullmatch(r"[+-]?(0|[1-9][0-9_]*)", text) and text[-1] != "_" else text
    try:
        return float(text)
    except ValueError:
        return text


def _text(file: SettingsFile, name: str, node: Node) -> str:
    if not isinstance(node, Scalar):
        kind = "a list" if isinstance(node, Items) else "names and values"
        raise file.error(node.line, f"{name} is {kind}; wanted one value")
    if not node.text:
        way_out = "leave it out" if node.quoted else "give one, or null to leave it open"
        raise file.error(node.line, f"{name} has no value; {way_out}")
    return node.text


def _path(file: SettingsFile, text: str) -> Path:
    """A path of a file is relative to the folder of the file: it means the same wherever train.py is started."""
    if url_of(Path(text)) is not None:
        return Path(text)
    prefix = DATASET if text.startswith(DATASET) else ""
    return Path(prefix + os.path.normpath(file.path.parent / Path(text.removeprefix(prefix)).expanduser()))


def _remark(kind: Kind, node: Node) -> str:
    if isinstance(node, Scalar) and node.quoted and kind.base in (int, float, bool):
        return ", without quotation marks"
    if isinstance(node, Scalar) and kind.base is int and re.fullmatch(r"0[\d_]+|\d+(\.\d*)?e\+?\d+", node.text, re.I):
        return ", written out in decimal digits"
    return ""


def _nearest(name: str) -> str:
    known = [*part_of(), "preset"]
    found = difflib.get_close_matches(name.strip("_").rpartition(".")[2], known, 1, 0.6)
    return f"; did you mean {found[0]}?" if found else "; python train.py --help lists all"


def _file_at(path: Path) -> Path:
    return path / "config.json" if path.is_dir() else path


def _is_record(file: SettingsFile) -> bool:
    """Whether a file is the config.json of a run."""
    named = file.entries.named
    return file.path.suffix == ".json" and {"config", "fingerprint"} <= named.keys()


def _of_a_run(file: SettingsFile) -> FromFile:
    from ..runs.digests import read_record  # it imports torch, which the flags alone do not need

    record, _ = read_record(file.path)
    try:
        config = from_json(record["config"])
    except UserError as error:
        raise UserError(f"{file.path}: {error}") from None
    values = {name: value_of(config, name) for name in part_of()}
    if values["iterations"] is not None:
        values["epochs"] = None  # they are what the epochs were
    kept = {name: value for name, value in values.items() if name not in NOT_FROM_A_RUN}
    return FromFile(file.path, kept, {}, config.preset)


def _origins(arguments: Sequence[str], file: FromFile | None, preset: str) -> dict[str, str]:
    """Where the values come from that are not all defaults: preset, file or flag, by name."""
    default, start = to_json(TrainConfig()), to_json(PRESETS[preset]())
    found = {name: PRESET for name, part in part_of().items() if start[part][name] != default[part][name]}
    if file is not None:
        found |= {name: file.at(name) for name in file.values} | ({"preset": file.at("preset")} if file.preset else {})
    return found | dict.fromkeys(_typed(arguments), FLAG)


def _typed(arguments: Sequence[str]) -> set[str]:
    """The names of the settings that are given as flags."""
    typed = {a.removeprefix("--").split("=")[0].replace("-", "_") for a in arguments if a.startswith("--")}
    return (typed | {flag.removeprefix("no_") for flag in typed}) & {*part_of(), "preset"}


def _last(arguments: Sequence[str], flag: str) -> str | None:
    """The value of a flag, the last one where it is given more than once."""
    found = None
    for i, argument in enumerate(arguments):
        if argument == flag and i + 1 < len(arguments) and not arguments[i + 1].startswith("--"):
            found = arguments[i + 1]
        elif argument.startswith(f"{flag}="):
            found = argument.removeprefix(f"{flag}=")
    return found


def _where(message: str, file: FromFile, flags: set[str]) -> str:
    """Which flags of a message are lines of the file."""
    named = {name.replace("-", "_") for name in re.findall(r"--([a-z][a-z-]*)", message)} - flags
    lines = [f"{_flag(name)} is line {file.lines[name]}" for name in sorted(named & file.lines.keys())]
    return f" ({', '.join(lines)} of {file.path})" if lines else ""


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
