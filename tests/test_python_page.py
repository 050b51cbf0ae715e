"""docs/python.md, run from top to bottom, and the public face that it describes."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import glat

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"


def test_the_page_s_code_runs(tmp_path, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 8
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        if "import pandas" in block:
            pytest.importorskip("pandas", reason="pandas is not installed; the rest of the page ran")
        exec(compile(block, str(PAGE), "exec"), names)


@pytest.mark.parametrize("name", glat.__all__)
def test_everything_public_is_described(name):
    thing = getattr(glat, name)
    assert len(inspect.getdoc(thing) or "") > 40, f"{name} has no docstring"
    assert re.search(rf"\b{name}\b", PAGE.read_text(encoding="utf-8")), f"{name} is not on the page"
    for method, member in inspect.getmembers(thing) if inspect.isclass(thing) and "tagging" in thing.__module__ else ():
        if not method.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
            assert inspect.getdoc(member), f"{name}.{method} has no docstring"


def test_importing_glat_imports_nothing_heavy():
    code = (
        "import glat, sys; print(sorted({'torch', 'numpy', 'matplotlib', 'soundfile'} & sys.modules.keys()), dir(glat))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("[]")
    assert "'Tagger'" in said
    with pytest.raises(AttributeError, match="no attribute"):
        _ = glat.nothing
