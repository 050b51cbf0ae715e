"""Times as tables have them: 1.5, 1,5, 00:01:30.5; in seconds or milliseconds."""

import math
import re

_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,3}):(\d{1,2}(?:[.,]\d+)?)")
_NOTHING = {"", "nan", "na", "n/a", "none", "null", "-"}
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("min", "minutes"), 60.0),
}
_OTHER_UNITS = ("sample", "samples", "frame", "frames")


def is_nothing(cell: str) -> bool:
    """Whether a cell is empty, or holds what programs write for it."""
    return cell.casefold() in _NOTHING


def seconds(cell: str, unit: float) -> float:
    """A time in seconds.

    Args:
        unit: of plain numbers, in seconds.

    Raises:
        ValueError: anything else; the text says what was seen.
    """
    if match := _CLOCK.fullmatch(cell):
        hours, minutes, rest = match.groups()
        return 3600.0 * int(hours or 0) + 60.0 * int(minutes) + float(rest.replace(",", "."))
    text = cell.replace(",", ".") if cell.count(",") == 1 and "." not in cell else cell
    try:
        value = float(text) * unit
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{cell[:40]!r} is no time: give seconds (1.5) or hh:mm:ss")
    return value


def base_and_unit(column: str) -> tuple[str, float]:
    """The name of a column without its unit, in small letters joined by _, and the unit in seconds; 0: no unit of time.

    "Begin Time (s)" is begin_time in seconds, "onset_ms" is onset in milliseconds.
    """
    words = re.findall(r"[^\W_]+", column.casefold())
    if len(words) > 1 and words[-1] in _UNITS:
        return "_".join(words[:-1]), _UNITS[words[-1]]
    if len(words) > 1 and words[-1] in _OTHER_UNITS:
        return "_".join(words[:-1]), 0.0
    return "_".join(words), 1.0
