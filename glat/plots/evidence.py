"""The deciding crops as sound files, with a page that shows them: a tagger can be checked by ear."""

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..errors import UserError
from ..files import write_json
from ..tagging.hearing import Heard
from ..tagging.tags import Crop
from ..tagging.windows import Window
from .evidence_page import Piece, write_page
from .spectrogram import save_spectrogram

_STATE = "evidence.json"
PAGE = "index.html"


class Evidence:
    """A folder with the best crops of every class over many recordings.

    Args:
        folder: new, empty, or of an earlier call.
        per_class: at most this many crops of each class.
        thresholds: [L], least fused probability of a window whose crops are kept.
        going_on: whether this continues an earlier process, whose crops stay.

    Raises:
        UserError: the folder holds something else.
    """

    def __init__(
        self,
        folder: Path,
        per_class: int,
        thresholds: NDArray[np.float32],
        classes: Sequence[str],
        sample_rate_hz: int,
        crop_samples: int,
        *,
        going_on: bool = False,
    ) -> None:
        self.folder, self.per_class, self.thresholds = folder, per_class, thresholds
        self.classes, self.rate, self.crop_samples = tuple(classes), sample_rate_hz, crop_samples
        self.pieces: list[Piece] = []
        if folder.exists():
            self._take_over(going_on)
        folder.mkdir(parents=True, exist_ok=True)

    def _take_over(self, going_on: bool) -> None:
        state = self.folder / _STATE
        if not self.folder.is_dir() or (not state.exists() and any(self.folder.iterdir())):
            raise UserError(f"--evidence {self.folder} is something else's; give a new or an empty folder")
        if not state.exists():
            return
        try:
            found = json.loads(state.read_text(encoding="utf-8"))
            pieces = [Piece(**piece) for piece in found["pieces"]]
            left_over = [str(name) for name in found["left_over"]]
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{state} is damaged ({error}); give another --evidence folder") from None
        self._remove([*left_over, *(() if going_on else (piece.sound for piece in pieces))])
        if going_on:
            self.pieces = pieces
        else:
            state.unlink()

    def gather(self, index: int, name: str) -> "Gathered":
        """Collect the crops of one recording, number `index` of the job."""
        return Gathered(self, index, name)

    def keep(self, gathered: "Gathered") -> None:
        """Keep the crops of a finished recording; crops that are no longer among the best are deleted."""
        new = {piece.sound: piece for pieces in gathered.pieces.values() for piece in pieces}
        candidates = [*(piece for piece in self.pieces if piece.sound not in new), *new.values()]
        kept: list[Piece] = []
        for label in dict.fromkeys(piece.label for piece in candidates):
            ranked = sorted((p for p in candidates if p.label == label), key=lambda p: (-p.probability, p.sound))
            kept += ranked[: self.per_class]
        names = {piece.sound for piece in kept}
        for piece in new.values():
            if piece.sound in names:
                save_spectrogram(gathered.folder / piece.sound, self.folder / piece.picture)
                shutil.move(gathered.folder / piece.sound, self.folder / piece.sound)
        left_over = [piece.sound for piece in self.pieces if piece.sound not in names]
        self.pieces = kept
        self._write_state(left_over)
        self._remove(left_over)
        gathered.close()

    def finish(self) -> Path:
        """Write the page and return its path."""
        self._write_state([])
        write_page(self.folder / PAGE, self.classes, self.pieces, self.rate)
        return self.folder / PAGE

    def _write_state(self, left_over: list[str]) -> None:
        write_json(self.folder / _STATE, {"pieces": [asdict(piece) for piece in self.pieces], "left_over": left_over})

    def _remove(self, sounds: Sequence[str]) -> None:
        for name in sounds:
            if name == Path(name).name and name.endswith(".wav"):  # only files that the state names, in this folder
                (self.folder / name).unlink(missing_ok=True)
                (self.folder / (name.removesuffix(".wav") + ".png")).unlink(missing_ok=True)


class Gathered:
    """The best crops of one recording, in a hidden folder until the recording is finished."""

    def __init__(self, evidence: Evidence, index: int, name: str) -> None:
        self.evidence, self.index, self.name = evidence, index, name
        self.pieces: dict[str, list[Piece]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix=".glat-evidence-", dir=evidence.folder)
        self.folder = Path(self._folder.name)

    def close(self) -> None:
        """Remove the hidden folder."""
        self._folder.cleanup()

    def __call__(self, window: Window, heard: Heard, row: int, crops: list[Crop]) -> None:
        """See `WindowSink`."""
        fused = heard.streams[row, 0]
        for k in np.flatnonzero(fused >= self.evidence.thresholds).tolist():
            in_crops = heard.crop_probs[row, :, k]
            own = np.flatnonzero(heard.classes[row] == k)
            if np.isnan(in_crops).any() and not len(own):  # no local stream, and no crop was cut for this class
                continue
            n = int(own[0]) if np.isnan(in_crops).any() else int(in_crops.argmax())
            heard_there = None if np.isnan(in_crops[n]) else float(in_crops[n])
            self._offer(window, int(heard.starts[row, n]), crops[n], k, float(fused[k]), heard_there)

    def _offer(self, window: Window, start: int, crop: Crop, k: int, fused: float, in_crop: float | None) -> None:
        """Keep a crop if it is among the best of its class; of two that share half their time, keep the better one."""
        label = self.evidence.classes[k]
        at = (crop.start_seconds, crop.end_seconds)
        piece = Piece(label, fused, in_crop, self.name, *at, sound="")
        ranked = self.pieces.setdefault(label, [])
        same = [other for other in ranked if _share(other, piece) > 0.5]
        if any(other.probability >= fused for other in same):
            return
        rivals = [other for other in ranked if other not in same]
        if len(rivals) >= self.evidence.per_class:
            worst = min(rivals, key=lambda other: other.probability)
            if worst.probability >= fused:
                return
            same.append(worst)
        of_file = f"{self.index:05d}-{_plain(Path(self.name).stem)}"
        name = f"{_plain(label)}_{fused:.3f}_{of_file}_{at[0]:.2f}s.wav"
        wave = window.wave[start : start + self.evidence.crop_samples]
        soundfile.write(self.folder / name, np.clip(wave, -1, 1), self.evidence.rate, subtype="PCM_16")
        for other in same:
            ranked.remove(other)
            (self.folder / other.sound).unlink(missing_ok=True)
        ranked.append(replace(piece, sound=name))


def _plain(text: str) -> str:
    """The characters of a text that every file system allows in a name."""
    return re.sub(r"[^\w.-]+", "_", text)[:60]


def _share(one: Piece, other: Piece) -> float:
    """The overlap of two crops as a share of the shorter one."""
    both = min(one.end_seconds, other.end_seconds) - max(one.start_seconds, other.start_seconds)
    shorter = min(one.end_seconds - one.start_seconds, other.end_seconds - other.start_seconds)
    return both / shorter if shorter > 0 else 0.0
