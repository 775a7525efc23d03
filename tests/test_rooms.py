"""The plan of the house: what may import what. CONTRIBUTING.md says why."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache

import pytest
from helpers import ROOT

ORDER = (
    *("names", "checkpoints", "images", "degradations", "scenes", "sensor", "thermal", "computing"),
    *("dem", "modulation", "adapter", "backbone", "tiling", "readouts", "weights", "enhance"),
    *("convert", "layouts", "vectors", "trust", "bake", "video", "export", "sources", "evaluation", "cli"),
)
"""The rooms of ``hidra_core`` and the files of the paper, bottom up: each imports only from those before it."""

LONGEST_FUNCTION = 80
TOP_FILES = 14


@cache
def modules(package: str) -> dict[str, ast.Module]:
    """All modules of a package by dotted name, parsed."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def is_package(name: str) -> bool:
    return (ROOT / name.replace(".", "/")).is_dir()


def imports(name: str, tree: ast.Module, *, late: bool = True) -> set[str]:
    """Modules of the repository that a module imports; ``late`` counts imports within functions too.

    What only type checkers see counts as well: an arrow is an arrow.
    """
    known = {**modules("hidra_core"), **modules("nodes"), **modules("train")}
    found = set()
    nodes = ast.walk(tree) if late else at_import(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".") if is_package(name) else name.split(".")[:-1]
            parts = base[: len(base) - node.level + 1] if node.level else []
            source = ".".join([*parts, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{source}.{alias.name}"
                found.add(full if full in known else source)
    return {module for module in found if module in known}


def at_import(tree: ast.AST):
    """The statements that run when a module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from at_import(node)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_room_has_its_place() -> None:
    rooms = {room(name) for name in modules("hidra_core")} - {"", "__main__"}
    assert rooms == set(ORDER)


def test_no_arrow_leads_upward() -> None:
    upward = [
        f"{name} imports {target}"
        for name, tree in modules("hidra_core").items()
        if room(name) not in ("", "__main__")
        for target in imports(name, tree)
        if room(target) and ORDER.index(room(target)) > ORDER.index(room(name))
    ]
    assert upward == []


def test_the_library_knows_neither_nodes_nor_training() -> None:
    outside = [
        f"{name} imports {target}"
        for name, tree in modules("hidra_core").items()
        for target in imports(name, tree)
        if not target.startswith("hidra_core")
    ]
    assert outside == []


def test_training_and_nodes_do_not_know_each_other() -> None:
    for package, other in (("nodes", "train"), ("train", "nodes")):
        for name, tree in modules(package).items():
            assert not [target for target in imports(name, tree) if target.startswith(other)], name


@pytest.mark.parametrize("package", ["hidra_core", "nodes", "train"])
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    """Of the imports that run when a module is imported; a package stands for its ``__init__``."""
    arrows = {name: imports(name, tree, late=False) - {name} for name, tree in modules(package).items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            for target in sorted(arrows.get(name, ())):
                visit(target, (*path, name))
            done.add(name)

    for name in arrows:
        visit(name, ())


def test_the_top_of_the_library_stays_a_page() -> None:
    files = sorted(path.name for path in (ROOT / "hidra_core").glob("*.py"))
    assert len(files) <= TOP_FILES, files


def test_functions_fit_on_a_screen() -> None:
    long = []
    for package in ("hidra_core", "nodes", "train", "benchmarks"):
        for name, tree in modules(package).items():
            if name.startswith("hidra_core.scenes"):  # they draw: a list of shapes has no better end
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = node.end_lineno - node.lineno + 1
                    if lines > LONGEST_FUNCTION:
                        long.append(f"{name}.{node.name}: {lines} lines")
    assert long == []


def test_only_one_door_reads_files() -> None:
    """Commands, nodes, evaluation and training read by ``hidra_core.sources``: no two see a file differently."""
    doors = {"read_image", "read_input", "read_thermal"}
    allowed = ("hidra_core.images", "hidra_core.thermal", "hidra_core.sources")
    users = [
        f"{name}: {node.id}"
        for package in ("hidra_core", "nodes", "train")
        for name, tree in modules(package).items()
        if not name.startswith(allowed)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in doors
    ]
    assert users == []


def test_constants_for_help_texts_need_nothing() -> None:
    assert imports("hidra_core.names", modules("hidra_core")["hidra_core.names"]) == set()
    source = (ROOT / "hidra_core" / "names.py").read_text(encoding="utf-8")
    program = f"import sys; before = set(sys.modules); exec({source!r}); print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
