"""HDF5 files of other programs."""

import h5py
import numpy as np
from cases.containers import sound

RATE, SECONDS, CLIPS = 32_000, 0.5, 10
CLASSES = ("a", "b")


def waves():
    return np.stack([sound(SECONDS, RATE, i) for i in range(CLIPS)])


def whole():
    return (waves() * 32_767).astype(np.int16)


def eye():
    return np.eye(2, dtype=bool)[np.arange(CLIPS) % 2]


def pack(root, waveform=None, target=None):
    """As PANNs' programs write one, with the names of the classes."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "x.h5"
    with h5py.File(path, "w") as file:
        file["audio_name"] = np.array([f"Y{i}.wav" for i in range(CLIPS)], "S20")
        file["waveform"] = whole() if waveform is None else waveform
        file["target"] = eye() if target is None else target
        file.attrs["sample_rate"] = RATE
        file.create_dataset("classes", data=CLASSES, dtype=h5py.string_dtype())
    return path


def virtual(root):
    """The halves of the rows in two datasets, in the other order."""
    path = pack(root)
    half = CLIPS // 2
    with h5py.File(path, "a") as file:
        rows = file["waveform"][:]
        del file["waveform"]
        file["second"], file["first"] = rows[half:], rows[:half]
        layout = h5py.VirtualLayout(rows.shape, rows.dtype)
        layout[:half] = h5py.VirtualSource(".", "first", (half, rows.shape[1]))
        layout[half:] = h5py.VirtualSource(".", "second", (half, rows.shape[1]))
        file.create_virtual_dataset("waveform", layout)
    return path


def soft(root):
    return pack(root, target=eye() * 0.7 + 0.05)


def no_probability(root):
    return pack(root, target=eye() * 3.5)


def flipped_name(root):
    """One bit of one name in PANNs' style."""
    path = pack(root)
    with h5py.File(path, "a") as file:
        names = [f"Y{i:011d}.wav" for i in range(CLIPS)]
        names[3] = names[3].replace(".wav", ".uav")
        file["audio_name"][:] = np.array(names, "S20")
    return path


def unlabelled_row(root):
    return pack(root, target=eye() & (np.arange(CLIPS) != 2)[:, None])


def on_the_scale_of_int16(root):
    return pack(root, waveform=(waves() * 32_767).astype(np.float32))
