"""A library that an extra brings is told as missing only where it is."""

from pathlib import Path

import pytest

from llava_edge.core.extras import install_command, needed_by
from llava_edge.errors import LlavaEdgeError


@pytest.mark.parametrize(
    ("module", "named"),
    [
        ("no_such_library", "no_such_library"),
        ("no_such_library.part", "no_such_library"),
        ("google.no_such", "google"),  # a name that several libraries share, or none
    ],
)
def test_a_missing_library_is_told_with_the_command_that_installs_it(
    module: str, named: str
) -> None:
    with pytest.raises(LlavaEdgeError) as error, needed_by("`llava-edge bench`", "bench"):
        __import__(module)
    (told,) = str(error.value).splitlines()
    assert told.startswith(f"`llava-edge bench` needs {named}")
    assert install_command("bench") in told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("import json.no_such_module", "needs json, which is installed but does not load (No mod"),
        ("raise ImportError('libcudart.so.12: no such file')", "does not load (libcudart.so.12:"),
        ("raise ModuleNotFoundError('no name')", "a library, which is installed but does not load"),
    ],
)
def test_a_library_that_does_not_load_is_told_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, told: str
) -> None:
    (tmp_path / "broken_library.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LlavaEdgeError) as error, needed_by("A plot", "bench"):
        __import__("broken_library")
    assert told in str(error.value) and "pip" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("import llava_edge.core.no_such_module", ModuleNotFoundError),
        ("from llava_edge.core.files import no_such_name", ImportError),
        ("1 / 0", ZeroDivisionError),
    ],
)
def test_a_fault_of_our_own_stays_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, fault: type[Exception]
) -> None:
    (tmp_path / "broken_program.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(fault), needed_by("A plot", "bench"):
        __import__("broken_program")


def test_an_interrupt_is_passed_on() -> None:
    with pytest.raises(KeyboardInterrupt), needed_by("A plot", "bench"):
        raise ImportError("initialization failed") from KeyboardInterrupt()


def test_nothing_is_told_where_all_is_there() -> None:
    with needed_by("A plot", "bench"):
        import json  # noqa: F401
