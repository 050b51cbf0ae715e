"""Limits of benchmarks: work over measured rates, exact products, and that every race states its work."""

import ast
import inspect

import pytest
import torch
from processes import ROOT
from races import RATES

from bench.limits import Work, convolution_dtype, measured_rates, products
from bench.race import Race


def test_products_are_exact_where_results_are_compared_and_as_they_were_afterwards():
    convolutions, matrices = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, matrices.allow_tf32
    for tf32 in (False, True):
        with products(tf32):
            assert (convolutions.allow_tf32, matrices.allow_tf32) == (tf32, tf32)
            assert convolution_dtype("cuda") == ("tf32" if tf32 else "float32")
            assert convolution_dtype("cpu") == "float32"
        assert (convolutions.allow_tf32, matrices.allow_tf32) == before


def test_the_limit_is_the_longer_of_moving_and_computing():
    assert Work("x", bytes=2e9).limit(RATES) == (2.0, "bytes")
    assert Work("x", bytes=2e9, flop=1e11).limit(RATES) == (2.0, "bytes")
    assert Work("x", bytes=2e9, flop=5e11).limit(RATES) == (5.0, "FLOP")


def test_every_benchmark_states_what_its_task_asks_for():
    assert inspect.signature(Race).parameters["work"].default is inspect.Parameter.empty
    for formula, count in (("", 1.0), ("x", 0.0)):
        with pytest.raises(AssertionError):
            Work(formula, bytes=count)
    races, without = 0, []
    for path in sorted((ROOT / "bench").glob("*/bench_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"race", "rates"}:
                races += 1
                stated = [keyword.value for keyword in node.keywords if keyword.arg == "work"]
                if not stated or (isinstance(stated[0], ast.Constant) and stated[0].value is None):
                    without.append(f"{path.name}:{node.lineno}")
    assert races >= 12
    assert not without


def test_rates_count_bytes_read_and_written_and_two_flop_a_product(monkeypatch):
    monkeypatch.setattr("bench.limits.COPY_BYTES", {"cpu": 4096})
    monkeypatch.setattr("bench.limits.GEMM_SIZE", {"cpu": 8})
    found = measured_rates("cpu", timer=lambda call: (call(), 0.5)[1], budget_seconds=0)
    assert found == {"copy": 2 * 4096 / 0.5, "float32": 2 * 256 * 256 * 16 * 16 * 9 / 0.5}  # the convolution: 1 image
