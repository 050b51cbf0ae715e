"""YAML and JSON as text with line numbers; what a text means is up to the setting that it is given to.

YAML's own guesses (``no`` is false, ``1e-3`` a text, ``1:30`` is 90) depend on its version, so none is made here: the
parser's events are read, no object is built, and anchors, tags and a second document are refused.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..errors import UserError, first_line

MOST_BYTES = 1_000_000
MOST_DEPTH = 8
NULL = ("~", "null", "Null", "NULL")
_REFUSED = "anchors, aliases and tags are not taken; write the value out"


class Scalar(NamedTuple):
    """One value, as it is written."""

    text: str
    quoted: bool  # and so a text, whatever it looks like
    line: int

    @property
    def is_null(self) -> bool:
        """Whether it says that there is no value."""
        return not self.quoted and self.text in NULL


class Items(NamedTuple):
    """A list."""

    nodes: "tuple[Node, ...]"
    line: int


class Entry(NamedTuple):
    """A value with the line of its name."""

    node: "Node"
    line: int


class Entries(NamedTuple):
    """Values by name."""

    named: dict[str, Entry]
    line: int


Node = Scalar | Items | Entries


@dataclass(frozen=True)
class SettingsFile:
    """A file that was read.

    Attributes:
        path: as it was given.
        entries: what it holds.
    """

    path: Path
    entries: Entries

    def error(self, line: int, message: str) -> UserError:
        """An error that says where it is."""
        return UserError(f"{self.path}:{line}: {message}")


def read(path: Path) -> SettingsFile:
    """Read a file of settings: JSON by its suffix .json, YAML by .yaml or .yml.

    Raises:
        UserError: no such file; one of another kind; one that is too large, is no UTF-8, or cannot be parsed; a name
            that stands twice in one place; anchors, aliases and tags.
    """
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise UserError(f"{path} is no file of settings by its name; wanted .yaml, .yml or .json")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give a file of settings") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{path} is larger than {MOST_BYTES:,} bytes, which no file of settings is")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8; save it as that") from None
    if path.suffix == ".json":
        # JSON is YAML but for tabs, of which none is inside a text; the lines are YAML's to tell.
        text = _checked_json(path, text).replace("\t", " ")
    return SettingsFile(path, _Reader(path, text).read())


def _checked_json(path: Path, text: str) -> str:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: this is no JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: this is no JSON: {first_line(error)}") from None
    return text


class _Reader:
    """Builds nodes from YAML's events."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))

    def read(self) -> Entries:
        try:
            next(self._events)  # the stream
            if isinstance(event := next(self._events), yaml.StreamEndEvent):
                raise UserError(f"{self._path} is empty; give settings, as in num_crops: 7")
            node = self._node(next(self._events), 0)
            next(self._events)  # the document's end
            if not isinstance(event := next(self._events), yaml.StreamEndEvent):
                raise self._error(event, "a second document begins here (---); keep one a file")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = str(error.problem or error.context)
            if "'\\t'" in what:
                what = "a tab begins a value or a line; indent with spaces"
            where = f":{mark.line + 1}" if mark else ""
            raise UserError(f"{self._path}{where}: this cannot be read: {what}") from None
        except yaml.YAMLError as error:
            raise UserError(f"{self._path} cannot be read: {first_line(error)}") from None
        if not isinstance(node, Entries):
            raise UserError(f"{self._path}:{node.line}: wanted names and values, as in num_crops: 7")
        return node

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None or event.tag is not None:
            raise self._error(event, _REFUSED)
        if depth > MOST_DEPTH:
            raise self._error(event, f"nested more than {MOST_DEPTH} deep")
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(_whole(event.value), event.style is not None, line)
        if isinstance(event, yaml.SequenceStartEvent):
            nodes = []
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                nodes.append(self._node(event, depth + 1))
            return Items(tuple(nodes), line)
        named: dict[str, Entry] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key, Scalar) or not key.text:
                raise self._error(event, "wanted a name before the colon")
            if key.text in named:
                raise self._error(event, f"{key.text} is given twice, first on line {named[key.text].line}")
            named[key.text] = Entry(self._node(next(self._events), depth + 1), key.line)
        return Entries(named, line)

    def _error(self, event: Any, message: str) -> UserError:
        return UserError(f"{self._path}:{event.start_mark.line + 1}: {message}")


def _whole(text: str) -> str:
    """A text in which JSON's two halves of a character are one."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
