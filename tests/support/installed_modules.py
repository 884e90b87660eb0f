"""The package's modules as they are installed, and what each imports of the others."""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from places import ROOT


@dataclass(frozen=True)
class Import:
    """A name that a module imports; `late`: within a function, or for types alone."""

    module: str
    late: bool


def installed_modules() -> dict[str, Path]:
    """Every module of the package by its full name."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        packages = tomllib.load(file)["tool"]["setuptools"]["packages"]
    modules = {}
    for package in packages:
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None, package
        for path in Path(spec.origin).parent.glob("*.py"):
            name = package if path.stem == "__init__" else f"{package}.{path.stem}"
            modules[name] = path
    return modules


def imports_of(path: Path) -> Iterator[Import]:
    """Everything that a file imports, by full name: `from a import b` is a.b."""
    yield from _imports(ast.parse(path.read_text(encoding="utf-8")), late=False)


def _imports(node: ast.AST, *, late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "import by full name"
            yield from (Import(f"{child.module}.{alias.name}", late) for alias in child.names)
        else:
            inner = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            typing = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from _imports(child, late=late or inner or typing)
