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
    ("content", "error"),
    [
        ("import llava_edge.core.no_such_module", ModuleNotFoundError),
        ("import json.no_such_module", ModuleNotFoundError),
        ("from llava_edge.core.extras import no_such_name", ImportError),
        ("raise ModuleNotFoundError('said without a name')", ModuleNotFoundError),
        ("1 / 0", ZeroDivisionError),
    ],
)
def test_another_fault_stays_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, error: type[Exception]
) -> None:
    (tmp_path / "broken_library.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error), needed_by("A plot", "bench"):
        __import__("broken_library")


def test_a_library_that_does_not_load_is_told_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cause = "libcudart.so.12: cannot open shared object file"
    (tmp_path / "broken_library.py").write_text(f"raise ImportError({cause!r})")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LlavaEdgeError, match=cause), needed_by("A plot", "bench"):
        __import__("broken_library")


def test_nothing_is_told_where_all_is_there() -> None:
    with needed_by("A plot", "bench"):
        import json  # noqa: F401
