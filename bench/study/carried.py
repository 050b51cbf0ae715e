"""Recordings with folds as a small folder, to be carried to a machine without network."""

import csv
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from glat.data.parallel import in_parallel
from glat.data.recordings.audio import read_clip
from glat.data.recordings.decoding import UnreadableAudio
from glat.data.recordings.manifest import read_manifest
from glat.data.soundscapes.mix import trim
from glat.errors import UserError
from glat.files import replaced
from glat.frontend import LogMel, to_float

BLOCK = 1 << 16  # samples; libsndfile's Vorbis encoder has overflowed its stack on longer ones
NOTICE = """The recordings of {table}, changed: mixed down to one channel, resampled to {rate} Hz, cut to what lies
between the first and the last sample that is not 0 in 16 bits, and encoded as {codec}.

{table} names their sources, authors and licences, as the table did that they were taken from. The licences hold for the
changed recordings too.
"""


@dataclass(frozen=True)
class Codec:
    """How a recording is written."""

    title: str
    suffix: str
    subtype: str
    compression: float | None = None  # of libsndfile, 0 to 1


# From the most exact to the smallest.
CODECS = (
    Codec("FLAC, 16 bits", ".flac", "PCM_16"),
    *(Codec(f"Vorbis, quality {1 - c:.2g}", ".ogg", "VORBIS", c) for c in (0.0, 0.1, 0.2, 0.3, 0.5)),
)


class Distance(NamedTuple):
    """Of what is decoded again from what was encoded, by recording."""

    snr_db: NDArray[np.float64]  # infinite where nothing was lost
    log_mel_db: NDArray[np.float64]  # mean of the absolute differences of the log-mels

    def said(self) -> str:
        if np.isinf(self.snr_db).all():
            return "nothing"
        snr = f"{np.median(self.snr_db):.0f} dB SNR (median; the lowest {self.snr_db.min():.0f})"
        return f"{snr}; log-mels are {self.log_mel_db.mean():.2f} dB off on average"


def carry(table: Path, to: Path, megabytes: float, rate: int) -> Iterator[str]:
    """Write the recordings of a table into a new folder, by the first of `CODECS` that makes it small enough.

    Args:
        table: a CSV with the columns file and label, such as esc10.csv; its other columns are kept.
        to: the folder, with a table of the same name.
        megabytes: 10^6 bytes that the folder may hold.
        rate: Hz.

    Returns:
        Lines to print: each codec that was tried, and what was lost.

    Raises:
        UserError: no such table; `to` is there and not empty; an unreadable recording; no codec makes it small enough.
    """
    if to.exists() and any(to.iterdir()):
        raise UserError(f"--to {to} is there and not empty; choose another, or remove it")
    with table.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    recordings = read_manifest(table).recordings
    if [recording.name for recording in recordings] != [row.get("file") for row in rows]:
        raise UserError(f"--data {table}: wanted a CSV with a column called file, and one recording a line")

    def heard(i: int) -> NDArray[np.int16]:
        try:
            return trim(read_clip(recordings[i].path, rate, None).wave)
        except UnreadableAudio as error:
            raise UserError(f"--data {table}: {error}") from error

    waves = in_parallel(heard, len(recordings), None)
    seconds = sum(map(len, waves)) / rate
    yield f"{len(waves)} recordings, {seconds:.0f} s of sound at {rate} Hz, of at most {megabytes:g} MB"
    to.parent.mkdir(parents=True, exist_ok=True)
    for codec in CODECS:
        with tempfile.TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent) as temporary:
            folder = Path(temporary) / "folder"
            distance = _written(folder, table.name, rows, waves, rate, codec)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
            said = f"{codec.title}: {size:.1f} MB"
            if size <= megabytes:
                if to.exists():
                    to.rmdir()
                shutil.move(folder, to)
                yield f"{said}: {to}"
                yield f"lost by it: {distance.said()}"
                return
            yield f"{said}: too large"
    raise UserError(f"the recordings take {said} at the least; give --megabytes {np.ceil(size):.0f}, or fewer of them")


def _written(
    folder: Path, name: str, rows: list[dict[str, str]], waves: list[NDArray[np.int16]], rate: int, codec: Codec
) -> Distance:
    """Write the folder, and hear it."""
    files = [Path(row["file"]).with_suffix(codec.suffix) for row in rows]
    for i, file in enumerate(files):
        if file.is_absolute() or ".." in file.parts or file in files[:i]:
            raise UserError(f"{rows[i]['file']} has no place of its own in a folder; rename it")
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
    log_mel = LogMel(rate, f_max_hz=min(14_000.0, rate / 2))
    to_hear = log_mel.fft_samples  # shorter ones cannot be reflected at their ends

    def write(i: int) -> tuple[float, float]:
        wave, path = waves[i], folder / files[i]
        with soundfile.SoundFile(
            path, "w", rate, 1, subtype=codec.subtype, compression_level=codec.compression
        ) as stream:
            for first in range(0, len(wave), BLOCK):
                part = wave[first : first + BLOCK].astype(np.int32)
                # What reads it scales by 32767 / 32768 and truncates: one more, away from 0, comes back as it was.
                stream.write((part + np.sign(part)).clip(-32768, 32767).astype(np.int16))
        again = np.zeros(max(len(wave), to_hear), np.int16)
        decoded = read_clip(path, rate, len(wave) / rate).wave
        again[: len(decoded)] = decoded
        exact = np.zeros_like(again)
        exact[: len(wave)] = wave
        sound, error = exact.astype(np.float64), again.astype(np.float64) - exact
        snr = 10 * np.log10((sound**2).sum() / (error**2).sum()) if error.any() else np.inf
        with torch.inference_mode():
            one, other = (log_mel(to_float(torch.from_numpy(side)[None])) for side in (exact, again))
        return float(snr), float((one - other).abs().mean())

    found = np.array(in_parallel(write, len(waves), None))
    with replaced(folder / name) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"file": file.as_posix()} for row, file in zip(rows, files, strict=True))
    (folder / "NOTICE.txt").write_text(NOTICE.format(table=name, rate=rate, codec=codec.title), encoding="utf-8")
    return Distance(found[:, 0], found[:, 1])


def table_in(data: Path) -> Path:
    """The table of a folder that `carry` wrote; a table itself as it is.

    Raises:
        UserError: a folder with no CSV, or several.
    """
    if not data.is_dir():
        return data
    found = sorted(data.glob("*.csv"))
    if len(found) != 1:
        seen = ", ".join(path.name for path in found) or "none"
        raise UserError(f"--data {data}: wanted one CSV in it, seen: {seen}; name the CSV")
    return found[0]
