"""Map the labels of one data set onto the classes of another by name."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import UserError
from .clips import ClipSource, Event
from .targets import Targets


@dataclass(frozen=True)
class Relabelled:
    """Clips with the wanted classes, and what was left out."""

    clips: ClipSource
    unknown: tuple[str, ...]  # labels that are not among the classes; left out
    dropped: int  # clips with unknown labels only; left out, as these may be other names of the classes


def relabelled(clips: ClipSource, classes: tuple[str, ...]) -> Relabelled:
    """Relabel clips with the classes of a model, in its order.

    Raises:
        UserError: no label is one of the classes.
    """
    column = {label: k for k, label in enumerate(classes)}
    new = {k: column[label] for k, label in enumerate(clips.classes) if label in column}
    dense = clips.targets.dense().numpy()
    targets = np.zeros((len(clips), len(classes)), bool)
    targets[:, list(new.values())] = dense[:, list(new)]
    known = targets.any(1)
    rows = np.flatnonzero(known | ~dense.any(1))  # a clip without any label is negative for all classes
    if not known.any():
        ours, theirs = (", ".join(names[:3]) + ", ..." * (len(names) > 3) for names in (clips.classes, classes))
        raise UserError(f"no clip has a class of the run: seen {ours}; wanted some of {theirs}; rename the labels")
    events = clips.events
    if events is not None:
        events = tuple(
            tuple(Event(new[e.label], e.onset_seconds, e.offset_seconds) for e in events[row] if e.label in new)
            for row in rows
        )
    kept: Any = clips if len(rows) == len(clips) else clips.subset(rows)  # a subset copies the samples
    return Relabelled(
        clips=replace(kept, targets=Targets.from_dense(targets[rows]), classes=classes, events=events),
        unknown=tuple(label for label in clips.classes if label not in column),
        dropped=len(clips) - len(rows),
    )
