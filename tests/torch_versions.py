"""``make test-torch-versions``: does glat install and work under every torch it allows, and any library under any?

For each version: headers and libtorch_cpu are taken out of its wheel, and the CPU library is built against them. Then
an environment with that torch is made, glat is installed into it as a user would, with its dependencies, and there

* ``glat doctor`` names the C++ kernel,
* the kernels' CPU tests pass with this version's library, and those of values and gradients with every other's,
* ``train.py`` trains two iterations.

An environment with a CUDA build of torch takes 7 GB; it is removed before the next one is made. pip downloads about as
much in all, once. On a machine without a GPU the CUDA build runs on the CPU, as it does for users there.
"""

import argparse
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = "libglat_cpu.so"
VERSIONS = ("2.10", "2.11", "2.12", "2.13")
NEEDED = ("torch/include/", "torch/lib/libtorch_cpu.so", "torch/lib/libc10.so")
KERNEL_TESTS = "test_select_crops.py", "test_crops_operator.py", "test_crops_wrong_input.py"
# Compiled code has tests of its own, and what is said of Triton is tested by a Python that starts in the checkout.
CHOSEN = "not cuda and not compile and not triton"


def run(*command: str | Path, log: Path, **more: str) -> bool:
    """Run a command; its output goes to `log`, and the command is printed where it failed."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **more}
    with log.open("ab") as file:
        done = subprocess.run(list(map(str, command)), cwd=log.parent, stdout=file, stderr=file, env=environment)
    if done.returncode:
        print(f"  failed: {' '.join(map(str, command))}; see {log}", flush=True)
    return done.returncode == 0


def build_against(version: str, folder: Path, libraries: Path) -> bool:
    """Build the CPU library against the headers of a version, which are taken out of its wheel."""
    log, wheels, torch = folder / "build.log", folder / "wheel", folder / "unpacked"
    pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", wheels)
    if not run(*pip, f"torch=={version}.*", log=log):
        return False
    (wheel,) = wheels.glob("torch-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(torch, [name for name in archive.namelist() if name.startswith(NEEDED)])
    shutil.rmtree(wheels)
    source, build = ROOT / "kernels", folder / "build"
    options = (f"-DTORCH_DIR={torch / 'torch'}", f"-DOUTPUT_DIR={libraries / version}", "-DCMAKE_BUILD_TYPE=Release")
    done = run("cmake", "-S", source, "-B", build, *options, log=log) and run("cmake", "--build", build, log=log)
    shutil.rmtree(torch)
    return done


def try_out(version: str, folder: Path, libraries: Path) -> dict[str, bool]:
    """Install glat beside a version of torch and use it; what was tried, and whether it worked."""
    log, environment = folder / "use.log", folder / "env"
    python = environment / "bin" / "python"
    pip = (python, "-m", "pip", "install", "-q")
    found = {}
    try:
        if not run(sys.executable, "-m", "venv", environment, log=log):
            return {"environment": False}
        tools = "scikit-build-core>=1.0", "cmake", "ninja", "pytest", "hypothesis"
        found["torch"] = run(*pip, f"torch=={version}.*", *tools, log=log)
        found["pip install"] = found["torch"] and run(*pip, "--no-build-isolation", ROOT, log=log)
        if not found["pip install"]:
            return found
        kernels = next(environment.glob("lib/python*/site-packages/glat/kernels"))
        found["library built"] = (kernels / LIBRARY).is_file()
        found["glat doctor"] = run(environment / "bin" / "glat", "doctor", log=log)
        tests = [ROOT / "tests" / "kernels" / name for name in KERNEL_TESTS]
        for library in sorted(libraries.iterdir(), key=lambda path: path.name != version):
            shutil.copy(library / LIBRARY, kernels / LIBRARY)
            own = library.name == version
            # Not from the checkout: the installed glat is what is tested.
            pytest = (python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml")
            chosen = ("-k", CHOSEN if own else f"{CHOSEN} and (fused_equals or gradient)")
            found[f"kernels, built for {library.name}"] = run(*pytest, *chosen, *tests[: None if own else 1], log=log)
        small = ("--width", "0.125", "--batch-size", "4", "--iterations", "2", "--run-dir", folder / "run")
        found["train"] = run(environment / "bin" / "glat", "train", *small, log=log)
        return found
    finally:
        shutil.rmtree(environment, ignore_errors=True)


def main() -> int:
    """Returns 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=VERSIONS, help="such as 2.11; all that are allowed by default")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "torch-versions", help="for logs and libraries")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    folders = {version: arguments.folder.resolve() / version for version in arguments.versions}
    libraries = arguments.folder.resolve() / "libraries"
    wrong = 0
    for version, folder in folders.items():
        folder.mkdir(parents=True)
        built = build_against(version, folder, libraries)
        print(f"torch {version}: library {'built' if built else 'NOT BUILT'}", flush=True)
        wrong += not built
    for version, folder in folders.items():
        for what, worked in try_out(version, folder, libraries).items():
            print(f"torch {version}: {what}: {'ok' if worked else 'FAILED'}", flush=True)
            wrong += not worked
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
