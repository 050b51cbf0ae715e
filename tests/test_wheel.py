"""The wheel, installed into an environment of its own without the sources: it does what the checkout does."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "CMakeLists.txt", ".gitignore", "README.md", "LICENSE", "train.py", "glat", "kernels")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Run a program of an environment that holds the wheel, and everything else from this environment.

    The wheel is built without the network, from a copy: a checkout's build folder is not used and not touched.
    """
    pytest.importorskip("scikit_build_core", reason="pip install 'scikit-build-core>=1.0' to build the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    quiet = {"cwd": folder, "check": True, "capture_output": True, "text": True}
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", source], **quiet)
    shutil.rmtree(source)
    (wheel,) = (folder / "dist").glob("glat-*.whl")

    environment = folder / "env"
    venv.create(environment, with_pip=False, symlinks=True)
    site = next(environment.glob("lib/python*/site-packages"))
    target = ["--target", site, "--no-deps", "--no-index", wheel]
    subprocess.run([*pip, "install", "-q", *target], **quiet)
    # The heavy packages are shared, by path and not as site folders: the .pth files of this environment, among them
    # that of the editable glat, stay unread.
    shared = [path for path in sys.path if path.endswith("site-packages")] or [sysconfig.get_paths()["purelib"]]
    (site / "shared.pth").write_text("\n".join(shared) + "\n")

    def run(*arguments, status=0):
        command = [environment / "bin" / "python", "-m", "glat", *map(str, arguments)]
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    run.folder, run.python = folder, environment / "bin" / "python"
    return run


@pytest.fixture(scope="module")
def trained(installed):
    """The folder of a run that `glat train` made from the wheel."""
    small = ("--width", 0.1, "--batch-size", 2, "--num-crops", 2, "--crop-seconds", 1, "--clip-seconds", 2)
    run = installed.folder / "run"
    installed("train", *small, "--train-clips", 8, "--eval-clips", 4, "--iterations", 2, "--run-dir", run)
    return run


def test_it_is_complete_and_comes_from_the_wheel(installed):
    program = "import glat, glat.kernels as k; print(glat.__file__); print(k.implementations('cpu')['select_crops'])"
    done = subprocess.run([installed.python, "-c", program], cwd=installed.folder, capture_output=True, text=True)
    place, implementation = done.stdout.splitlines()
    assert Path(place).is_relative_to(installed.folder), place
    if shutil.which("c++") or shutil.which("g++"):
        assert implementation == "C++"
    package = Path(place).parent
    assert (package / "_train.py").read_bytes() == (ROOT / "train.py").read_bytes()
    assert (package / "kernels" / "py.typed").is_file()
    for path in (ROOT / "glat").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (package / path.relative_to(ROOT / "glat")).is_file(), path


def test_it_says_its_version_and_what_runs(installed):
    assert installed("--version").startswith("glat 0.")
    assert "select_crops on cpu" in installed("doctor")


def test_it_trains_and_tags(installed, trained):
    assert (trained / "model.safetensors").is_file()
    sound = installed.folder / "sound.wav"
    soundfile.write(sound, 0.1 * np.random.default_rng(0).standard_normal(64_000), 32_000)
    assert json.loads(installed("tag", sound, "--run", trained, "--json"))


def test_its_sweep_finds_its_train(installed):
    flags = ("--num-crops", 1, "--crop-seconds", 1, "--iterations", 1, "--data", "nowhere")
    said = installed("sweep", "--out", installed.folder / "sweep", *flags, status=2)
    assert "FAILED with status 2: error: --data" in said  # what train.py says, at no training's cost
    assert "nowhere: no such file or folder" in said
