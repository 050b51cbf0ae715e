"""Names of classes: cleaned as they are read, and what is suspicious about a set of them."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection
from typing import NamedTuple

from ..text import counted

_SEPARATORS = ",|;"
_HIERARCHIES = "/:+"  # which may stand in every label for another reason
_MISSING = frozenset({"nan", "null", "none", "n/a", "<na>"})
_BRACKETS = {"[": "]", "(": ")", "{": "}"}


class Suspicion(NamedTuple):
    """What is suspicious about some labels, how to mend it, and the labels."""

    what: str
    mend: str
    labels: tuple[str, ...]


def clean(name: str) -> str:
    """A label as its readers see it: composed (NFC), without invisible characters, every stretch of space one space."""
    composed = unicodedata.normalize("NFC", name)
    visible = "".join(" " if c.isspace() else c for c in composed if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(visible.split())


def suspicions(labels: Collection[str]) -> list[Suspicion]:
    """What of a set of labels looks like a mistake in how they are written or read."""
    ordered = sorted(labels)
    found = []
    alike: dict[str, list[str]] = defaultdict(list)
    for label in ordered:
        key = re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", label)).casefold()
        alike[re.sub(r"^(\d+)\.0+$", r"\1", key)].append(label)  # 3.0, as programs write a column with gaps
    same = tuple(" = ".join(map(repr, group)) for group in alike.values() if len(group) > 1)
    if same:
        what = counted(len(same), "label is", "labels are")
        what += " written in several ways (case, spaces, underscores, .0)"
        found.append(Suspicion(what, "write each in one way: each spelling is a class of its own", same))
    if separator := _hidden_separator(ordered):
        joined = tuple(label for label in ordered if separator in label)
        what = counted(len(joined), "label holds", "labels hold") + f" {separator!r}, as if several were joined by it"
        found.append(Suspicion(what, f"give --label-separator {separator!r}, or rename them", joined))
    lists = tuple(label for label in ordered if _BRACKETS.get(label[0]) == label[-1] or label[:2] in ("['", '["'))
    if lists:
        mend = "join the labels by ; alone, without brackets and quotes"
        what = counted(len(lists), "label is a list", "labels are lists") + " written as text"
        found.append(Suspicion(what, mend, lists))
    missing = tuple(label for label in ordered if label.casefold() in _MISSING)
    if missing:
        mend = "leave the cell empty for a clip that has no class, or take the line out"
        found.append(Suspicion("a class is called what programs write for a missing label", mend, missing))
    return found


def _hidden_separator(labels: list[str]) -> str | None:
    """What every label holds, or what joins labels that are there alone, too."""
    alone = set(labels)
    for separator in _SEPARATORS + _HIERARCHIES:
        parts = [[part.strip() for part in label.split(separator)] for label in labels if separator in label]
        parts = [found for found in parts if all(found)]
        if (separator in _SEPARATORS and len(parts) == len(labels) > 1) or any(set(found) <= alone for found in parts):
            return separator
    return None
