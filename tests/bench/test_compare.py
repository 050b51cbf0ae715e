"""The comparison with another commit: pairs of runs, verdicts, second looks."""

import json

import pytest

from bench import compare
from glat.errors import UserError

A, B = ("kernels", "forward", "cpu"), ("data", "packing", "cpu")


def took(seconds, benchmark="a"):
    return compare.Timed(seconds, benchmark)


def pairs_of(base, head):
    return [({A: took(x)}, {A: took(y)}) for x, y in zip(base, head, strict=True)]


def test_a_guarded_case_fails_above_ten_percent_by_the_median_of_pairs():
    def verdict(*head):
        return compare.verdicts(pairs_of((1.0, 2.0, 4.0), head))[0]

    assert not verdict(1.09, 2.18, 40.0).fails  # one disturbed run decides nothing
    assert verdict(1.09, 2.18, 40.0).ratio == pytest.approx(1.09)
    assert verdict(1.11, 2.22, 4.0).fails
    assert str(verdict(1.11, 2.22, 4.0)) == "FAILS  kernels, forward, cpu: 2.00 s -> 2.22 s, ×1.11 (1.00–1.11, 3 pairs)"
    # The ratio of the sides' medians would be 1.
    assert compare.verdicts(pairs_of((1.0, 2.0, 3.0), (2.0, 1.0, 9.0)))[0].ratio == 2.0


def test_a_case_without_a_number_fails_where_the_base_has_one_and_is_new_where_it_has_none():
    both, only_a = {A: took(1.0), B: took(1.0)}, {A: took(1.0)}
    lost, kept = sorted(compare.verdicts([(both, both), (both, only_a)]), key=lambda v: v.key)
    assert lost.fails
    assert "no number in this tree" in str(lost)
    assert not kept.fails
    new = compare.verdicts([(only_a, both)])[1]
    assert not new.fails
    assert "new" in str(new)
    # Runs are set against those of their own pair, also where one is missing.
    gap = compare.verdicts([({A: took(1.0)}, {A: took(1.0)}), ({}, {A: took(9.0)}), ({A: took(2.0)}, {A: took(2.0)})])
    assert gap[0].ratio == 1.0
    with pytest.raises(UserError, match="no guarded benchmark ran on both sides"):
        compare.verdicts([({A: took(1.0)}, {B: took(1.0)})])


def looked(first, second, pairs=2):
    """Verdict on A, and the runs that were made, where this tree's time is `first`, then `second`; B always holds."""
    log = []

    def timed(i, side, benchmarks):
        log.append((side, tuple(benchmarks)))
        ours = 1.0 if side == "base" else (first[i] if i < pairs else second[i - pairs])
        return {A: took(ours, "bench/a.py::a")} | ({} if benchmarks else {B: took(1.0, "bench/b.py::b")})

    found = {verdict.key: verdict for verdict in compare.compare(timed, pairs)}
    assert not found[B].fails
    return found[A], log


def test_a_suspect_alone_is_looked_at_again_and_judged_by_all_its_pairs():
    verdict, log = looked((1.05, 1.05), ())
    assert not verdict.fails
    assert [side for side, _ in log] == ["base", "head", "head", "base"]
    assert {chosen for _, chosen in log} == {()}
    verdict, log = looked((1.3, 1.3), (1.0, 1.0, 1.0, 1.0))
    assert not verdict.fails
    assert len(verdict.ratios) == 6
    assert [chosen for _, chosen in log[4:]] == [("bench/a.py::a",)] * 8
    assert looked((1.3, 1.3), (1.3, 1.3, 1.0, 1.0))[0].fails


def test_times_of_a_run_are_read_with_the_name_of_their_benchmark(content, tmp_path):
    for entry in content["benchmarks"]:
        entry["fullname"] = f"bench/x.py::{entry['name']}"
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert compare.read_run(path)["training", "step & more", "cpu"] == compare.Timed(0.002, "bench/x.py::test_1")
    path.write_text("", encoding="utf-8")
    assert compare.read_run(path) == {}


def test_a_base_that_git_does_not_know_is_named(tmp_path):
    with pytest.raises(UserError, match="no commit 'no-such-commit'"):
        compare.checkout("no-such-commit", tmp_path)
