"""The events that the page shows, as the tables that `glat tag --events` writes."""

import math
from collections.abc import Sequence
from typing import Any

from ..sharpening import EventsBy
from ..tagging.events import TaggedEvent
from ..tagging.formats import text_format

FORMATS = ("csv", "raven", "audacity", "jsonl", "rttm")


def table(asked: Any, classes: Sequence[str], events_by: EventsBy) -> str:
    """Write a table.

    Args:
        asked: {"format": one of `FORMATS`, "name": of the file, "events": [[class, onset, offset, peak, probability,
            global, local or null, fused], ...]}, the class a number; from outside, and so looked at.
        events_by: what they were found by.

    Raises:
        ValueError: it is none of that.
    """
    if not isinstance(asked, dict) or asked.get("format") not in FORMATS or not isinstance(asked.get("events"), list):
        raise ValueError("no table")
    name = str(asked.get("name", ""))
    form = text_format(asked["format"])
    return form.header + form.rows([_event(name, row, classes, events_by) for row in asked["events"]], 0)


def _event(name: str, row: Any, classes: Sequence[str], events_by: EventsBy) -> TaggedEvent:
    if not isinstance(row, list) or len(row) != 8 or type(row[0]) is not int or not 0 <= row[0] < len(classes):
        raise ValueError("no event")
    numbers = [math.nan if x is None and i == 5 else x for i, x in enumerate(row[1:])]
    if not all(type(x) in (int, float) and (math.isfinite(x) or i == 5) for i, x in enumerate(numbers)):
        raise ValueError("no event")
    onset, offset, peak, probability, global_, local, fused = map(float, numbers)
    return TaggedEvent(name, classes[row[0]], onset, offset, peak, probability, global_, local, fused, events_by)
