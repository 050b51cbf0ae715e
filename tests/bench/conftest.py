"""A made-up run of the benchmarks."""

import json
from dataclasses import replace

import pytest
from races import RATES, race

from bench.limits import Work


@pytest.fixture
def content():
    """The JSON of a made-up run."""
    ours = race({"glat": [[0.002]] * 3, "eager": [[0.01], [0.016], [0.02]]}, work=Work("B·S <bytes>", bytes=1e6))
    other = replace(ours, subject="training", case="step & more", guarded=True)
    extra = [{}, {}]
    for found, info in zip((ours, other), extra, strict=True):
        found.record(info)
    facts = {"cpu": "Testium 9", "gpu": "none", "commit": "abc123", "torch": "2.13", "torch_threads": 2}
    facts |= {"command": "pytest bench --benchmark-only", "load_average": "0.1", "rates": {"cpu": RATES}}
    gap = {"subject": "kernels", "name": "test_forward[cuda]", "reason": "no GPU", "failed": False}
    return {
        "datetime": "2031-02-03T04:05:06.7",
        "machine_info": {"glat": facts, "node": "private"},
        "benchmarks": [{"name": f"test_{i}", "extra_info": x, "stats": {"data": [1]}} for i, x in enumerate(extra)],
        "not_measured": [gap],
    }


@pytest.fixture
def written(content, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
