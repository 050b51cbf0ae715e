"""`glat train` and `glat.train`: train.py, also where glat was installed without its sources."""

import importlib.util
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..text import complain

if TYPE_CHECKING:
    from ..config import TrainConfig
    from ..evaluation.score import Evaluation

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


def train(config: "TrainConfig") -> "Evaluation | None":
    """Train as a config says; what ``python train.py`` does with its flags.

    Args:
        config: every flag of train.py, by the same name; ``TrainConfig()`` is the paper's preset on built-in
            soundscapes.
            ``config.run.run_dir`` names the run's folder, which `glat.load` takes.

    Returns:
        The last evaluation: ``.metrics["fused"].mean_ap`` in 0..1, the same of "global" and "local"; None of a dry run.

    Raises:
        UserError: bad input, before anything is written; a loss that is not finite; a full disk.
        Stopped: SIGTERM or Ctrl-C, after the run has saved itself.
    """
    from ..config import from_json, to_json

    spec = importlib.util.spec_from_file_location("glat_train", script())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result: Evaluation | None = module.main(from_json(to_json(config)))  # paths may be given as text
    return result


def run(arguments: Sequence[str]) -> None:
    """Run train.py with these flags, as ``python train.py`` would, in this process."""
    try:
        path = script()
    except UserError as error:
        complain(f"error: {error}")
        sys.exit(2)
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name="__main__")
