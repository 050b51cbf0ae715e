"""Loading by DALI, by soundfile with soxr, from packs, and from packs as PANNs' programs do.

PANNs' way is a DataLoader whose worker opens the HDF5 file for each sample and converts it to float32.
"""

import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from glat.data import ClipSource
from glat.data.loading.batches import batches
from glat.data.packs.read import open_packs
from glat.data.recordings.audio import read_audio, to_int16
from glat.data.recordings.encoded import EncodedClips, encoded_from_manifest, encoded_from_tar
from glat.data.recordings.recording import Recording
from glat.frontend import to_float

from ..work import clip_work

RATE, SECONDS, CLIPS, B = 32_000, 10, 64, 32
S = RATE * SECONDS
ORDER = [rows.clone() for rows in torch.randperm(CLIPS, generator=torch.Generator().manual_seed(0)).split(B)]
INT16 = "glat, int16 batches"  # as they go to a GPU, which makes them float
KINDS = {  # rate, suffix, subtype, epochs a round
    "wav 32 kHz": (RATE, "wav", "PCM_16", 6),
    "wav 44.1 kHz": (44_100, "wav", "PCM_16", 1),
    "flac 44.1 kHz": (44_100, "flac", "PCM_16", 1),
    "ogg 44.1 kHz": (44_100, "ogg", "VORBIS", 1),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sound(clip: int, rate: int) -> NDArray[np.float32]:
    """Noise that falls with frequency, as recordings do: lossless formats then compress it as they do them."""
    noise = np.random.default_rng(clip).standard_normal(rate * SECONDS)
    spectrum = np.fft.rfft(noise)
    spectrum /= np.sqrt(np.arange(len(spectrum)) + 1.0)
    pink = np.fft.irfft(spectrum, len(noise))
    return np.asarray(0.5 * pink / np.abs(pink).max(), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for kind, (rate, suffix, subtype, _) in KINDS.items():
        (folder / kind).mkdir()
        for clip in range(CLIPS):
            # Formats that take longest are given 16 different clips.
            path = folder / kind / f"{clip}.{suffix}"
            if rate != RATE and clip >= 16:
                path.hardlink_to(folder / kind / f"{clip % 16}.{suffix}")
            else:
                soundfile.write(path, sound(clip, rate), rate, subtype)
    with tarfile.open(folder / "x.tar", "w") as tar:
        (folder / "label").write_text("a")
        for clip in range(CLIPS):
            tar.add(folder / "wav 32 kHz" / f"{clip}.wav", f"{clip}.wav")
            tar.add(folder / "label", f"{clip}.txt")
    waves = np.stack([to_int16(read_audio(folder / "wav 32 kHz" / f"{clip}.wav", RATE)) for clip in range(CLIPS)])
    for name, packed in (("int16", waves), ("float32", waves.astype(np.float32) / 32767)):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["audio_name"] = np.array([f"{clip}.wav".encode() for clip in range(CLIPS)], "S20")
            file["waveform"] = packed
            file["target"] = np.ones((CLIPS, 1), bool)
            file.attrs["sample_rate"] = np.int32(RATE)
    (folder / "labels.csv").write_text("index,mid,display_name\n0,/m/a,a\n")
    return folder


def files(folder: Path, kind: str) -> EncodedClips:
    recordings = [Recording(f"{clip}", folder / kind / f"{clip}.{KINDS[kind][1]}", ("a",)) for clip in range(CLIPS)]
    source, _ = encoded_from_manifest(recordings, ("a",), sample_rate_hz=RATE, clip_seconds=SECONDS)
    return source


class OpenedPerSample(Dataset[dict[str, Any]]):
    """PANNs' way to read a row."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, row: int) -> dict[str, Any]:
        with h5py.File(self.path, "r") as file:
            samples = file["waveform"][row]
            wave = (samples / 32767.0).astype(np.float32) if samples.dtype == np.int16 else samples
            return {"name": file["audio_name"][row], "wave": wave, "target": file["target"][row].astype(np.float32)}


def stacked(samples: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    return {key: np.array([sample[key] for sample in samples]) for key in samples[0]}


def panns_waves(path: Path, order: Iterable[Tensor]) -> Iterable[Tensor]:
    rows = [each.tolist() for each in order]
    loader = DataLoader(
        OpenedPerSample(path), batch_sampler=rows, collate_fn=stacked, num_workers=1, multiprocessing_context="fork"
    )
    for batch in loader:
        yield torch.from_numpy(batch["wave"])


def waves_of(source: ClipSource, order: Iterable[Tensor], loader: str = "auto") -> Iterator[Tensor]:
    cpu = torch.device("cpu")
    for batch in batches(
        source, order, device=cpu, loader=loader, workers=1, report=lambda skipped: pytest.fail(str(skipped))
    ):
        yield batch.wave


def drained(waves: Callable[[Iterable[Tensor]], Iterable[Tensor]], epochs: int) -> Callable[[], int]:
    """A competitor that loads some epochs and drops the batches."""
    return lambda: sum(len(wave) for wave in waves(ORDER * epochs))


def check(waves: Iterable[Tensor], expected: Callable[[int], Tensor], tolerance: float) -> None:
    for wave, rows in zip(waves, ORDER, strict=True):
        for place, row in enumerate(rows.tolist()):
            assert wave[place].shape == (S,)
            assert (wave[place].double() - expected(row).double()).abs().max() <= tolerance  # int16 would wrap around


@pytest.mark.parametrize("kind", [*KINDS, "tar of wav 32 kHz"])
def test_encoded(kind: str, folder: Path, benchmark: Any, rates: Any) -> None:
    if kind.startswith("tar"):
        source, _ = encoded_from_tar([folder / "x.tar"], sample_rate_hz=RATE, clip_seconds=SECONDS)
        rate, suffix, _, epochs = KINDS["wav 32 kHz"]
        paths = folder / "wav 32 kHz"
    else:
        source, paths = files(folder, kind), folder / kind
        rate, suffix, _, epochs = KINDS[kind]

    def expected(row: int) -> Tensor:
        return torch.from_numpy(read_audio(paths / f"{row}.{suffix}", RATE))

    competitors = {}
    for name in ("dali", "soundfile"):
        check(waves_of(source, ORDER, name), expected, 0.0 if rate == RATE else 1e-5)
        competitors[name] = drained(lambda order, name=name: waves_of(source, order, name), epochs)  # type: ignore[misc]
    first = next(waves_of(source, ORDER, "dali"))
    file_bytes = sum((paths / f"{row}.{suffix}").stat().st_size for row in range(CLIPS)) / CLIPS
    work = clip_work(file_bytes, S, first.element_size(), source_samples=rate * SECONDS if rate != RATE else None)
    finished = rates(kind, competitors, work=work, rounds=3 if rate == RATE else 2)
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors["dali"], rounds=1)
    if kind == "wav 32 kHz":  # what the project promises
        assert 1 / finished.by_processor.fastest["dali"] >= 1_500, "clips a second of processor time"
    if rate == RATE:
        finished.promise("dali", 1.5, "soundfile")


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_hdf5(dtype: str, folder: Path, benchmark: Any, rates: Any) -> None:
    path = folder / f"{dtype}.h5"
    source = open_packs(path, folder / "labels.csv")
    with h5py.File(folder / "int16.h5") as file:
        packed = torch.from_numpy(file["waveform"][:])

    def as_float(order: Iterable[Tensor]) -> Iterable[Tensor]:
        return (to_float(wave) for wave in waves_of(source, order))

    lost = 0 if dtype == "int16" else 1  # float32 rows lose a bit on their way through int16
    check(waves_of(source, ORDER), lambda row: packed[row], lost)
    check(as_float(ORDER), lambda row: to_float(packed[row]), 1.01 * lost / 32767)
    check(panns_waves(path, ORDER), lambda row: to_float(packed[row]), 1e-7)
    competitors = {
        "glat": drained(as_float, 6),
        "PANNs' way": drained(lambda order: panns_waves(path, order), 6),
        INT16: drained(lambda order: waves_of(source, order), 6),
    }
    row_bytes, what = (2, "S·2") if dtype == "int16" else (4, "S·4")
    works = [clip_work(row_bytes * S, S, size, what) for size in (4, 2)]
    finished = rates(f"HDF5 {dtype}", competitors, work=works[0], others={INT16: works[1]})
    finished.record(benchmark.extra_info)
    benchmark.pedantic(competitors["glat"], rounds=1)
    if dtype == "int16":
        finished.promise("glat", 3, "PANNs' way")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("loader", ["dali", "soundfile"])
def test_memory_is_flat_over_fifty_epochs(loader: str, folder: Path, benchmark: Any) -> None:
    source = files(folder, "wav 32 kHz")

    def epochs(count: int) -> int:
        for _ in range(count):
            for _ in waves_of(source, torch.arange(16).split(4), loader):
                pass
        return resident_bytes()

    early = epochs(10)
    late = benchmark.pedantic(lambda: epochs(40), rounds=1)
    benchmark.extra_info["grown_bytes"] = late - early
    assert late - early < 32 << 20, f"{(late - early) / 2**20:.0f} MiB more after 40 epochs"
