"""What the benchmarks rest on: clocks, limits, rules of races and comparisons, and how results are shown and filed."""

import ast
import inspect
import json
import re
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import compare, results, roofline
from bench.limits import Work, convolution_dtype, measured_rates, products
from bench.race import Race
from bench.report import Case, NotMeasured, compared, markdown, page, read_report, tables
from bench.report import __main__ as report_command
from bench.report.units import amount, duration, three
from bench.timing import DeviceTimer, HostTimer, Rotation, captured, interleaved, poison, poison_freed
from bench.work import (
    bootstrap_work,
    clip_work,
    log_mel_work,
    network_work,
    samples_inside,
    select_crops_step_work,
    select_crops_work,
    spec_augment_work,
)
from glat.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
RATES = {"copy": 1e9, "float32": 1e11}


class Clock:
    """A clock that calls move."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def spend(self, seconds, log=None, name=None):
        def call():
            self.now += seconds
            if log is not None:
                log.append(name)

        return call


def test_a_host_timer_counts_the_call_alone():
    clock = Clock()
    clock.spend(5.0)()
    assert HostTimer(clock)(clock.spend(0.25)) == 0.25


def test_a_device_timer_empties_caches_before_the_first_event_and_waits_for_the_last():
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("record")

        def synchronize(self):
            log.append("wait")

        def elapsed_time(self, end):
            return 4.0  # ms

    class Cuda:
        pass

    class Spill:
        def zero_(self):
            log.append("write")

    Cuda.Event = Event
    assert DeviceTimer(Spill(), Cuda)(lambda: log.append("call")) == 4e-3
    assert log == ["write", "record", "call", "record", "wait"]


def test_a_graph_is_captured_on_the_stream_of_its_warm_up_and_replayed():
    log = []

    class Stream:
        def __init__(self, name="side"):
            self.name = name

        def wait_stream(self, other):
            log.append(f"{self.name} waits for {other.name}")

    class Graph:
        def replay(self):
            log.append("replay")

    class Cuda:
        CUDAGraph = Graph

        def __init__(self):
            self.current = Stream("main")

        def Stream(self):  # noqa: N802  # torch's name
            return Stream()

        def current_stream(self):
            return self.current

        @contextmanager
        def stream(self, stream):
            before, self.current = self.current, stream
            yield
            self.current = before

        @contextmanager
        def graph(self, graph, stream):
            log.append("capture")
            with self.stream(stream):
                yield
            log.append("captured")

    cuda = Cuda()
    replay = captured(lambda: log.append(f"call on {cuda.current.name}") or "result", cuda)
    warm_up = ["side waits for main", *["call on side"] * 3, "main waits for side"]
    assert log == [*warm_up, "capture", "call on side", "captured", "replay"]
    log.clear()
    assert replay() == "result"
    assert log == ["replay"]


def test_memory_that_a_call_is_given_anew_holds_no_earlier_answer(monkeypatch):
    given = []
    monkeypatch.setattr("bench.timing.torch.empty_like", lambda x: given.append(torch.zeros_like(x)) or given[-1])
    poison_freed([torch.zeros(3), torch.zeros(2, dtype=torch.int64)])
    assert given[0].isnan().all()
    assert (given[1] == 2**63 - 1).all()


def test_products_are_exact_where_results_are_compared_and_as_they_were_afterwards():
    convolutions, matrices = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, matrices.allow_tf32
    for tf32 in (False, True):
        with products(tf32):
            assert (convolutions.allow_tf32, matrices.allow_tf32) == (tf32, tf32)
            assert convolution_dtype("cuda") == ("tf32" if tf32 else "float32")
            assert convolution_dtype("cpu") == "float32"
        assert (convolutions.allow_tf32, matrices.allow_tf32) == before


def test_competitors_take_turns_that_go_back_and_forth_and_the_first_round_is_dropped():
    clock, log = Clock(), []
    calls = {"a": clock.spend(1.0, log, "a"), "b": clock.spend(2.0, log, "b")}
    turns = interleaved(calls, HostTimer(clock), budget_seconds=0, clock=clock)
    rounds = len(turns["a"])
    assert rounds == len(log) // 2 - 1
    assert rounds >= 3
    assert "".join(log).startswith("abbaab")
    assert turns == {"a": [[1.0]] * rounds, "b": [[2.0]] * rounds}


def test_fast_calls_are_repeated_and_the_budget_ends_a_race():
    clock = Clock()
    turns = interleaved({"a": clock.spend(0.01)}, HostTimer(clock), budget_seconds=0.4, clock=clock)
    assert all(len(turn) in (3, 4) for turn in turns["a"])  # up to 0.03 s
    assert 10 <= len(turns["a"]) <= 15
    fast = interleaved({"a": clock.spend(1e-6)}, HostTimer(clock), budget_seconds=1, clock=clock)
    assert [len(turn) for turn in fast["a"]] == [5] * 39


def test_outputs_are_poisoned_before_every_turn_and_inputs_come_from_more_than_a_cache():
    out, seen = torch.zeros(3), []

    def call():
        seen.append(bool(out.isnan().all()))
        out.zero_()

    clock = Clock()
    interleaved({"a": call}, lambda call: (call(), 1.0)[1], budget_seconds=0, outputs=[out], clock=clock)
    assert seen
    assert all(seen)
    whole = torch.zeros(2, dtype=torch.int16)
    poison([whole])
    assert whole.tolist() == [32767, 32767]
    x = torch.arange(4.0)  # 16 bytes
    rotation = Rotation([x], cache_bytes=24)
    assert len(rotation.sets) == 4  # 64 bytes, more than twice the cache
    assert len({rotation()[0].data_ptr() for _ in range(4)}) == 4
    assert all(torch.equal(rotation()[0], x) for _ in range(4))


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


def test_work_is_what_a_hand_counts():
    # B = 2, S = 50, T = 3, L = 7, N = 2, W = 10: 40 samples cut, 14 rank scores, 12 frame scores.
    assert select_crops_work(2, 50, 3, 7, 2, 10).bytes == 40 * 8 + 26 * 4
    assert select_crops_work(2, 50, 3, 7, 2, 10, wave_bytes=2).bytes == 40 * 6 + 26 * 4
    assert select_crops_work(2, 15, 3, 7, 2, 10).bytes == 30 * 4 + 40 * 4 + 26 * 4  # a sample is read once
    assert select_crops_work(2, 50, 3, 7, 2, 10, inside=33).bytes == 33 * 4 + 40 * 4 + 26 * 4
    assert select_crops_step_work(2, 50, 3, 7, 2, 10, 33).bytes == 73 * 4 + 26 * 4 + (40 + 100) * 4
    assert samples_inside(torch.tensor([[30, 0, 4], [7, 7, 50]]), 10) == (14 + 10) + (10 + 10)
    assert bootstrap_work(5, 3, 2).bytes == 15 * 5 + 10 * 4 + 12 * 8
    assert (clip_work(100, 8, 2).bytes, clip_work(100, 8, 2).flop) == (116, 0)
    resampled = clip_work(100, 8, 4, source_samples=16, clips=3)
    assert (resampled.bytes, resampled.flop) == (3 * 132, 3 * 2.5 * (16 * 4 + 8 * 3))
    assert spec_augment_work(2, 5, 4).bytes == 2 * 40 * 4
    mel = log_mel_work(1, 640, hop_samples=320, fft_samples=8, mel_bins=2)  # 3 hops, 5 bins of an 8-point DFT
    assert mel.bytes == 4 * (640 + 3 * 2)
    assert mel.flop == 3 * (2.5 * 8 * 3 + 3 * 5 + 2 * 5 * 2)


def test_a_networks_work_counts_its_products_and_its_weights():
    network, x = torch.nn.Linear(5, 7, bias=False), torch.randn(3, 5, requires_grad=True)
    forward = network_work(network, x, lambda: network(x), gradients=False)
    assert (forward.flop, forward.bytes) == (2 * 3 * 5 * 7, 4 * (15 + 35))
    both = network_work(network, x, lambda: network(x).sum().backward(), gradients=True)
    assert (both.flop, both.bytes) == (3 * 2 * 3 * 5 * 7, 4 * (15 + 2 * 35))
    network.requires_grad_(False)
    frozen = network_work(network, x, lambda: network(x).sum().backward(), gradients=True)
    assert (frozen.flop, frozen.bytes) == (2 * 2 * 3 * 5 * 7, 4 * (15 + 35))


def race(turns, **options):
    return Race("kernels", "forward", "cpu", turns, options.pop("work", Work("x", bytes=1.0)), RATES, **options)


def test_a_promise_holds_by_the_medians_or_by_the_fastest():
    found = race({"glat": [[1.0], [3.0], [3.0]], "eager": [[4.0], [4.0], [4.0]]})
    found.promise("glat", 4, "eager")  # by the fastest
    found.promise("glat", 4 / 3, "eager")
    with pytest.raises(AssertionError, match="promised: 5"):
        found.promise("glat", 5, "eager")
    race({"glat": [[1.0], [1.0]]}).promise("glat", 5, "eager")  # --only-ours


def test_ratios_are_paired_by_round():
    found = race({"glat": [[1.0], [2.0], [4.0]], "eager": [[3.0], [6.0], [12.0]]})
    assert found.ratio("eager") == [3.0, 3.0, 3.0]


def test_quartiles_lie_within_what_was_measured():
    assert race({"glat": [[1.0], [1.0]], "eager": [[2.0], [4.0]]}).ratio("eager") == [2.5, 3.0, 3.5]


def test_a_copy_of_the_tasks_size_raises_the_bandwidth_where_it_is_faster():
    def seconds(turns, copied):
        found = race(turns, work=Work("x", bytes=4e9), others={"copy_": Work("copied", bytes=copied)})
        return found.to_json()["limit"]["seconds"]

    turns = {"glat": [[2.0]] * 3, "copy_": [[1.0], [3.0], [3.0]]}
    assert seconds(turns, 8e9) == 0.5  # by its fastest call
    assert seconds(turns, 0.5e9) == 4.0  # a copy that other work slowed is no roof
    assert seconds({"glat": turns["glat"]}, 8e9) == 4.0  # --only-ours


def test_a_competitor_with_another_task_is_set_against_its_own_limit():
    turns = {"glat": [[4.0]] * 2, "half": [[4.0]] * 2}
    found = race(turns, work=Work("whole", bytes=2e9), others={"half": Work("part", bytes=1e9)})
    found.record({})
    case = Case.from_json(found.recorded)
    [row] = [line for line in tables([case], [], {"cpu": RATES}) if line.startswith("| forward")]
    assert "4.00 s 50 %, 500 MB/s" in row
    assert "4.00 s ×1.00 (1.00–1.00) 25 %, 250 MB/s" in row
    assert {"- all: whole", "- half in forward: part"} <= set(tables([case], [], {"cpu": RATES}))


def test_a_recorded_limit_follows_rates_that_a_later_race_found():
    rates, info = dict(RATES), {}
    found = Race("kernels", "forward", "cpu", {"glat": [[2.0], [2.0]]}, Work("x", bytes=4e9), rates)
    found.record(info)
    rates["copy"] = 4e9
    found.update_limit()
    assert info["races"][0]["limit"]["seconds"] == 1.0


def test_numbers_have_three_digits_and_a_unit():
    assert [three(x) for x in (1290.0, 8.413, 0.0841, 0.0, 9.996)] == ["1290", "8.41", "0.0841", "0", "10.0"]
    assert [duration(x) for x in (1.5, 0.067, 2e-6)] == ["1.50 s", "67.0 ms", "2.00 µs"]
    assert amount(6.14e10, "B/s") == "61.4 GB/s"


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


def bench_report(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["bench.report", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        report_command.main()
    return left.value.code


def test_the_page_loads_nothing_and_holds_the_numbers_of_the_markdown(written, tmp_path, monkeypatch):
    html, md = tmp_path / "report.html", tmp_path / "report.md"
    assert bench_report(monkeypatch, written, "-o", html, "--markdown", md) == 0
    shown, text = html.read_text(encoding="utf-8"), md.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=|url\(|@import|<link|<script|<iframe|https?://""", shown)
    assert "step &amp; more" in shown
    assert "B·S &lt;bytes&gt;" in shown
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", shown))
    for number in ("2.00 ms", "16.0 ms", "×8.00 (6.50–9.00)", "1.00 ms", "50 %", "6.2 %", "1.00 GB/s", "100 GFLOP/s"):
        assert number in plain, number
        assert number in text, number
    for line in ("Not measured on this machine", "no GPU", "test_forward[cuda]", "Testium 9", "abc123"):
        assert line in plain, line
        assert line in text, line


