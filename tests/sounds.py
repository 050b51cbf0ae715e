"""Sounds, sound files and tar files that tests make."""

import io
import tarfile

import numpy as np
import soundfile

RATE = 32_000


def noise(seconds=0.25, rate=RATE, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate)).astype(np.float32)


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
