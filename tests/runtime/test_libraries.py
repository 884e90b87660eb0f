"""Libraries that answers need: what is wrong with them is said."""

import sys
from pathlib import Path

import pytest

from llava_edge import LlavaEdgeError, Options, load
from llava_edge.runtime.devices.device import onnxruntime_library

LIBSTDCXX = "libstdc++.so.6: cannot open shared object file: No such file or directory"
DOES_NOT_LOAD = f"raise ImportError({LIBSTDCXX!r}, name='%s.capi')"
INTERRUPTED = """
try:
    raise KeyboardInterrupt
except KeyboardInterrupt as interrupt:
    raise ImportError("initialization failed") from interrupt
"""


@pytest.fixture
def library(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library of this name and this content, in place of the one that is installed."""
    name, content = request.param
    (tmp_path / f"{name}.py").write_text(content.replace("%s", name))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("library", [("onnxruntime", DOES_NOT_LOAD)], indirect=True)
def test_an_onnxruntime_that_does_not_load_says_why(tiny_bundle: Path) -> None:
    said = r"needs onnxruntime, which is installed but does not load \(libstdc\+\+\.so\.6: cannot"
    with pytest.raises(LlavaEdgeError, match=said):
        load(tiny_bundle)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("library", [("onnxruntime", "import no_such_module")], indirect=True)
def test_what_onnxruntime_needs_is_named() -> None:
    with pytest.raises(LlavaEdgeError, match="needs no_such_module, which is not installed"):
        onnxruntime_library()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    "library",
    [("onnxruntime", INTERRUPTED), ("onnxruntime", "raise KeyboardInterrupt")],
    indirect=True,
)
def test_ctrl_c_while_onnxruntime_loads_ends_the_program() -> None:
    with pytest.raises(KeyboardInterrupt):
        onnxruntime_library()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("library", [("llguidance", DOES_NOT_LOAD)], indirect=True)
def test_an_llguidance_that_does_not_load_says_why(tiny_bundle: Path) -> None:
    with pytest.raises(LlavaEdgeError, match=r"A constrained answer needs llguidance, .*libstdc"):
        load(tiny_bundle).answer("Tell", options=Options(choices=("a", "b")))
