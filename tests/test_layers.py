"""Who may import whom, at module level, and what importing the package loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import llava_edge

ROOT = Path(__file__).parent.parent
FOLDERS = ("llava_edge", "bench", "export", "train")
RUNTIME_LIBRARIES = {"numpy", "PIL", "tokenizers"}
COMMAND_LINE_LIBRARIES = {"typer", "rich"}
COMMAND_LINE = {
    "__main__.py",
    "cli.py",
    "cli_bench.py",
    "cli_chat.py",
    "cli_data.py",
    "cli_train.py",
    "describe.py",
    "terminal.py",
}
JUDGES = {"calibrate.py", "reference.py", "reference_config.py", "sensitivity.py"}
NEVER_AT_RUN_TIME = (
    "torch",
    "transformers",
    "onnx",
    "onnxruntime",
    "typer",
    "rich",
    "llava_edge.export",
)


def module_level_imports(path: Path) -> Iterator[str]:
    """Full names, without those in functions and under TYPE_CHECKING."""
    statements = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while statements:
        statement = statements.pop()
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{path}: import by full name"
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)
        elif isinstance(statement, (ast.If, ast.Try, ast.With)):
            type_checking = ast.unparse(getattr(statement, "test", statement)) == "TYPE_CHECKING"
            statements += [] if type_checking else statement.body


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def layer(name: str) -> str | None:
    """The folder that an imported name lies in, None for a library."""
    parts = name.split(".")
    if parts[0] != "llava_edge":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in FOLDERS[1:] else "llava_edge"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_itself_and_the_runtime(folder: str) -> None:
    for path in modules(folder):
        for name in module_level_imports(path):
            assert layer(name) in (None, folder, "llava_edge"), f"{path.name} imports {name}"


def test_the_runtime_imports_few_libraries() -> None:
    for path in modules("llava_edge"):
        allowed = RUNTIME_LIBRARIES | sys.stdlib_module_names | {"llava_edge"}
        allowed |= COMMAND_LINE_LIBRARIES if path.name in COMMAND_LINE else set()
        found = {name.split(".")[0] for name in module_level_imports(path)}
        assert found <= allowed, f"{path.name} imports {found - allowed}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_torch_is_imported_for_training_and_judging_only(folder: str) -> None:
    for path in modules(folder):
        found = {name.split(".")[0] for name in module_level_imports(path)}
        judges = folder == "export" and path.name in JUDGES
        assert folder == "train" or judges or not found & {"torch", "transformers"}, path.name


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = "import sys, llava_edge; print(*sys.modules, sep='\\n')"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not set(NEVER_AT_RUN_TIME) & set(output.stdout.split())


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
