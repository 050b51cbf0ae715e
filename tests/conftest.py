"""What the tests share: the recorded outputs of the original programs, where they are to be had."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


# Of several processes that test at once, each computes on its share of the cores: threads that wait for a core that
# another process has waste what they wait. Set before torch is imported, and inherited by what the tests start.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))))

# The files that take longest go first, so that what is left at the end is short and all processes end together.
FIRST = (
    *("kernels/test_crops_interpreter.py", "kernels/test_crops_ahead_of_time.py", "glat/test_compiled_gradients.py"),
    *("test_distributed.py", "test_stress.py", "test_study.py", "test_train.py", "glat/test_backbones.py"),
    *("test_wheel.py", "test_commands_sweep.py", "test_examples.py", "test_pages.py", "glat/export/test_onnx.py"),
    *("glat/test_model.py", "glat/test_own_network.py", "test_make_gpu.py", "test_golden.py", "test_terminal.py"),
    *("glat/training/test_learner.py", "glat/training/test_step.py", "kernels/test_crops_executed.py"),
)
RANKS = {(Path(__file__).parent / name): rank for rank, name in enumerate(FIRST)}

LONG = {"compiled": "minutes of compilation: make test-compiled", "exports": "minutes of exports: make test-exports"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: RANKS.get(item.path, len(RANKS)))  # which keeps the order within a file
    for marker, reason in LONG.items():
        if marker not in config.getoption("-m"):
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _forget_compiled_code() -> Iterator[None]:
    """torch.compile counts how often it compiled a function, and gives up at a limit, over all tests of a session."""
    yield
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As users have them: Inductor writes other code for one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of recorded outputs; the test is skipped where it is missing."""
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip(f"the recorded outputs are not beside the repository ({folder})")
    return folder


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of tools that run compiled kernels on a CPU; the test is skipped where it is missing."""
    folder = SHARED / "tools"
    if not (folder / "ptx_run.py").is_file():
        pytest.skip(f"the tools are not beside the repository ({folder})")
    return folder


@pytest.fixture(scope="session")
def rebuild(golden: Path) -> ModuleType:
    """The module that rebuilds the inputs and weights behind the recorded outputs."""
    spec = importlib.util.spec_from_file_location("rebuild", golden / "rebuild.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def esc10() -> Path:
    """The CSV of 320 field recordings; the test is skipped where it is missing."""
    path = SHARED / "data" / "esc10" / "esc10.csv"
    if not path.is_file():
        pytest.skip(f"ESC-10 is not beside the repository ({path})")
    return path


@pytest.fixture(scope="session")
def audioset() -> Path:
    """The folder of AudioSet's class labels and DCASE 2017's lists; the test is skipped where it is missing."""
    folder = SHARED / "data" / "audioset"
    if not folder.is_dir():
        pytest.skip(f"AudioSet's tables are not beside the repository ({folder})")
    return folder
