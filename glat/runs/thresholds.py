"""Thresholds that are kept with a run: from which probability on a class is said to sound."""

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UserError
from ..evaluation.thresholds import Threshold
from ..sharpening import EventsBy
from .digests import read_record, write_record
from .folder import THRESHOLDS


@dataclass(frozen=True)
class Thresholds:
    """By class, for each question that is asked; classes without a positive or a negative clip have none."""

    frames: Mapping[str, Threshold]  # of the largest frame probability of a clip: when does it sound?
    sharpened: Mapping[str, Threshold]  # the same, of sharpened frames; empty where an older glat found the thresholds
    tags: Mapping[str, Threshold]  # of the clip's fused probability: does it sound?
    clips: int
    clips_sha256: str  # of their names
    weights: str  # the file that they are of

    def of_events(self, events_by: EventsBy) -> dict[str, float] | None:
        """By class, for events by frames of this kind; None where there are none."""
        found = self.sharpened if events_by == "sharpened" else self.frames
        return {label: each.threshold for label, each in found.items()} or None

    def of_tags(self) -> dict[str, float]:
        """By class, for the tags."""
        return {label: found.threshold for label, found in self.tags.items()}


def write_thresholds(folder: Path, thresholds: Thresholds) -> None:
    """Keep thresholds with a run, in place of those it has."""
    write_record(folder / THRESHOLDS, asdict(thresholds))


def read_thresholds(folder: Path) -> Thresholds | None:
    """The thresholds of a run; None where ``glat evaluate --thresholds`` has not found any.

    Raises:
        UserError: a damaged file.
    """
    path = folder / THRESHOLDS
    try:
        found, _ = read_record(path)
    except FileNotFoundError:
        return None
    try:
        found.setdefault("sharpened", {})
        by_class = {
            kind: {str(label): Threshold(**{k: float(v) for k, v in row.items()}) for label, row in found[kind].items()}
            for kind in ("frames", "sharpened", "tags")
        }
        return Thresholds(
            **by_class, clips=int(found["clips"]), clips_sha256=found["clips_sha256"], weights=found["weights"]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); find the thresholds anew with glat evaluate --run {folder} --thresholds, or "
            "remove the file"
        ) from None


def thresholds_of_weights(folder: Path, weights: str) -> Thresholds | None:
    """The thresholds of a run, as `read_thresholds`; None also where they are of the run's other weights."""
    found = read_thresholds(folder)
    return found if found is not None and found.weights == weights else None


def read_threshold_table(text: str) -> float | dict[str, float]:
    """What ``--threshold`` says: a number for all classes, or a CSV with the columns class and threshold.

    Raises:
        UserError: neither.
    """
    try:
        return float(text)
    except ValueError:
        pass
    way_out = "give a number such as 0.3, or a CSV with the columns class and threshold"
    try:
        with Path(text).open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            if not {"class", "threshold"} <= set(rows.fieldnames or ()):
                raise UserError(
                    f"--threshold {text}: seen columns {', '.join(rows.fieldnames or ()) or 'none'}; {way_out}"
                )
            return {row["class"]: float(row["threshold"]) for row in rows}
    except UserError:
        raise
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"--threshold {text} cannot be read ({error}); {way_out}") from None
