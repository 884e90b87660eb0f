"""Nothing leaves the machine, and nothing is written outside of the program's own folders."""

import base64
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from openai import OpenAI
from traced import needs_strace, own_folders, read_trace, traced, under_strace

pytestmark = needs_strace
PYTHON = sys.executable
LLAVA_EDGE = (PYTHON, "-m", "llava_edge")
CHAT = """
import sys, llava_edge
chat = llava_edge.load(sys.argv[1]).chat()
chat.answer("What is this?", sys.argv[2], llava_edge.Options(max_tokens=3))
chat.answer("And?", options=llava_edge.Options(max_tokens=3, choices=("yes", "no")))
"""
EXPORT = """
import sys
from llava_edge.export.export import Check, export
export(sys.argv[1], "out", devices=("cpu",), check=Check(True, {}, accept=True))
"""


def test_the_recorder_sees_what_libraries_do_on_their_own(tmp_path: Path) -> None:
    """As the telemetry of onnxruntime does, where its user has switched it on."""
    from llava_edge.runtime.devices.device import onnxruntime_library

    version = tuple(map(int, onnxruntime_library().__version__.split(".")[:2]))
    if version < (1, 29) or sys.platform != "linux":
        pytest.skip("onnxruntime has telemetry on Linux since 1.29")
    load = "import llava_edge, onnxruntime"
    done, trace = traced((PYTHON, "-c", load), tmp_path, ORT_DISABLE_TELEMETRY="0")
    assert done.returncode == 0, done.stderr
    assert (
        tmp_path / "XDG_CACHE_HOME/Microsoft/DeveloperTools/.onnxruntime/deviceid" in trace.written
    )


def test_the_recorder_sees_connections_and_files_of_children(tmp_path: Path) -> None:
    connect = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
    code = (
        "import os, subprocess, sys; os.mkdir('TMPDIR/made'); open('TMPDIR/written', 'w')\n"
        f'subprocess.run([sys.executable, "-c", "{connect}"])\n'
    )
    _, trace = traced((PYTHON, "-c", code), tmp_path)
    assert trace.addresses == {"127.0.0.1:9"}
    assert trace.outside(tmp_path / "HOME") == [
        tmp_path / "TMPDIR/made",
        tmp_path / "TMPDIR/written",
    ]
    assert trace.outside(tmp_path / "TMPDIR") == []


def test_a_chat_at_the_terminal(tiny_bundle: Path, photo_file: Path, tmp_path: Path) -> None:
    words = f"/image {photo_file}\nWhat is this?\n/save talk.npz\n/exit\n"
    command = (*LLAVA_EDGE, "chat", "--bundle", tiny_bundle, "--max-tokens", 3)
    done, trace = traced(command, tmp_path, words)
    assert "holds the conversation" in done.stderr
    assert trace.addresses == frozenset()
    own = tmp_path / "XDG_CACHE_HOME" / "llava-edge"
    outside = trace.outside(own)
    assert [path for path in outside if not path.name.startswith((".talk.npz", "talk.npz"))] == []


def test_a_chat_in_a_program(tiny_bundle: Path, photo_file: Path, tmp_path: Path) -> None:
    done, trace = traced((PYTHON, "-c", CHAT, tiny_bundle, photo_file), tmp_path)
    assert done.returncode == 0, done.stderr
    assert trace.addresses == frozenset()
    assert trace.outside(tmp_path / "XDG_CACHE_HOME" / "llava-edge") == []


def test_an_export_that_is_compared_with_its_original(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """With torch and transformers beside onnxruntime."""
    done, trace = traced((PYTHON, "-c", EXPORT, tiny_checkpoint), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "bundle.json").exists()
    assert trace.addresses == frozenset()
    outside = trace.outside(tmp_path / "TMPDIR", tmp_path / "XDG_CACHE_HOME" / "llava-edge")
    assert [path for path in outside if "out" not in path.relative_to(tmp_path).parts[0]] == []
    assert not list((tmp_path / "TMPDIR").iterdir())


@pytest.mark.parametrize("name", ["ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"])
@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_telemetry_is_off_unless_the_user_has_a_setting(
    name: str, before: str | None, after: str, tmp_path: Path
) -> None:
    code = f"import llava_edge.hub.find_model, os; print(os.environ[{name!r}])"
    more = {} if before is None else {name: before}
    done = subprocess.run(
        [PYTHON, "-c", code], env=own_folders(tmp_path, **more), capture_output=True, text=True
    )
    assert done.stdout == after + "\n", done.stderr


def test_a_server(tiny_bundle: Path, photo_file: Path, tmp_path: Path) -> None:
    """It answers on this machine, and asks nobody itself."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = (*LLAVA_EDGE, "serve", tiny_bundle, "--port", address.partition(":")[2])
    log = tmp_path / "trace.log"
    strace = subprocess.Popen(under_strace(command, log), cwd=tmp_path, env=own_folders(tmp_path))
    picture = "data:;base64," + base64.b64encode(photo_file.read_bytes()).decode()
    parts = [{"type": "image_url", "image_url": picture}, {"type": "text", "text": "What?"}]
    asked = {"messages": [{"role": "user", "content": parts}], "max_tokens": 3}
    try:
        with OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=9) as client:
            reply = client.post("/chat/completions", body=asked, cast_to=object)
        assert reply["choices"][0]["finish_reason"] == "length"
    finally:
        (server,) = psutil.Process(strace.pid).children()
        server.terminate()
        strace.wait()
    trace = read_trace(log, tmp_path)
    assert trace.addresses == frozenset()
    assert trace.outside(tmp_path / "XDG_CACHE_HOME" / "llava-edge") == []
