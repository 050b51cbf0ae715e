"""The last evaluation of a run, as its folder keeps it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError, warn
from ..evaluation.score import STREAMS
from .digests import read_record, write_record
from .folder import EVALUATION


def write_evaluation(folder: Path, found: Mapping[str, Any]) -> None:
    """Write what `glat.evaluation.score.Evaluation.to_json` returns."""
    write_record(folder / EVALUATION, found)


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """What `write_evaluation` wrote; None of a run that has not ended.

    Raises:
        UserError: a file that is damaged, or holds something else.
    """
    path = folder / EVALUATION
    try:
        found, digest = read_record(path)
    except FileNotFoundError:
        return None
    if digest is None:
        warn(f"{path} holds no digest, as an older glat wrote it: damage to it cannot be noticed", stacklevel=2)
    try:
        _check(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}); delete it, and go on with --resume auto, which "
            "evaluates again"
        ) from None
    return found


def _check(found: dict[str, Any]) -> None:
    for name in STREAMS:
        stream = found["streams"][name]
        _numbers([] if stream["mAP"] is None else [stream["mAP"]])
        _numbers(stream.setdefault("ap", {}).values())
        if stream["ap"].keys() != found["streams"]["global"]["ap"].keys():
            raise ValueError("the streams have other classes")
    starts = found.get("crop_starts")
    if starts is not None:
        _numbers([starts["bin_seconds"], starts["clip_seconds"], starts["crop_seconds"]])
        _numbers([*starts["present"], *starts["absent"]])
        if len(starts["present"]) != len(starts["absent"]) or not starts["bin_seconds"] > 0:
            raise ValueError("crop starts that fit no bins")


def _numbers(values: Any) -> None:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{value!r} in place of a number")
