"""What is asked of a source, and whether what lies there allows it."""

import math
from dataclasses import dataclass
from pathlib import Path

from ...config import DataConfig
from ...errors import UserError
from ..clips import Clips
from ..packs.read import PackedClips
from ..recordings.annotations import is_annotated
from ..recordings.audioset import with_display_names
from ..recordings.manifest import Manifest, read_manifest
from ..recordings.saved import is_saved
from ..recordings.table_format import TableFormat
from ..soundscapes.mix import Mixer, Pool, mix
from .kinds import PACKS, RECORDINGS, check_label_threshold, kind_of
from .memory import have_room


@dataclass(frozen=True)
class Asked:
    """The arguments of `glat.data.load`, together."""

    config: DataConfig
    sample_rate_hz: int
    loader: str
    seed: int
    workers: int | None
    mixer: Mixer | None = None

    @property
    def data(self) -> Path:
        """``--data``, which is given."""
        assert self.config.data is not None
        return self.config.data

    @property
    def table(self) -> TableFormat:
        """How a table of recordings is written."""
        return TableFormat(self.config.file_column, self.config.label_column, self.config.label_separator)

    def manifest(self, data: Path, negatives: bool = True) -> Manifest:
        """The recordings of a folder or table; `negatives`: and those of ``--negatives``."""
        config = self.config
        listed = read_manifest(data, self.table, audio=config.audio, negatives=config.negatives if negatives else None)
        return listed if config.labels is None else with_display_names(listed, config.labels)

    def check(self) -> None:
        """Raise where a number is out of its limits."""
        config = self.config
        if not 1_000 <= self.sample_rate_hz <= 1_000_000:
            raise UserError(
                f"sample rate of {self.sample_rate_hz} Hz; give 1 000 to 1 000 000, 32 000 for PANNs' networks"
            )
        seconds = config.clip_seconds
        if seconds is not None and not (math.isfinite(seconds) and seconds * self.sample_rate_hz >= 1):
            raise UserError(f"--clip-seconds {seconds}; give a length above 0, e.g. 10")
        counts = (("--train-clips", config.train_clips, 1), ("--eval-clips", config.eval_clips, 1))
        for name, value, least in (*counts, ("--seed", self.seed, 0)):
            if value < least:
                raise UserError(f"{name} {value}; give {least} or more")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}; give 1 or more, or leave it out for one a core")

    def kind(self) -> str:
        """What ``--data`` holds, after a look at the flags that only some kinds take."""
        kind, labels = kind_of(self.data), self.config.labels
        if labels is not None and kind != PACKS and not (self.data.is_file() and is_annotated(self.data)):
            raise UserError(
                f"--labels {labels} names the classes of packs, and --data {self.data} holds {kind}; leave it out"
            )
        check_label_threshold(self.config.label_threshold, self.data)
        for flag in ("audio", "negatives"):
            if getattr(self.config, flag) is not None and kind != RECORDINGS:
                raise UserError(f"--{flag} goes with recordings, and --data {self.data} holds {kind}; leave it out")
        if self.config.mix and kind != RECORDINGS:
            raise UserError(
                f"--mix takes recordings, and --data {self.data} holds {kind}; give the folder or CSV behind them"
            )
        if self.loader == "memory" and kind != RECORDINGS:
            raise UserError(f"--loader memory: {kind} are read as they are heard; leave it out")
        return kind

    def check_pack(self, packed: PackedClips) -> None:
        """Raise where a pack's rate or clip length is another than asked."""
        if packed.sample_rate_hz != self.sample_rate_hz:
            raise UserError(
                f"--data {self.data}: packed at {packed.sample_rate_hz} Hz, and the network hears "
                f"{self.sample_rate_hz} Hz; pack with --sample-rate {self.sample_rate_hz}"
            )
        seconds, asked = packed.clip_samples / packed.sample_rate_hz, self.config.clip_seconds
        if asked is not None and round(asked * self.sample_rate_hz) != packed.clip_samples:
            raise UserError(
                f"--data {self.data}: packed in clips of {seconds:g} s, and --clip-seconds is {asked:g}; leave it "
                "out, or pack again"
            )

    def mixed(self, pool: Pool, side: str, usual: Mixer) -> Clips:
        """Soundscapes of one side."""
        return mix(
            pool,
            self.mixer or usual,
            self.config.train_clips if side == "train" else self.config.eval_clips,
            split=side,
            sample_rate_hz=self.sample_rate_hz,
            clip_seconds=self.config.clip_seconds or 10.0,
            seed=self.seed,
            workers=self.workers,
        )

    def check_windows(self, strong: bool) -> None:
        """Raise where windows are asked for, or refused, of recordings that do not allow it."""
        config = self.config
        if strong and (config.windows == "off" or config.mix):
            flag = "--mix takes recordings of one event each" if config.mix else "--windows off hears beginnings alone"
            raise UserError(f"{flag}, and --data {self.data} says what sounds when; leave it out")
        if config.windows == "on" and is_saved(self.data):
            raise UserError(f"--windows on: of {self.data} the beginnings are heard; leave it out")
        if config.windows == "on" and config.mix:
            raise UserError("--windows on and --mix exclude each other: soundscapes are mixed as long as a clip")

    def in_memory(self, samples: int) -> bool:
        """Whether so many samples are to be decoded at once."""
        if self.config.mix or self.loader == "memory":
            return True
        return self.loader == "auto" and have_room(samples)
