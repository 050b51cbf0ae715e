"""Sounds, sound files and tar files that tests make."""

import io
import tarfile

import numpy as np
import soundfile

from glat.config import DataConfig
from glat.data import Clips, Targets, load, load_for_evaluation

RATE = 32_000


def noise(seconds=0.25, rate=RATE, seed=0, peak=0.5):
    return np.random.default_rng(seed).uniform(-peak, peak, round(seconds * rate)).astype(np.float32)


def add_recording(table, name, samples, label, fold, rate=RATE, subtype="FLOAT"):
    """Write a sound beside a CSV and a line about it into the CSV, which is made where it is missing."""
    table.parent.mkdir(exist_ok=True)
    path = table.parent / name
    soundfile.write(path, samples, rate, subtype=subtype)
    header = "" if table.exists() else "file,label,fold\n"
    with table.open("a") as stream:
        stream.write(f"{header}{name},{label},{fold}\n")
    return path


def encoded(samples, rate=RATE, kind="WAV", subtype="PCM_16"):
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


HOW = ("loader", "seed", "workers", "mixer")


def opened(data, *, sample_rate_hz=RATE, evaluation_only=False, **options):
    """What `load` (`load_for_evaluation`) opens; the options that are no argument of it are fields of `DataConfig`."""
    how = {name: options.pop(name) for name in HOW if name in options}
    open_ = load_for_evaluation if evaluation_only else load
    return open_(DataConfig(data=data, **options), sample_rate_hz, **how)


def in_memory(waves, lengths, labels, classes, rate=RATE):
    """Clips named a, b, ... with the classes' indices of each."""
    return Clips(
        waves=waves,
        lengths=lengths,
        targets=Targets.from_labels(labels, len(classes)),
        names=tuple("abcdefghijklmnopqrstuvwxyz"[: len(waves)]),
        classes=classes,
        sample_rate_hz=rate,
        clip_samples=waves.shape[1],
    )