def test_a_comparison_sets_our_times_of_every_report_against_the_first(content, written, tmp_path):
    slower = json.loads(written.read_text(encoding="utf-8"))
    slower["benchmarks"] = slower["benchmarks"][:1]
    slower["benchmarks"][0]["extra_info"]["races"][0]["competitors"]["glat"]["seconds"] = 0.003
    other = tmp_path / "other.json"
    other.write_text(json.dumps(slower), encoding="utf-8")
    reports = [read_report(written), read_report(other)]
    (row,), alone = compared(reports)
    assert [case.ours.seconds for case in row.cases] == [0.002, 0.003]
    assert row.same_device
    assert [len(names) for names in alone] == [1, 0]
    for text in (markdown(reports), page(reports)):
        assert "3.00 ms ×1.50" in text
        assert f"In A alone: {alone[0][0]}" in text.replace("&amp;", "&")


def test_a_gpus_times_stand_beside_a_cpus_and_no_gap_is_said_of_what_the_other_has(content, written, tmp_path):
    """A GPU's file beside a CPU's once said "not measured" of every case, since Triton's and C++'s rows never met."""
    gpu = json.loads(written.read_text(encoding="utf-8"))
    for entry in gpu["benchmarks"]:
        for race in entry["extra_info"]["races"]:
            race["device"] = "cuda"
            ours = race["competitors"].pop("glat")
            race["competitors"] = {"Triton": ours | {"seconds": 0.0005}} | race["competitors"]
    gpu["machine_info"]["glat"] |= {"gpu": "Testium H900", "rates": {"cuda": RATES}}
    gpu["not_measured"] = []
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(gpu), encoding="utf-8")
    for reports in ([read_report(path), read_report(written)], [read_report(written), read_report(path)]):
        rows, alone = compared(reports)
        assert len(rows) == len(reports[0].cases)
        assert not any(alone)
        assert not any(row.same_device for row in rows)
        for text in (markdown(reports), page(reports)):
            assert "not measured" not in text.lower()
            assert "500 µs" in text
            assert "(Triton, cuda)" in text
            assert "(glat, cpu)" in text


