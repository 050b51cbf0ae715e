"""The `glat` commands, one file each: a frozen dataclass whose fields are the flags, and whose call does the work.

A call returns the exit status.
"""

from collections.abc import Callable

from .check_data import CheckData
from .costs import CountCosts
from .doctor import Doctor
from .evaluate import Evaluate
from .pack import Pack
from .tag import Tag

COMMANDS: dict[str, Callable[..., Callable[[], int]]] = {
    "tag": Tag,
    "evaluate": Evaluate,
    "pack": Pack,
    "check-data": CheckData,
    "costs": CountCosts,
    "doctor": Doctor,
}
