"""Flags of `glat train` under which a run takes seconds."""

_SMALL = ("--width", "0.1", "--batch-size", "4", "--num-crops", "2")
TINY = (*_SMALL, "--crop-seconds", "0.5", "--clip-seconds", "1")
TWO_SECONDS = (*_SMALL, "--crop-seconds", "1", "--clip-seconds", "2")
BUILT_IN = (*TWO_SECONDS, "--train-clips", "12", "--eval-clips", "8", "--seed", "1")
