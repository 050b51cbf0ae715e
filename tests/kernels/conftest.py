"""Fixtures of the operators' tests."""

from collections.abc import Iterator

import pytest
import torch

from glat.kernels.testing import need_fused


@pytest.fixture(params=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request: pytest.FixtureRequest) -> str:
    """Every device here that has a fused kernel."""
    need_fused(request.param)
    return request.param


@pytest.fixture
def poison() -> Iterator[None]:
    """Memory from torch.empty starts as NaN, so that an output not written shows."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def three_threads() -> Iterator[None]:
    """More threads than clips, so that threads share a clip and a crop."""
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)
