"""Imports go down only, and typer and rich live only in hdrvid/cli: read from the source, not from what got loaded."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "hdrvid"

LAYER_OF = {
    "": 0,  # hdrvid itself: the version
    "errors": 0,
    "types": 2,
    "machine": 0,
    "bounds": 2,
    "disk_errors": 2,
    "threads": 0,
    "timecode": 0,
    "workers": 0,
    "opencv_filters": 1,
    "ranks": 1,
    "picture_warp": 0,
    "warp": 2,
    "color": 2,
    "metrics": 3,
    "io": 3,
    "models": 3,
    "options": 4,
    "weights": 4,
    "compiled": 4,
    "flow": 5,
    "pictures": 7,
    "predict": 6,
    "detect": 6,
    "data": 7,
    "pipeline": 8,
    "train": 9,
    "evaluate": 9,
    "bench": 9,
    "html": 10,
    "cli": 11,
    "api": 9,
    "__main__": 12,
}
"""Layer of every module or package directly below hdrvid/."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit(module: str) -> str:
    """The entry of LAYER_OF that a module belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports, anywhere in it; type-checking imports count too."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            # `from hdrvid import radiance` names a module, `from hdrvid import __version__` a value
            full = [f"{origin}.{alias.name}" for alias in node.names]
            found.update(name if is_module(name) else origin for name in full)
    # the package imports its functions when they are first asked for
    return found - {"hdrvid.api"} if path == PACKAGE / "__init__.py" else found


def is_module(name: str) -> bool:
    """Whether hdrvid has a module of this name."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    return name.startswith("hdrvid.") and (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file())


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_go_down_only(path: Path) -> None:
    importer = module_name(path)
    assert unit(importer) in LAYER_OF, f"give {importer} a layer in LAYER_OF and in the design"
    for imported in imports(path):
        if imported.split(".")[0] != "hdrvid" or unit(imported) == unit(importer):
            continue
        assert LAYER_OF[unit(imported)] < LAYER_OF[unit(importer)] or layers_may_share(importer, imported), (
            f"{importer} (layer {LAYER_OF[unit(importer)]}) imports {imported} (layer {LAYER_OF[unit(imported)]})"
        )


def layers_may_share(importer: str, imported: str) -> bool:
    """Units of one layer may use each other, never upwards; a cycle shows in `test_no_import_cycles`."""
    return LAYER_OF[unit(importer)] == LAYER_OF[unit(imported)]


def test_no_import_cycles() -> None:
    graph = {
        module_name(p): {i for i in imports(p) if i.split(".")[0] == "hdrvid" and i != module_name(p)} for p in MODULES
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for imported in sorted(graph.get(module, ())):
                visit(imported, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_terminal_packages_live_in_the_command_line(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)}
    assert "click" not in roots, "typer has no click below it any more"
    if unit(module_name(path)) != "cli":
        assert not roots & {"typer", "rich"}
