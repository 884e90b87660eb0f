"""Who may import whom, and what importing the package loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed_modules import imports_of, installed_modules

import llava_edge

MODULES = installed_modules()
# Each room, and those that its modules may import as they are loaded.
ROOMS = {
    "errors": set(),
    "core": {"errors"},
    "hub": {"core", "errors"},
    "data": {"core", "errors"},
    "runtime": {"core", "errors"},
    "__pyinstaller": {"core", "errors", "runtime"},
    "ask": {"core", "data", "errors", "runtime"},
    "export": {"core", "data", "errors", "hub", "runtime"},
    "train": {"core", "data", "errors", "export", "hub"},
    "bench": {"core", "data", "errors", "export", "hub", "runtime", "train"},
    "serve": {"core", "data", "errors", "hub", "runtime"},
    "cli": {"ask", "bench", "core", "data", "errors", "export", "hub", "runtime", "serve", "train"},
}
RUNTIME_LIBRARIES = {"PIL", "msgspec", "numpy", "platformdirs", "psutil", "tokenizers"}
LIBRARIES = {
    "errors": set(),
    "core": RUNTIME_LIBRARIES,
    "hub": RUNTIME_LIBRARIES,
    "runtime": RUNTIME_LIBRARIES,
    "ask": RUNTIME_LIBRARIES,
    "data": {*RUNTIME_LIBRARIES, "pyarrow"},
    "serve": {*RUNTIME_LIBRARIES, "h11", "prometheus_client", "starlette", "uvicorn"},
    "cli": {*RUNTIME_LIBRARIES, "rich", "typer"},
}
JUDGES = {
    "calibrate",
    "causal_model",
    "layer_divergence",
    "quantized_original",
    "reference",
    "reference_config",
}
NEVER_AT_RUN_TIME = (
    "torch",
    "transformers",
    "onnx",
    "onnxruntime",
    "typer",
    "rich",
    "llava_edge.export",
)


def module_of(name: str) -> str | None:
    """The module that an imported name is, or stands in; None for other packages' names."""
    while name not in MODULES:
        name, dot, _ = name.rpartition(".")
        if not dot:
            return None
    return name


def room(module: str) -> str:
    """The room that a module stands in: its first name below the package's."""
    return module.split(".")[1] if "." in module else ""


def imported(module: str, *, late: bool) -> Iterator[str]:
    """The package's own modules that a module imports, with those that it imports late or not."""
    for found in imports_of(MODULES[module]):
        name = module_of(found.module)
        if name not in (None, module) and (late or not found.late):
            yield name


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_those_below_it_alone(name: str) -> None:
    for module in (module for module in MODULES if room(module) == name):
        for other in imported(module, late=False):
            assert room(other) in {name, *ROOMS[name]}, f"{module} imports {other}"


def test_every_module_stands_in_a_room() -> None:
    assert {room(module) for module in MODULES} == {"", "__main__", *ROOMS}


def test_the_command_line_is_imported_by_nobody() -> None:
    for module in MODULES:
        if room(module) not in ("cli", "__main__"):
            for other in imported(module, late=True):
                assert room(other) != "cli", f"{module} imports {other}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " imports ".join((*way[way.index(module) :], module))
        if module not in done:
            for other in imported(module, late=True):
                visit(other, (*way, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_room_imports_few_libraries(name: str) -> None:
    allowed = LIBRARIES[name] | sys.stdlib_module_names | {"llava_edge"}
    for module in (module for module in MODULES if room(module) == name):
        found = {i.module.split(".")[0] for i in imports_of(MODULES[module]) if not i.late}
        assert found <= allowed, f"{module} imports {found - allowed}"


def test_torch_is_imported_for_training_and_judging_only() -> None:
    for module, path in MODULES.items():
        judges = room(module) == "export" and path.stem in JUDGES
        if room(module) != "train" and not judges:
            found = {i.module.split(".")[0] for i in imports_of(path) if not i.late}
            assert not found & {"torch", "transformers"}, module


def test_file_names_are_given_once_or_to_a_verb() -> None:
    """The file of a verb is called as the command's file that calls it; no others share a name."""
    rooms: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        if path.stem not in ("__init__", "__main__"):
            rooms.setdefault(path.stem, []).append(room(module))
    for stem, found in rooms.items():
        assert len([name for name in found if name != "cli"]) <= 1, f"{stem}.py: {found}"


def test_a_class_has_its_name_alone() -> None:
    places: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module)
    for name, found in places.items():
        assert len(found) == 1, f"{name}: {found}"


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = "import sys, llava_edge; print(*sys.modules, sep='\\n')"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not set(NEVER_AT_RUN_TIME) & set(output.stdout.split())


def test_the_command_line_starts_without_what_its_verbs_call() -> None:
    code = "import sys, llava_edge.cli.main; print(*sys.modules, sep='\\n')"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    late = set(NEVER_AT_RUN_TIME) - {"typer", "rich"} | {"llava_edge.train"}
    assert not late & set(output.stdout.split())


def test_answering_loads_no_heavy_library(tiny_bundle: Path, photo_file: Path) -> None:
    code = (
        "import sys, llava_edge\n"
        "model = llava_edge.load(sys.argv[1])\n"
        "model.answer('What is this?', sys.argv[2], options=llava_edge.Options(max_tokens=3))\n"
        "print(*sys.modules, sep='\\n')\n"
    )
    command = [sys.executable, "-c", code, str(tiny_bundle), str(photo_file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    heavy = set(NEVER_AT_RUN_TIME) - {"onnxruntime"}
    assert not heavy & set(output.stdout.split())


def test_public_names_are_sorted_and_there() -> None:
    assert list(llava_edge.__all__) == sorted(llava_edge.__all__)
    assert all(hasattr(llava_edge, name) for name in llava_edge.__all__)