def test_what_cannot_run_or_failed_is_named_with_its_reason():
    gaps = [
        NotMeasured("kernels", "test_a[cuda]", "no GPU", False),
        NotMeasured("kernels", "test_b[cuda]", "no GPU", False),
        NotMeasured("data", "test_c", "wrong by 1", True),
    ]
    lines = tables([], gaps, {})
    assert "Not measured on this machine (no GPU): test_a[cuda], test_b[cuda]" in lines
    assert "Failed (wrong by 1): test_c" in lines
    assert {"### kernels", "### data"} <= set(lines)


def test_a_competitor_that_is_missing_in_a_case_has_a_dash(content):
    cases = [Case.from_json(entry["extra_info"]["races"][0]) for entry in content["benchmarks"]]
    alone = replace(cases[1], subject="kernels", competitors=cases[1].competitors[:1])
    row = next(line for line in tables([cases[0], alone], [], {"cpu": RATES}) if "step & more" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "step & more",
        "1.00 ms by bytes",
        "2.00 ms 50 %, 500 MB/s",
        "–",
    ]


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is no JSON"), ("{}", "is not from this project's bench/"), (None, "cannot be read")]
)
def test_a_file_that_holds_no_results_is_named(text, message, tmp_path, monkeypatch, capsys):
    path = tmp_path / "x.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert bench_report(monkeypatch, path, "-o", tmp_path / "report.html") == 2
    error = capsys.readouterr().err
    assert f"{path} {message}" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_the_page_on_rooflines_is_what_its_command_prints():
    assert (ROOT / "docs" / "roofline.md").read_text(encoding="utf-8") == roofline.page()


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


def test_the_readmes_tables_are_those_of_the_newest_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert results.with_tables(readme) == readme
