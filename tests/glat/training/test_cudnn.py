"""cuDNN's search: when it is on, within which bound, and what is left of it. A GPU is played by a record of calls."""

from types import SimpleNamespace

import pytest
import torch

from glat.training.cudnn import WORKSPACE_BYTES, ConvolutionSearch

TOTAL, HELD = 80 * 2**30, 8 * 2**30


@pytest.fixture
def gpu(monkeypatch):
    """What the allocator was told, in order."""
    told = []
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: HELD)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=TOTAL))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, device: told.append(share))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: told.append("given back"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: told.append("counted anew"))
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    return told


def searching(search, steps):
    """Whether cuDNN searches during each step."""
    seen = []
    for _ in range(steps):
        seen.append(torch.backends.cudnn.benchmark)
        search.after_step()
    return seen


def test_one_step_searches_within_the_first_ones_memory_and_some_more(gpu):
    assert searching(ConvolutionSearch(torch.device("cuda"), in_graphs=False), 5) == [False, True, False, False, False]
    bound, lifted, *rest = gpu
    assert bound * TOTAL == pytest.approx(1.25 * HELD + WORKSPACE_BYTES)
    assert lifted == 1.0
    assert rest == ["given back", "counted anew"]


def test_the_bound_is_never_more_than_there_is(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: TOTAL)
    searching(ConvolutionSearch(torch.device("cuda"), in_graphs=False), 2)
    assert gpu[0] == 1.0


def test_graphs_are_searched_before_they_are_recorded(gpu):
    assert searching(ConvolutionSearch(torch.device("cuda"), in_graphs=True), 5) == [True, True, True, False, False]
    assert gpu == [1.0, "given back", "counted anew"]


def test_a_cpu_is_left_alone(gpu, monkeypatch):
    assert searching(ConvolutionSearch(torch.device("cpu"), in_graphs=False), 3) == [True, True, True]
    assert gpu == []
