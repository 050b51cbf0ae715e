"""Which implementation runs, and what is said where a fused one is missing."""

import pathlib
from typing import Any

import pytest
import torch

from glat.kernels import _dispatch, implementations


def test_every_device_type_has_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_dispatch._missing, "cpu", None)
    monkeypatch.setitem(_dispatch._missing, "cuda", "triton is not installed")
    assert implementations("cpu") == {"select_crops": "C++"}
    assert implementations("cuda") == {"select_crops": "reference (triton is not installed)"}
    assert implementations("xpu") == {"select_crops": "reference (there is no kernel for 'xpu' devices)"}


def test_a_second_operator_is_a_line_in_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_dispatch.KERNELS, "second", {"cuda": "Triton"})
    monkeypatch.setattr(_dispatch, "_missing", dict.fromkeys(_dispatch._missing))
    assert implementations("cpu") == {
        "select_crops": "C++",
        "second": "reference (there is no kernel for 'cpu' devices)",
    }
    assert implementations("cuda") == {"select_crops": "Triton", "second": "Triton"}
    assert implementations("meta") == {"select_crops": "shape rule", "second": "shape rule"}


@pytest.mark.parametrize(("content", "said"), [(None, "was not built"), (b"no library", "does not load")])
def test_a_library_that_cannot_be_loaded_is_explained(
    content: bytes | None, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    if content is not None:
        (tmp_path / _dispatch.CPU_LIBRARY).write_bytes(content)
    monkeypatch.setattr(_dispatch.importlib.resources, "files", lambda package: tmp_path)
    monkeypatch.setattr(_dispatch, "_missing", dict(_dispatch._missing))
    _dispatch.find_fused()
    missing = _dispatch.fused_missing("select_crops", "cpu")
    assert missing is not None
    assert _dispatch.CPU_LIBRARY in missing
    assert said in missing


@pytest.mark.parametrize("blocked", [ImportError("blocked"), ValueError("triton.__spec__ is None")])
def test_a_triton_that_cannot_be_looked_up_is_missing(blocked: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str, package: Any = None) -> Any:
        raise blocked

    monkeypatch.setattr(_dispatch.importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(_dispatch, "_load_cpu_library", lambda: None)
    monkeypatch.setattr(_dispatch, "_missing", dict(_dispatch._missing))
    _dispatch.find_fused()
    assert _dispatch.fused_missing("select_crops", "cuda") == f"triton cannot be imported: {blocked}"


def test_every_operator_has_every_key() -> None:
    for name in ("select_crops", "select_crops_into", "select_crops_backward"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"glat::{name}", "CompositeExplicitAutograd")
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"glat::{name}", "CUDA")
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"glat::{name}", "Meta")
        has_cpu = torch._C._dispatch_has_kernel_for_dispatch_key(f"glat::{name}", "CPU")
        assert has_cpu == (_dispatch.fused_missing("select_crops", "cpu") is None)
