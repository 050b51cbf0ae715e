"""What the fields of a dataclass may be, read off their types.

A `Literal` lists the choices of a field, a `Range` beside a number its limits.
"""

import types
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints


class Range(NamedTuple):
    """The limits of a number, both included, and how to say what is wanted."""

    low: float
    high: float
    wanted: str


class Kind(NamedTuple):
    """What a field may be."""

    base: Any  # bool, int, float, str, Path, or the tuple of a Literal's choices
    optional: bool
    several: bool  # a tuple of them
    limits: Range | None


@cache
def kinds_of(part: Any) -> dict[str, Kind]:
    """The kind of every field of a dataclass, by name."""
    return {name: _kind(hint) for name, hint in get_type_hints(part, include_extras=True).items()}


def _kind(hint: Any) -> Kind:
    limits = None
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        limits = next((extra for extra in extras if isinstance(extra, Range)), None)
    options = get_args(hint) if get_origin(hint) in (types.UnionType, Union) else (hint,)
    (base,) = (option for option in options if option is not type(None))
    several = get_origin(base) is tuple
    if several:
        base = get_args(base)[0]
    if get_origin(base) is Literal:
        base = get_args(base)
    return Kind(base, type(None) in options, several, limits)


def what_is_wanted(kind: Kind, value: Any) -> str | None:
    """What is wanted in place of a value; None where it is fine."""
    if value is None:
        return None if kind.optional else "give a value"
    if kind.several:
        if not isinstance(value, tuple) or (isinstance(kind.base, tuple) and not value):
            return "wanted a list"
        one = Kind(kind.base, False, False, kind.limits)
        found = [what_is_wanted(one, item) for item in value]
        return "wanted a list" if "wanted a text" in found else next(filter(None, found), None)
    if isinstance(kind.base, tuple):
        return None if value in kind.base else f"choose one of {', '.join(kind.base)}"
    if kind.base in (int, float):
        accepted = int if kind.base is int else (int, float)
        low, high, wanted = kind.limits or Range(-float("inf"), float("inf"), "a number")
        number = isinstance(value, accepted) and not isinstance(value, bool)
        return None if number and low <= value <= high else f"wanted {wanted}"
    names = {bool: "True or False", str: "a text", Path: "a path"}
    return None if isinstance(value, kind.base) else f"wanted {names[kind.base]}"
