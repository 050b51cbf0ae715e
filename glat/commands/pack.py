"""`glat pack`: recordings into HDF5 packs, decoded and resampled once."""

import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..data.packs.cutting import Cutting, cutting_for
from ..data.packs.tables import CLIPS, SKIPPED
from ..data.packs.write import pack
from ..data.parallel import Part
from ..errors import UserError
from ..terminal import Console
from ..text import counted, size
from .source import SourceFlags

_LINE_SECONDS = 30


@dataclass(frozen=True)
class Pack(SourceFlags):
    """Pack recordings into HDF5 files with the layout of PANNs; run again after a stop, it continues."""

    out: tyro.conf.Positional[Path]
    """The folder of the packs; give the same command again to continue after a stop."""
    clip_seconds: float = 10.0
    """Longer recordings are cut (--windows: into windows), shorter ones padded with zeros."""
    sample_rate: int = 32_000
    """Sample rate of the packs in Hz; PANNs' networks need 32 000."""
    clips_per_shard: int | None = None
    """Recordings per file; default: 1 000, fewer for small sets."""
    workers: int | None = None
    """Processes; default: one per core."""
    part: str | None = None
    """3/16: only every 16th shard, from the third on, for 16 jobs side by side that pack into the same folder."""

    def __call__(self) -> int:
        """Returns 0, even if some recordings were left out; they are reported."""
        if not 1_000 <= self.sample_rate <= 1_000_000:
            raise UserError(f"--sample-rate {self.sample_rate}; give 1 000 to 1 000 000, 32 000 for PANNs' networks")
        if not (0 < self.clip_seconds < 86_400 and self.clip_seconds * self.sample_rate >= 1):
            raise UserError(f"--clip-seconds {self.clip_seconds}; give a length above 0, e.g. 10")
        for flag, value in (("--clips-per-shard", self.clips_per_shard), ("--workers", self.workers)):
            if value is not None and value < 1:
                raise UserError(f"{flag} {value}; give 1 or more, or leave it out")
        part = Part.parse(self.part) if self.part else None
        console = Console(soft_wrap=True)
        manifest = self.manifest()
        windows = "off" if self.audioset is not None and self.windows == "auto" else self.windows
        cutting = Cutting(self.clip_seconds, self.sample_rate, self.min_overlap)
        _, counts = cutting_for(manifest.recordings, cutting, windows, self.workers)
        clips = sum(counts) or len(manifest.recordings)
        most = size(clips * self.clip_seconds * self.sample_rate * 2)
        cut = f" in {clips} windows" if counts else ""
        listed = counted(len(manifest.recordings), "recording", "recordings")
        console.print(f"{listed}{cut}, at most {most}, into {self.out}")
        bar = Progress(
            TextColumn("packing"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        task = bar.add_task("packing", total=len(manifest.recordings))
        said = started = time.perf_counter()

        def report(done: int, total: int) -> None:
            nonlocal said
            bar.update(task, completed=done)
            if not console.is_terminal and time.perf_counter() - said > _LINE_SECONDS:
                said = time.perf_counter()
                console.print(f"packed {done} of {total}")

        with bar:
            packed = pack(
                self.out,
                manifest,
                clip_seconds=self.clip_seconds,
                sample_rate_hz=self.sample_rate,
                clips_per_shard=self.clips_per_shard,
                workers=self.workers,
                part=part,
                windows=windows,
                min_overlap_seconds=self.min_overlap,
                report=report,
            )
        if packed is None:
            console.print(f"part {self.part} is done; the packs are ready when all parts are")
            return 0
        for skip in packed.skipped[:10]:
            console.print(f"left out: {skip.file}: {skip.reason}")
        if len(packed.skipped) > 10:
            console.print(f"and {len(packed.skipped) - 10} more")
        if packed.skipped:
            console.print(f"all {len(packed.skipped)} that were left out: {self.out / SKIPPED}")
        if packed.remarks:
            console.print(f"note: {packed.remarks} clips are odd, and packed; {self.out / CLIPS} says how")
        of = f", windows of {packed.recordings} recordings" if packed.recordings is not None else ""
        console.print(f"{packed.clips} clips{of} in {self.out}, {time.perf_counter() - started:.0f} s")
        return 0
