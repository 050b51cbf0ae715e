"""Operators of GL-AT: one public function an operator, whatever device runs it."""

from ._dispatch import implementations
from .crops.api import Crops, select_crops

__all__ = ["Crops", "implementations", "select_crops"]
