"""The tables and the page of results, and their command."""

import json
import re
import sys
from dataclasses import replace

import pytest
from races import RATES

from bench.report import Case, NotMeasured, compared, markdown, page, read_report, tables
from bench.report import __main__ as report_command
from bench.report.units import amount, duration, three


def test_numbers_have_three_digits_and_a_unit():
    assert [three(x) for x in (1290.0, 8.413, 0.0841, 0.0, 9.996)] == ["1290", "8.41", "0.0841", "0", "10.0"]
    assert [duration(x) for x in (1.5, 0.067, 2e-6)] == ["1.50 s", "67.0 ms", "2.00 µs"]
    assert amount(6.14e10, "B/s") == "61.4 GB/s"


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


def test_pages_are_told_apart_by_their_titles_and_are_written_again(written, tmp_path, monkeypatch):
    page_of_one, of_two = tmp_path / "one.md", tmp_path / "two.md"
    for _ in range(2):  # a page of its own may be replaced
        assert bench_report(monkeypatch, written, "--markdown", page_of_one) == 0
        assert bench_report(monkeypatch, written, written, "--markdown", of_two) == 0
    assert page_of_one.read_text(encoding="utf-8").startswith("# Benchmarks: Testium 9, commit abc123\n")
    assert of_two.read_text(encoding="utf-8").startswith("# Benchmarks\n")


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


WRONG = {
    "seconds of 0": lambda e: e["benchmarks"][0]["extra_info"]["races"][0]["competitors"]["glat"].update(seconds=0),
    "seconds of text": lambda e: e["benchmarks"][0]["extra_info"]["races"][0]["competitors"]["glat"].update(
        seconds="1"
    ),
    "seconds below 0": lambda e: e["benchmarks"][0]["extra_info"]["races"][0]["competitors"]["glat"].update(seconds=-1),
    "no competitors": lambda e: e["benchmarks"][0]["extra_info"]["races"][0].update(competitors={}),
    "competitors in a list": lambda e: e["benchmarks"][0]["extra_info"]["races"][0].update(competitors=[1]),
    "two quartiles": lambda e: e["benchmarks"][0]["extra_info"]["races"][0]["competitors"]["glat"].update(ratio=[1, 2]),
    "ratio of 0": lambda e: e["benchmarks"][0]["extra_info"]["races"][0]["competitors"]["glat"].update(ratio=[0, 1, 1]),
    "no limit": lambda e: e["benchmarks"][0]["extra_info"]["races"][0].update(limit=None),
    "a limit of 0": lambda e: e["benchmarks"][0]["extra_info"]["races"][0]["limit"].update(seconds=0),
    "an unknown type": lambda e: e["benchmarks"][0]["extra_info"]["races"][0]["limit"].update(dtype="float8"),
    "an unknown device": lambda e: e["benchmarks"][0]["extra_info"]["races"][0].update(device="abacus"),
    "rates of 0": lambda e: e["machine_info"]["glat"]["rates"]["cpu"].update(copy=0),
    "no copy": lambda e: e["machine_info"]["glat"]["rates"]["cpu"].pop("copy"),
    "rates in a list": lambda e: e["machine_info"]["glat"].update(rates=[1]),
    "no machine": lambda e: e["machine_info"]["glat"].pop("cpu"),
    "a date of numbers": lambda e: e.update(datetime=5),
}


@pytest.mark.parametrize("kind", WRONG)
def test_results_that_cannot_be_are_one_line(kind, written, tmp_path, monkeypatch, capsys):
    entries = json.loads(written.read_text(encoding="utf-8"))
    WRONG[kind](entries)
    (tmp_path / "wrong.json").write_text(json.dumps(entries), encoding="utf-8")
    assert bench_report(monkeypatch, tmp_path / "wrong.json", "-o", tmp_path / "page.html") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is not from this project's bench/" in said
