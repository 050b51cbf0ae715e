"""Batches on the device, in the sampler's order, from clips in memory, packs or encoded files."""

import importlib
import importlib.util
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import UserError, first_line, warn
from ..clips import Batch, Clips, ClipSource, Skipped
from ..parallel import cores
from ..recordings.encoded import EncodedClips
from ..windows.source import WindowsOfFiles
from .remarks import Remarks
from .rows import FromMemory, Maker, RowByRow, read_row

LOADERS = ("auto", "memory", "dali", "soundfile")
_FOLLOWING = 100  # clips to try where a whole batch is unreadable; more in a row mean that the data is gone
# Formats that DALI decodes, by libsndfile's names.
_DALI_FORMATS = {"WAV", "WAVEX", "FLAC", "OGG", "AIFF", "CAF"}


def _warn(skipped: Skipped) -> None:
    warn(f"left out: {skipped.file}: {skipped.reason}", stacklevel=2)


@dataclass(frozen=True)
class Loading:
    """How clips are read: the arguments of `batches` that are constant during a run."""

    loader: str = "auto"
    workers: int | None = None
    report: Callable[[Skipped], None] = _warn
    remarks: Remarks = field(default_factory=Remarks)

    def batches(
        self,
        source: ClipSource,
        rows: Iterable[Tensor],
        device: torch.device,
        report: Callable[[Skipped], None] | None = None,
        may_be_empty: bool = False,
    ) -> Generator[Batch]:
        """See `batches`; `report` replaces this object's."""
        return batches(
            source,
            rows,
            device=device,
            loader=self.loader,
            workers=self.workers,
            report=report or self.report,
            remarks=self.remarks,
            may_be_empty=may_be_empty,
        )


DEFAULT_LOADING = Loading()


class Choice(NamedTuple):
    """The loader that was chosen, and the reason, for the log."""

    name: str  # "memory", "pack", "dali" or "soundfile"
    reason: str


def choose_loader(source: ClipSource, loader: str, device: torch.device) -> Choice:
    """Choose the loader that `batches` uses for a source.

    Args:
        loader: "auto", "memory", "dali" or "soundfile".

    Raises:
        UserError: an unknown name; "dali" where DALI is missing or cannot read the files; a decoder for clips that
            are decoded already.
    """
    if loader not in LOADERS:
        raise UserError(f"--loader {loader}; give one of {', '.join(LOADERS)}")
    if source.storage != "files":
        if loader not in ("auto", source.storage):
            raise UserError(f"--loader {loader}: these clips are decoded already; leave --loader out")
        return Choice(source.storage, "int16 samples, nothing to decode")
    if loader == "memory":
        raise UserError("--loader memory: these clips are still encoded; load them with the same loader")
    if isinstance(source, WindowsOfFiles):
        if loader == "dali":
            raise UserError(
                "--loader dali: DALI decodes files from their beginning, and these clips are windows of long "
                "recordings; leave --loader out, or give --loader soundfile"
            )
        return Choice("soundfile", "it seeks to the windows, which DALI cannot")
    assert isinstance(source, EncodedClips)
    if loader == "soundfile":
        return Choice("soundfile", "as --loader says")
    if loader == "auto" and device.type == "cpu" and (source.rates_hz != source.sample_rate_hz).any():
        return Choice("soundfile", "without a GPU, soxr resamples faster than DALI's path")
    obstacle = _obstacle(source)
    if loader == "dali":
        if obstacle:
            raise UserError(f"--loader dali: {obstacle}; leave --loader out, or give --loader soundfile")
        return Choice("dali", "as --loader says")
    if obstacle:
        return Choice("soundfile", obstacle)
    return Choice("dali", "it decodes fastest")


def dali_missing() -> str | None:
    """Why DALI cannot run here; None if it can. The first call imports DALI, which takes a second or two."""
    if importlib.util.find_spec("nvidia") is None or importlib.util.find_spec("nvidia.dali") is None:
        return "DALI is not installed (pip has it for Linux only)"
    try:
        importlib.import_module("nvidia.dali")
    except Exception as error:  # any error, also of its own libraries: soundfile reads the files instead
        return f"DALI does not load ({first_line(error)})"
    return None


def _obstacle(source: EncodedClips) -> str | None:
    """Why DALI cannot read a source; None if it can."""
    if torch.version.hip is not None:
        return "DALI does not run on AMD's GPUs"
    if foreign := sorted(source.formats - _DALI_FORMATS):
        return f"DALI reads no {' or '.join(foreign)} files"
    return dali_missing()


