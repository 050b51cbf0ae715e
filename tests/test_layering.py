"""The arrows of the house: who may import whom, read off the sources."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def imported(path: Path, package: str) -> set[str]:
    """Absolute names of the modules that a file of `package` imports, at any depth of its code."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names |= {stem, *(f"{stem}.{alias.name}" for alias in node.names)}
    return names


def sources(folder: str, package: str) -> list[tuple[Path, str]]:
    """Files below `folder` with the package each lies in."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        below = path.parent.relative_to(ROOT / folder).parts
        found.append((path, ".".join([package, *below])))
    assert found, f"no sources in {folder}"
    return found


KERNELS = sources("kernels", "glat.kernels")
GLAT = sources("glat", "glat")


def tops(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(("path", "package"), KERNELS, ids=lambda x: str(x))
def test_kernels_import_torch_and_triton_and_each_other_only(path, package):
    names = imported(path, package)
    outside = {n for n in names if n.split(".")[0] == "glat" and not n.startswith("glat.kernels")}
    assert not outside - {"glat.kernels"}
    third_party = tops(names) - {"glat", "torch", "triton"}
    standard = {"collections", "functools", "importlib", "math", "typing", "dataclasses", "pathlib", "os", "unittest"}
    assert third_party <= standard


@pytest.mark.parametrize(("path", "package"), KERNELS, ids=lambda x: str(x))
def test_one_operator_never_imports_another(path, package):
    folders = {p.name for p in (ROOT / "kernels").iterdir() if p.is_dir()}
    parts = package.split(".")
    own = parts[2] if len(parts) > 2 else None
    if own is None:
        return
    others = {f"glat.kernels.{name}" for name in folders - {own}}
    assert not {n for n in imported(path, package) if any(n == o or n.startswith(o + ".") for o in others)}


def test_backends_never_import_the_reference():
    for path, package in KERNELS:
        if path.name == "_triton.py":
            assert not {n for n in imported(path, package) if n.split(".")[-1] == "reference"}, path


def test_only_backends_import_triton():
    for path, package in [*KERNELS, *GLAT]:
        if path.name != "_triton.py":
            assert "triton" not in tops(imported(path, package)), path


def test_glat_uses_the_public_functions_of_kernels():
    import glat.kernels

    public = {f"glat.kernels.{name}" for name in glat.kernels.__all__} | {"glat.kernels"}
    for path, package in GLAT:
        used = {n for n in imported(path, package) if n.startswith("glat.kernels")}
        assert used <= public, path


def test_glat_never_imports_train():
    for path, package in GLAT:
        assert not tops(imported(path, package)) & {"train", "bench", "tests"}, path


def test_train_stays_short():
    assert len((ROOT / "train.py").read_text(encoding="utf-8").splitlines()) < 250
