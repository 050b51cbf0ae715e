"""The arrows of the house: who may import whom, read off the sources."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def from_imports(path: Path, package: str, for_types: bool = True) -> list[tuple[str, list[str]]]:
    """Absolute module names that a file of `package` imports, at any depth of its code, each with the names from it.

    Args:
        for_types: those under ``if TYPE_CHECKING``, too.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ifs = [x for x in ast.walk(tree) if isinstance(x, ast.If) and ast.unparse(x.test) == "TYPE_CHECKING"]
    left_out = set() if for_types else {node for x in ifs for line in x.body for node in ast.walk(line)}
    found: list[tuple[str, list[str]]] = []
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found.append((stem, [alias.name for alias in node.names]))
    return found


def imported(path: Path, package: str) -> set[str]:
    """All of these names, alone and with each name from them."""
    return {name for stem, names in from_imports(path, package) for name in (stem, *(f"{stem}.{n}" for n in names))}


def sources(folder: str, package: str) -> list[tuple[Path, str]]:
    """Files below `folder` with the package each lies in."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        below = path.parent.relative_to(ROOT / folder).parts
        found.append((path, ".".join([package, *below])))
    assert found, f"no sources in {folder}"
    return found


# A room may import itself and the rooms before it; a module belongs to the room with the longest name it lies in.
ROOMS = [
    *("text", "flags", "errors", "arguments", "urls", "terminal", "files", "hub.fetch"),
    *("fields", "config", "machine", "ranks", "regions"),
    *("frontend", "pooling", "losses", "backbones", "model", "inference", "costs", "sharpening"),
    *("data.targets", "data.parallel", "data.names", "data.remote", "data.stamps", "data.clips", "data.labels"),
    *("data.recordings", "data.windows", "data.packs", "data.checks", "data.soundscapes", "data.loading"),
    *("data.sources", "data"),
    *("evaluation", "runs", "settings", "outputs", "sweep", "hub"),
    *("export", "tagging", "plots", "training"),
    "demo",
    *("commands", "cli", "__main__"),
]

KERNELS = sources("kernels", "glat.kernels")
GLAT = sources("glat", "glat")


def modules(for_types: bool) -> dict[str, set[str]]:
    """What each module of glat imports of glat, also in functions, by dotted names below it; see `from_imports`."""
    paths = {
        ".".join([package, *([] if path.stem == "__init__" else [path.stem])]): (path, package)
        for path, package in GLAT
    }
    found = {}
    for module, (path, package) in paths.items():
        wanted = set()
        for stem, names in from_imports(path, package, for_types):
            submodules = {f"{stem}.{name}" for name in names} & paths.keys()
            wanted |= submodules if len(submodules) == len(names) > 0 else {stem, *submodules}
        found[module.removeprefix("glat.")] = {name.removeprefix("glat.") for name in wanted & paths.keys()}
    return found


def room(module: str) -> int:
    """The place of a module's room in ROOMS."""
    found = [name for name in ROOMS if f"{module}.".startswith(f"{name}.")]
    assert found, f"{module} lies in no room: enter its room into ROOMS"
    return ROOMS.index(max(found, key=len))


def test_imports_between_rooms_go_one_way():
    arrows = {(a, b) for a, imports in modules(for_types=True).items() for b in imports}
    # glat itself: its version is at the bottom, and the public face, imported when it is used, at the top.
    against = sorted(f"{a} -> {b}" for a, b in arrows if "glat" not in (a, b) and room(a) < room(b))
    assert not against


def test_modules_never_import_each_other_in_a_circle():
    try:
        TopologicalSorter(modules(for_types=False)).prepare()  # an import for types alone is never run
    except CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


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
