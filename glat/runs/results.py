"""The last evaluation of a run, as its folder keeps it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..config import TrainConfig
from ..errors import UserError, warn
from ..evaluation.events.scores import event_scores
from ..evaluation.score import STREAMS, Evaluation, from_json
from .digests import read_record, read_weights, write_record
from .folder import BEST_WEIGHTS, EVALUATION, WEIGHTS, open_run, read_metrics


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


class Ended(NamedTuple):
    """What a run left that has nothing more to do."""

    evaluation: Evaluation
    classes: tuple[str, ...]
    best: tuple[int, float]  # step and fused mAP of the best evaluation; step 0: none
    why: str  # what to say of it


def of_ended(config: TrainConfig, checkpoint: Path | None) -> Ended | None:
    """The results of a run that has made all its steps, or was ended by ``--patience``, and was written whole.

    None where there is something left to do, be it to write a file anew that is missing or damaged; and of a run of an
    older glat, which did not record at which step it was evaluated.

    Args:
        config: of the run that is to go on.
        checkpoint: that it would go on from.
    """
    folder, steps = config.run.run_dir, config.optim.iterations
    if checkpoint is None or folder is None or steps is None:
        return None
    try:
        found = read_evaluation(folder)
        if found is None or found["step"] != int(checkpoint.stem) or not (found["step"] >= steps or found["idle"]):
            return None
        if read_metrics(folder).damage:
            return None
        best_step, best_mean_ap = found["best"]["step"], found["best"]["fused_mAP"]
        for name in (WEIGHTS, *([BEST_WEIGHTS] if best_step else [])):
            read_weights(folder / name)
        classes = open_run(folder).classes
        result = from_json(found, classes)
    except (UserError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None
    idle = f", stopped after {found['idle']}" if found["step"] < steps else ""
    why = f"{folder} has ended: {found['step']} of {steps} steps{idle}; these are its results"
    return Ended(result, classes, (best_step, best_mean_ap), why)


def _check(found: dict[str, Any]) -> None:
    for name in STREAMS:
        stream = found["streams"][name]
        _numbers([] if stream["mAP"] is None else [stream["mAP"]])
        _numbers(stream.setdefault("ap", {}).values())
        if stream["ap"].keys() != found["streams"]["global"]["ap"].keys():
            raise ValueError("the streams have other classes")
    if "events" in found:
        event_scores(found["events"])
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