def batches(
    source: ClipSource,
    rows: Iterable[Tensor],
    *,
    device: torch.device,
    loader: str = "auto",
    workers: int | None = None,
    prefetch: int = 2,
    report: Callable[[Skipped], None],
    remarks: Remarks | None = None,
    may_be_empty: bool = False,
) -> Generator[Batch]:
    """Yield batches of a source's clips, prepared ahead of their use.

    Only `rows` decides the order. An unreadable clip is reported once and replaced by the next readable clip of its
    batch (after the last comes the first); if there is none, by the next one of the source. No thread is left running
    once the iterator is closed, exhausted, or raises.

    Args:
        source: clips in memory, packs or `EncodedClips`.
        rows: [B] int64 each, possibly endless. They are drawn up to `prefetch` batches ahead, in the caller's thread,
            so a sampler's state may be that many batches ahead of the current batch.
        device: of the batches.
        loader: see `choose_loader`.
        workers: threads; None: one per core. Does not change the batches.
        prefetch: batches prepared beside the current one, 1 or more.
        report: called for each clip that cannot be read, in the caller's thread.
        remarks: takes what is odd about recordings that are decoded.
        may_be_empty: a batch without a readable clip returns silence instead of raising.

    Returns:
        A batch per item of `rows`. The wave is int16, or float32 with full scale ±1 for encoded files, padded with
        zeros. On a GPU the loader reuses its memory: copy what must outlive the next batch.

    Raises:
        UserError: see `choose_loader`; `workers` or `prefetch` below 1; while iterating, unless `may_be_empty`: no
            clip of a batch can be read, nor any of the 100 that follow it in the source.
    """
    choice = choose_loader(source, loader, device)
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}; give 1 or more, or leave it out for one a core")
    if prefetch < 1:
        raise UserError(f"prefetch is {prefetch}; give 1 or more")
    known: dict[int, str] = {}
    noted = remarks or Remarks()
    named: set[str] = set()

    def tell(skipped: Skipped) -> None:
        if skipped.file not in named:  # windows of one recording go bad together
            named.add(skipped.file)
            report(skipped)

    def build() -> Maker:
        if isinstance(source, Clips):
            return FromMemory(source)  # an index into memory, in the caller's thread
        by_row = RowByRow(source, workers or cores(), known, noted, device)
        if choice.name != "dali":
            return by_row
        from .dali import Dali  # imports nvidia.dali, which takes seconds and may be missing

        return Dali(by_row, device)

    return _run(source, iter(rows), build, known, noted, device, prefetch, tell, may_be_empty)


def _run(
    source: ClipSource,
    rows: Iterator[Tensor],
    build: Callable[[], Maker],
    known: dict[int, str],
    remarks: Remarks,
    device: torch.device,
    prefetch: int,
    report: Callable[[Skipped], None],
    may_be_empty: bool,
) -> Generator[Batch]:
    maker = build()
    pending: deque[tuple[Tensor, Any]] = deque()
    try:
        while True:
            while len(pending) <= prefetch and (wanted := next(rows, None)) is not None:
                pending.append((wanted, maker.start(wanted.tolist())))
            if not pending:
                return
            wanted, started = pending.popleft()
            wave, lengths, reasons = maker.finish(started)
            if reasons:
                taken = _replacements(len(wanted), reasons)
                for place, reason in reasons.items():
                    if (row := int(wanted[place])) not in known:
                        known[row] = reason
                        report(Skipped(source.goes_bad_with(row), reason))
                wanted = wanted.clone()
                if taken is not None:
                    for column in (wave, lengths, wanted):
                        column[list(taken)] = column[list(taken.values())]
                elif may_be_empty:
                    wave, lengths = torch.zeros_like(wave), torch.full_like(lengths, wave.shape[1])
                else:
                    row, samples = _next_readable(source, int(wanted[0]), reasons[0], known, remarks, report)
                    wave.zero_()[:, : len(samples)] = torch.from_numpy(samples).to(wave.device)
                    lengths[:], wanted[:] = len(samples), row
            targets = source.present(wanted).float()
            yield Batch(*(_on(part, device) for part in (wave, lengths, targets)))
    finally:
        maker.close()


def _on(part: Tensor, device: torch.device) -> Tensor:
    """Copy to the device without waiting; a copy from unpinned memory would wait for the step before."""
    if device.type == "cuda" and part.device.type == "cpu" and not part.is_pinned():
        part = part.pin_memory()
    return part.to(device, non_blocking=True)


def _replacements(count: int, bad: dict[int, str]) -> dict[int, int] | None:
    """{bad place: the next good one, wrapping round}; None if none is good."""
    good = [place for place in range(count) if place not in bad]
    return {place: next((g for g in good if g > place), good[0]) for place in bad} if good else None


def _next_readable(
    source: ClipSource,
    row: int,
    reason: str,
    known: dict[int, str],
    remarks: Remarks,
    report: Callable[[Skipped], None],
) -> tuple[int, NDArray[Any]]:
    """The next readable clip after `row`, wrapping round; whatever was read before, so a resumed run finds it too."""
    place, clip = divmod(row, len(source))
    for behind in range(1, min(len(source), 1 + _FOLLOWING)):
        other = (clip + behind) % len(source) + len(source) * place
        if not isinstance(samples := read_row(source, other, known, remarks), str):
            return other, samples
        if other not in known:
            known[other] = samples
            report(Skipped(source.goes_bad_with(other), samples))
    raise UserError(
        f"no clip of a batch can be read, nor any that follows ({source.name_of(row)}: {reason}); "
        "check that the data is there"
    )
