"""Text of others reaches terminals, tables and spreadsheets without being obeyed there."""

import ast
import csv
import io
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glat.terminal import Console, Table, Text
from glat.text import CsvWriter, complain, counted, shown, size

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "cat\x1b[2J\x9b31m\n\r\x07\u202egod\u2066\u200f\udc80"
BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
OBEYED = set("\x1b\x9b\n\r\x07\u202e\u2066\u200f\udc80")


def test_what_a_terminal_would_obey_is_spelt_out():
    assert shown(HOSTILE) == r"cat\x1b[2J\x9b31m\n\r\x07\u202egod\u2066\u200f\x80"
    plain = "Müller, 犬 🐕‍🦺 [red]:dog: 50 % = a\\b"
    assert shown(plain) == plain


def test_numbers_and_sizes_are_said_as_people_do():
    assert [counted(n, "clip has", "clips have") for n in (0, 1, 2)] == ["0 clips have", "1 clip has", "2 clips have"]
    assert [size(n) for n in (0, 312, 4_940, 1.26e6, 2e9)] == ["0 bytes", "312 bytes", "4.9 kB", "1.3 MB", "2.0 GB"]


@given(st.text())
def test_no_text_moves_a_cursor_or_makes_a_second_line(text):
    assert not {unicodedata.category(c) for c in shown(text)} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(c) for c in shown(text)} & BIDIRECTIONAL
    assert len(shown(text).splitlines()) <= 1


def test_lines_tables_and_complaints_are_shown(capsys):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=200, color_system=None)
    console.print(f"label {HOSTILE} [red]:dog:")
    table = Table("class", title="t")
    table.add_row(HOSTILE)
    table.add_row(Text("two\nlines"))
    console.print(table)
    complain(f"error: {HOSTILE}")
    for text in (stream.getvalue(), capsys.readouterr().err):
        assert not set(text) & (OBEYED - {"\n"})
        assert r"cat\x1b[2J\x9b31m\n\r\x07\u202egod" in text
    assert "[red]:dog:" in stream.getvalue()
    assert stream.getvalue().count("\n") == 9


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3|cmd'!A0", "'-2+3|cmd'!A0"),
        ("+HYPERLINK(A1)", "'+HYPERLINK(A1)"),
        ("- barking", "'- barking"),
        ("-0RWZT-miFs_420.wav", "-0RWZT-miFs_420.wav"),  # AudioSet's names are joined on
        ("-0.25", "-0.25"),
        (-0.25, "-0.25"),
        ("\t=1", r"\t=1"),
        ("a\nb", r"a\nb"),
        ("Dog, barking", "Dog, barking"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_cell_is_no_formula_and_no_second_line(cell, written):
    stream = io.StringIO()
    CsvWriter(stream).writerows([[cell, "x"]])
    assert list(csv.reader(io.StringIO(stream.getvalue()))) == [[written, "x"]]


def test_there_is_one_way_to_a_terminal_and_one_to_a_csv():
    """Lines and tables through glat.terminal, JSON through to_json_text, CSV through CsvWriter."""
    for path in [*(ROOT / "glat").rglob("*.py"), ROOT / "train.py"]:
        where = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom) and where != "glat/terminal.py":
                names = {alias.name for alias in node.names}
                from_rich = (getattr(node, "module", None) or "").startswith("rich")
                assert not (from_rich and names & {"Console", "Table", "Text", "print"}), where
                assert not names & {"rich", "rich.console", "rich.table", "rich.text"}, where
            if isinstance(node, ast.Call) and where not in ("glat/terminal.py", "glat/text.py"):
                called = ast.unparse(node.func)
                assert called not in ("csv.writer", "csv.DictWriter"), where
                assert called != "warnings.warn" or where == "glat/errors.py", where
                printed = ast.unparse(node.args[0]) if called == "print" else ""
                assert printed.startswith(("to_json_text(", "usage()", "f'glat {__version__}'")) or not printed, where
