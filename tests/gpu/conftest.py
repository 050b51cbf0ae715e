"""Tests that need a GPU. Elsewhere they are skipped, all with one line.

``GLAT_GPU_TESTS_ON=cpu`` runs their bodies on the CPU, in small and uncompiled: they are written where there is no GPU,
and first run where nobody can correct them. ``GLAT_GPU_QUICK=1`` takes fewer networks (`make gpu QUICK=1`).
"""

from pathlib import Path

import pytest
import torch
from flags import TWO_SECONDS
from processes import ROOT, finish, start

from bench.limits import products

from .small import ON, Size


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def size() -> Size:
    return Size(torch.device(ON))


@pytest.fixture
def exact():
    """Float32 products without TF32: what is compared with a CPU."""
    with products(tf32=False):
        yield


@pytest.fixture(scope="session")
def flags(size):
    """Flags of train.py for a run of minutes on a GPU, and of seconds on a CPU."""
    small = ("--train-clips", 64, "--eval-clips", 16, "--seed", 1)
    if size.on_gpu:
        return (*small, "--width", 0.25, "--batch-size", 8, "--amp", "--log-every", 1)
    return (*TWO_SECONDS, *small, "--log-every", 1, "--compile", "off", "--amp")


@pytest.fixture(scope="session")
def train():
    """Run train.py to its end; returns what it printed."""

    def run(*arguments, command=(str(ROOT / "train.py"),), status=0, timeout=400):
        found, said, complained = finish(start(*arguments, command=command), timeout=timeout)
        assert found == status, said + complained
        return said

    return run
