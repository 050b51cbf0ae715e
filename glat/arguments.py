"""Checks of the numbers that a caller of the Python interface gives."""

import math
from numbers import Integral, Real
from typing import Any

from .errors import UserError


def whole(name: str, value: Any, least: int) -> int:
    """An integer of at least `least`; NumPy's count, True does not.

    Raises:
        UserError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UserError(f"{name} is {value!r}; give a whole number, {least} or more")
    return int(value)


def real(name: str, value: Any, least: float, most: float = math.inf) -> float:
    """A finite number from `least` to `most`; NumPy's count, True does not.

    Raises:
        UserError: anything else.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not least <= value <= most:
        wanted = f"{least:,g} or more" if most == math.inf else f"{least:,g} to {most:,g}".replace(",", " ")
        raise UserError(f"{name} is {value!r}; give a number, {wanted}")
    return float(value)
