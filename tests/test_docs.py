"""The documentation site is built without a warning, and describes everything that is public."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import glat

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for name in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs/site", ".", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return out


def test_everything_public_is_in_the_reference(site):
    page = (site / "docs" / "site" / "api" / "glat.html").read_text(encoding="utf-8")
    missing = [name for name in glat.__all__ if not re.search(rf'id="glat\.(\w+\.)*{name}"', page)]
    assert missing == ["Crops", "select_crops"]  # on the kernels' page
    kernels = (site / "docs" / "site" / "api" / "kernels.html").read_text(encoding="utf-8")
    assert all(f'id="glat.kernels.{name}"' in kernels for name in missing)


def test_every_page_is_on_the_site(site):
    for page in (ROOT / "docs").glob("*.md"):
        built = site / "docs" / f"{page.stem}.html"
        assert built.is_file(), page.name
        first = (site / "docs" / "site" / "index.html").read_text(encoding="utf-8")
        assert f"../{page.stem}.html" in first, f"{page.name} is not in the table of contents"


def test_the_site_fetches_nothing(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|img|iframe)[^>]*\bsrc="(?:https?:)?//|<link[^>]*\bhref="https?://', text)
        assert not fetched, f"{page}: {fetched}"
