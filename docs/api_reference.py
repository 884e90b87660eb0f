"""The reference of the Python functions and classes, from their signatures and docstrings."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from inspect import getsource, isclass
from textwrap import dedent
from typing import Any

import llava_edge
from llava_edge.data.records import Data
from llava_edge.errors import LlavaEdgeError
from llava_edge.export.bundle_check import Check
from llava_edge.export.export import export
from llava_edge.export.quantization.precision import Precision
from llava_edge.export.sensitivity import sensitivity
from llava_edge.export.sensitivity_file import Sensitivity
from llava_edge.export.verify import verify
from llava_edge.train.checkpoints.merge import merge
from llava_edge.train.train import train

INTRODUCTION = """\
# Python API

The functions and classes that a program may count on, with their signatures and docstrings.
`make docs` writes this page anew. [The guide to the runtime](answers.md) shows how they are used.
"""
EXPORTING = (export, Precision, Check, Data, verify, sensitivity, Sensitivity)
TRAINING = (train, merge)
PACKAGES = ("llava_edge", "llava_edge.export", "llava_edge.train")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
VALUES = (int, str, tuple)  # that are shown for a constant's name


def api_reference() -> str:
    """The page, as Markdown."""
    public = [getattr(llava_edge, name) for name in llava_edge.__all__ if name != "__version__"]
    errors = [thing for thing in public if isclass(thing) and issubclass(thing, LlavaEdgeError)]
    others = [thing for thing in public if thing not in errors]
    sections = {
        "Running bundles: `llava_edge`": sorted(others, key=isclass),  # functions first
        "Errors: `llava_edge`": errors,
        "Exporting: the extras `export` and `verify`": EXPORTING,
        "Training: the extra `train`": TRAINING,
    }
    parts = [INTRODUCTION]
    for title, things in sections.items():
        parts.append(f"## {title}\n")
        for thing in things:
            parts += _entry(thing)
    return "\n".join(parts)


def _entry(thing: Any) -> Iterator[str]:
    """A heading, and signature, docstring, fields and methods as they are written."""
    source = _with_values(dedent(getsource(thing)), vars(import_module(thing.__module__)))
    (node,) = ast.parse(source).body
    module = next(name for name in (*PACKAGES, thing.__module__) if _holds(name, thing))
    yield f"### {module}.{thing.__name__}\n"
    if isinstance(node, FUNCTIONS):
        yield _code(_header(node, source))
        yield _docstring(node)
        return
    assert isinstance(node, ast.ClassDef)
    if issubclass(thing, LlavaEdgeError):
        yield _code(f"class {node.name}({', '.join(map(ast.unparse, node.bases))})")
    yield _docstring(node)
    if fields := _fields(node, source):
        yield _code(fields)
    if module == "llava_edge":
        yield from _methods(node, source)


def _holds(module: str, thing: Any) -> bool:
    return getattr(import_module(module), thing.__name__, None) is thing


def _with_values(source: str, names: dict[str, Any]) -> str:
    """The source with the values of constants that are defaults."""

    def value(match: re.Match[str]) -> str:
        found = names.get(match[1])
        return f" = {found!r}".replace("'", '"') if isinstance(found, VALUES) else match[0]

    return re.sub(r" = ([A-Z][A-Z_]+)\b", value, source)


def _methods(node: ast.ClassDef, source: str) -> Iterator[str]:
    for method in node.body:
        if isinstance(method, FUNCTIONS) and not method.name.startswith("_"):
            yield f"#### {node.name}.{method.name}\n"
            yield _code(_header(method, source))
            yield _docstring(method)


def _header(node: ast.FunctionDef | ast.AsyncFunctionDef, source: str) -> str:
    """Decorators, name, parameters and result, as they are written."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    lines = source.splitlines()[first - 1 : node.body[0].lineno - 1]
    return dedent("\n".join(lines)).removesuffix(":")


def _fields(node: ast.ClassDef, source: str) -> str:
    """A class's fields with their defaults and comments, as they are written."""
    lines: list[str] = []
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and not ast.unparse(field.target).startswith("_"):
            lines += source.splitlines()[field.lineno - 1 : field.end_lineno]
    return dedent("\n".join(lines))


def _docstring(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """As it is written: examples stay indented, which makes them code in Markdown."""
    text = ast.get_docstring(node, clean=False) or ""
    indent = " " * node.body[0].col_offset
    lines = [line.removeprefix(indent) for line in text.splitlines()]
    return "\n".join(_with_lists(lines)).rstrip() + "\n"


def _with_lists(lines: list[str]) -> Iterator[str]:
    """The same with lists for what stands under "Args:" and "Raises:"."""
    listed = False
    for line in lines:
        if line.strip() and not line.startswith(" "):
            listed = line in ("Args:", "Raises:")
            yield from (line, "") if line.endswith(":") and line[:-1].isalpha() else (line,)
        elif listed and (item := re.match(r"    (\w+): (.*)", line)):
            yield f"- `{item[1]}`: {item[2]}"
        else:
            yield line.removeprefix("      ") if listed else line


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"
