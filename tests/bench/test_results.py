"""Runs filed under bench/results, and the pages written from them."""

import json
from dataclasses import replace

import pytest
from processes import ROOT
from races import RATES

from bench import results, roofline
from bench.report import markdown, read_report
from glat.errors import UserError


def test_the_page_on_rooflines_is_what_its_command_prints():
    assert (ROOT / "docs" / "roofline.md").read_text(encoding="utf-8") == roofline.page()


def test_a_run_is_filed_reduced_and_the_readmes_tables_follow_the_newest(content, written, tmp_path, monkeypatch):
    for rows in ("ROWS", "GPU_ROWS"):
        monkeypatch.setattr(results, rows, {("kernels", "forward"): "crops"})
    readme, folder = tmp_path / "README.md", tmp_path / "results"
    comments = [
        f"<!-- {what}: written by make bench-results -->\nold\n<!-- {what}: end -->" for what in ("bench", results.GPU)
    ]
    readme.write_text("\n".join(["before", *comments, "after"]), encoding="utf-8")
    path = results.file_run(written, folder, readme)
    assert path == folder / "2031-02-03-abc123.json"
    assert read_report(path) == read_report(written)
    assert "private" not in path.read_text(encoding="utf-8")
    assert path.with_suffix(".md").read_text(encoding="utf-8") == markdown([read_report(path)])
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter")
    assert text.count("\nold\n") == 1, "no GPU has been measured: that table stays"
    assert "Failed" not in text
    assert "| crops | 2.00 ms | 50 % | eager ×8.00 |" in text
    older = tmp_path / "older.json"
    older.write_text(json.dumps(content | {"datetime": "2030-01-01T00:00:00"}), encoding="utf-8")
    results.file_run(older, folder, readme)
    assert readme.read_text(encoding="utf-8") == text
    failed = replace(read_report(path).not_measured[0], failed=True)
    assert "1 of its benchmarks" in results.readme_table(replace(read_report(path), not_measured=(failed,)), "x")

    on_gpu = json.loads(written.read_text(encoding="utf-8"))
    for entry in on_gpu["benchmarks"]:
        for race in entry["extra_info"]["races"]:
            race["device"] = "cuda"
    on_gpu["machine_info"]["glat"] |= {"gpu": "Testium H900", "driver": "1.2", "cuda": "99", "rates": {"cuda": RATES}}
    gpu = tmp_path / "gpu.json"
    gpu.write_text(json.dumps(on_gpu), encoding="utf-8")
    assert results.file_run(gpu, folder, readme) == folder / "2031-02-03-abc123-Testium-H900.json"
    both = readme.read_text(encoding="utf-8")
    assert "on one Testium H900 (driver 1.2, CUDA 99)" in both
    assert both.count("| crops | 2.00 ms | 50 % | eager ×8.00 |") == 2
    assert "\nold\n" not in both
    with pytest.raises(UserError, match="README.md lacks"):
        results.with_tables("no comments", folder)


@pytest.mark.parametrize("path", sorted(results.RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_filed_page_is_that_of_its_results(path):
    assert path.with_suffix(".md").read_text(encoding="utf-8") == markdown([read_report(path)])


def test_the_readmes_tables_are_those_of_the_newest_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert results.with_tables(readme) == readme
