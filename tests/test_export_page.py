"""The code of docs/export.md, run as it stands there: Python here, JavaScript in a browser."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import exported
import pytest
import soundfile

PAGE = Path(__file__).resolve().parents[1] / "docs" / "export.md"
CLASSES = ["hum, low", "Grüße 🔔", "click", "chirp", "hiss"]
WEB = "onnxruntime-web@1.22.0"
NEEDED = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "glat-tests" / WEB
HTML = """<!doctype html><meta charset="utf-8"><script src="ort.wasm.min.js"></script>
<script type="module">
try {
%s
  window.said = JSON.stringify(tags);
} catch (error) {
  window.said = JSON.stringify(String(error));
}
</script>"""


def blocks(language):
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found, f"no {language} on the page"
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """model.onnx and model.pt2 of a small CNN10, sound.wav, and about.json as the page tells to write it."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="pip install 'glat[export]' to run the page's code")
    folder = tmp_path_factory.mktemp("page")
    model = exported.small_model()
    for name in ("model.onnx", "model.pt2"):
        exported.export(model, folder / name, classes=CLASSES)
    wave = exported.noise(model, 40_000, clips=1).waves[0]
    soundfile.write(folder / "sound.wav", wave, 32_000, subtype="FLOAT")
    about = {"classes": CLASSES, "sample_rate_hz": 32_000, "clip_samples": 32_000}
    (folder / "about.json").write_text(json.dumps(about))
    return folder


def run_python(block, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    capsys.readouterr()
    names = {}
    exec(compile(block, str(PAGE), "exec"), names)
    return names, capsys.readouterr().out.splitlines()


def test_the_python_on_the_page_tags_a_file(folder, monkeypatch, capsys):
    tagging, torch_alone = blocks("python")
    assert len(tagging.strip().splitlines()) <= 12
    _, said = run_python(tagging, folder, monkeypatch, capsys)
    assert len(said) == 3
    assert {line.split(" ", 1)[1] for line in said} < set(CLASSES)
    names, _ = run_python(torch_alone, folder, monkeypatch, capsys)
    assert names["found"]["fused_probs"].shape == (4, 5)


def chromium():
    """Where a browser is, or why the test is skipped."""
    pytest.importorskip("playwright", reason="the page's JavaScript: pip install playwright to run it in a browser")
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    return pytest.skip("the page's JavaScript: no Chromium here to run it in")


def onnxruntime_web():
    """Its files, from npm once; then from a cache."""
    dist = CACHE / "node_modules" / "onnxruntime-web" / "dist"
    if not dist.is_dir():
        if shutil.which("npm") is None:
            pytest.skip(f"the page's JavaScript: no npm here to get {WEB}")
        CACHE.mkdir(parents=True, exist_ok=True)
        options = ("--no-audit", "--no-fund", "--ignore-scripts", "--no-save")
        done = subprocess.run(
            ["npm", "install", *options, "--prefix", CACHE, WEB],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        if done.returncode or not dist.is_dir():
            pytest.skip(f"the page's JavaScript: npm could not get {WEB} ({done.stderr.strip()[-200:]})")
    return dist


@pytest.fixture
def served(folder, tmp_path):
    """The address of a page with the JavaScript, beside the model and the sound."""
    for path in (*folder.iterdir(), *(onnxruntime_web() / name for name in NEEDED)):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "index.html").write_text(HTML % blocks("javascript")[0], encoding="utf-8")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    server.server_close()


def test_the_javascript_on_the_page_says_the_same_in_a_browser(folder, request, monkeypatch, capsys):
    browser = chromium()
    url = request.getfixturevalue("served")
    from playwright.sync_api import sync_playwright

    assert len(blocks("javascript")[0].strip().splitlines()) <= 12
    flags = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
    with sync_playwright() as player:
        opened = player.chromium.launch(executable_path=browser, args=[*flags.split(), "--no-first-run"])
        page = opened.new_page()
        page.goto(url)
        page.wait_for_function("window.said !== undefined", timeout=120_000)
        said = json.loads(page.evaluate("window.said"))
        opened.close()
    assert isinstance(said, list), said
    _, wanted = run_python(blocks("python")[0], folder, monkeypatch, capsys)
    assert [line.split(" ", 1)[1] for line in said] == [line.split(" ", 1)[1] for line in wanted]
    for mine, theirs in zip(said, wanted, strict=True):
        assert abs(float(mine.split()[0]) - float(theirs.split()[0])) < 2e-4
