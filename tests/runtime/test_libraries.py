"""Libraries that answers need: what is wrong with them is said, and they leave no files behind."""

import os
import subprocess
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


CHAT = """
import sys, llava_edge
chat = llava_edge.load(sys.argv[1]).chat()
chat.answer("What is this?", sys.argv[2], llava_edge.Options(max_tokens=3))
chat.answer("And?", options=llava_edge.Options(max_tokens=3, choices=("yes", "no")))
"""


def test_a_chat_leaves_no_files_outside_of_its_own_folders(
    tiny_bundle: Path, photo_file: Path, tmp_path: Path
) -> None:
    """As onnxruntime's telemetry does, which keeps a device id and a database in the cache."""
    folders = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
    own = {name: str(tmp_path / name) for name in (*folders, "LOCALAPPDATA", "APPDATA")}
    (tmp_path / "HOME").mkdir()
    inherited = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", CHAT, str(tiny_bundle), str(photo_file)]
    subprocess.run(command, env=inherited | own, cwd=tmp_path, check=True)
    left = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in left if "llava-edge" not in path.parts] == []


def test_a_user_may_want_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    onnxruntime_library()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"
