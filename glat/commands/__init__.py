"""The `glat` commands, one file each: a frozen dataclass whose fields are the flags, and whose call does the work.

A call returns the exit status. `COMMANDS` names them without importing them.
"""

from typing import NamedTuple


class Command(NamedTuple):
    """Where a command is: a module of this package, its class, and what `glat --help` says of it."""

    module: str
    name: str
    help: str


COMMANDS = {
    "train": Command("train", "run", "Train a model; the flags are those of train.py."),
    "tag": Command("tag", "Tag", "Say what sounds in recordings, and which seconds decided it."),
    "export": Command(
        "export", "Export", "Write a trained model as one file for other programs (.onnx, .pt2), compared with the run."
    ),
    "demo": Command(
        "demo",
        "Demo",
        "Open a page to try a model: drop or record a sound, see and hear what decided.",
    ),
    "evaluate": Command(
        "evaluate",
        "Evaluate",
        "Score a run: mAP, mAUC and d' of the global stream, the local stream and their fusion, with 95 % intervals.",
    ),
    "plot": Command(
        "plot",
        "Plot",
        "Draw the curves of runs, the classes that fusion helps or harms, where the crops start, and PSDS and F1.",
    ),
    "sweep": Command(
        "sweep",
        "Sweep",
        "Train one run per number and length of crops, and draw mAP against both; or the runs that a file names.",
    ),
    "push": Command("push", "Push", "Push a run onto the Hugging Face Hub, with a card written from it."),
    "pack": Command(
        "pack",
        "Pack",
        "Pack recordings into HDF5 files with the layout of PANNs; run again after a stop, it continues.",
    ),
    "check-data": Command(
        "check_data", "CheckData", "Decode every recording and say what would hurt training; --data may also be packs."
    ),
    "costs": Command(
        "costs", "CountCosts", "Count parameters and FLOPs of every backbone, alone and in GL-AT, without running it."
    ),
    "doctor": Command(
        "doctor",
        "Doctor",
        "Print versions and devices, which implementation of each operator will run, and what is missing.",
    ),
}
