"""`glat train`: train.py, also where glat was installed without its sources."""

import importlib.util
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..text import complain

# How train.py is called inside the package: a wheel holds a copy, an editable install is given the checkout's file.
MODULE = "glat._train"


def script() -> Path:
    """train.py of this installation, or of the checkout that glat is imported from.

    Raises:
        UserError: there is none.
    """
    found = importlib.util.find_spec(MODULE)
    if found is not None and found.origin is not None:
        return Path(found.origin)
    beside = Path(__file__).resolve().parents[2] / "train.py"
    if not beside.is_file():
        raise UserError(f"this installation of glat has no train.py ({beside}); install glat again")
    return beside


def run(arguments: Sequence[str]) -> None:
    """Run train.py with these flags, as ``python train.py`` would, in this process."""
    try:
        path = script()
    except UserError as error:
        complain(f"error: {error}")
        sys.exit(2)
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name="__main__")
