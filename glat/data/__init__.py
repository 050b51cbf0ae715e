"""Data sets: folders, CSV tables, packs, tar files and soundscapes, and the batches that are made of them."""

from .clips import Batch, Clips, ClipSource, Data, Event, Skipped, fingerprint
from .loading.batches import batches, choose_loader
from .recordings.audio import read_audio
from .recordings.decoding import UnreadableAudio
from .soundscapes.mix import Mixer
from .sources.load import load, load_for_evaluation
from .targets import Targets

__all__ = [
    "Batch",
    "ClipSource",
    "Clips",
    "Data",
    "Event",
    "Mixer",
    "Skipped",
    "Targets",
    "UnreadableAudio",
    "batches",
    "choose_loader",
    "fingerprint",
    "load",
    "load_for_evaluation",
    "read_audio",
]
