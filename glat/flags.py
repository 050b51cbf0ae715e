"""Dataclasses as command-line flags: the help of a field is its docstring."""

import inspect
import textwrap
from collections.abc import Sequence
from dataclasses import is_dataclass
from functools import cache
from inspect import get_annotations
from typing import Annotated, Any, get_type_hints

import docstring_parser
import tyro

_WIDTH = 80


def parse(what: Any, arguments: Sequence[str], prog: str, default: Any = None, **options: Any) -> Any:
    """Parse flags into a dataclass; nested ones need no prefix. Wrong flags print what is known and leave with 2.

    Args:
        what: the dataclass.
        prog: name of the program, for the help.
        default: values of the flags that are left out; None: those of the class.
        options: more arguments of `tyro.cli`.
    """
    _describe(what)
    defaults = {} if default is None else {"default": default}
    # A hanging indent: tyro joins lines of a description unless the next one is indented, and wraps none.
    about = textwrap.fill(" ".join((inspect.getdoc(what) or "").split()), _WIDTH, subsequent_indent="  ")
    return tyro.cli(
        what,
        prog=prog,
        description=about,
        args=list(arguments),
        config=(tyro.conf.OmitArgPrefixes,),
        **defaults,
        **options,
    )


@cache
def _describe(what: type) -> None:
    """Give tyro the docstrings as one line each: it keeps a line break where the next line is indented."""
    for cls in what.__mro__:
        own = get_annotations(cls)
        if not own or not is_dataclass(cls):
            continue
        hints = get_type_hints(cls, include_extras=True)
        for doc in docstring_parser.parse_from_object(cls).params:
            if doc.arg_name in own and doc.description:
                text = " ".join(doc.description.split())
                described = tyro.conf.arg(help=text, help_behavior_hint=_default_of)
                cls.__annotations__[doc.arg_name] = Annotated[hints[doc.arg_name], described]
        for name in own:
            if is_dataclass(hints[name]) and isinstance(hints[name], type):
                _describe(hints[name])


def _default_of(value: str) -> str:
    """What the help says of a default. Nothing of none: where that means something, the text before it says what."""
    return "" if value in ("None", "") else f"(default: {value})"
