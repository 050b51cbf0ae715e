"""The `glat` commands, one file each: a frozen dataclass whose fields are the flags, and whose call does the work.

A call returns the exit status.
"""

from collections.abc import Callable

from .check_data import CheckData
from .costs import CountCosts
from .doctor import Doctor
from .evaluate import Evaluate
from .pack import Pack
from .plot import Plot
from .sweep import Sweep
from .tag import Tag

COMMANDS: dict[str, Callable[..., Callable[[], int]]] = {
    "tag": Tag,
    "evaluate": Evaluate,
    "plot": Plot,
    "sweep": Sweep,
    "pack": Pack,
    "check-data": CheckData,
    "costs": CountCosts,
    "doctor": Doctor,
}
