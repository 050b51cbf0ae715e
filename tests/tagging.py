"""A small model and recordings for the tests of tagging."""

import numpy as np
import soundfile
import torch

import glat
from glat.backbones import build

CLASSES = ("hum, low", "hiss", "click", "chirp")
RATE = 32_000


def write_weights(folder):
    """A checkpoint as PANNs' are, of a small CNN10, and the names of its classes."""
    torch.manual_seed(0)
    network = build("cnn10", len(CLASSES), 0.05).eval()
    with torch.no_grad():  # so that the classes differ, and over time
        network.fc_audioset.weight.mul_(40)
        network.fc_audioset.bias.copy_(torch.tensor([0.5, -0.5, 0.0, -1.0]))
    torch.save({"model": network.state_dict()}, folder / "Cnn10.pth")
    (folder / "labels.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    return folder / "Cnn10.pth", folder / "labels.txt"


def sound(seconds, seed=0, rate=RATE):
    """Noise and hum by turns."""
    random = np.random.default_rng(seed)
    n = round(seconds * rate)
    t = np.arange(n) / rate
    loud = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * t / (3 + seed % 3)))
    return (0.02 + 0.2 * loud * random.standard_normal(n) + 0.3 * (1 - loud) * np.sin(2 * np.pi * 200 * t)).astype(
        np.float32
    ) * 0.3


def write_recordings(folder, lengths=(4.0, 23.0, 12.5), rate=44_100):
    """Recordings of these lengths in seconds: a.wav, b.wav, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, seconds in enumerate(lengths):
        soundfile.write(folder / f"{chr(97 + i)}.wav", sound(seconds, i, rate), rate, subtype="PCM_16")
    return [folder / f"{chr(97 + i)}.wav" for i in range(len(lengths))]


def load(weights, **options):
    """The tagger of `write_weights`."""
    return glat.load(weights[0], labels=weights[1], device="cpu", **options)
